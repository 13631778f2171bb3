package link

import "time"

// probeLook is how often a probe looks for a sign of life.
const probeLook = 5 * time.Millisecond

// Probe asks the other end of a session that runs for a sign of life and waits for it, for limit at most. Without one it ends the session
// as silent, unless that may be this end's own fault. It reports whether the session goes on.
func (s *Session) Probe(limit time.Duration) bool {
	heard := s.heard()
	s.mu.Lock()
	s.out.ping = true
	s.wakeWriter()
	s.mu.Unlock()
	over := time.NewTimer(limit)
	defer over.Stop()
	look := time.NewTicker(probeLook)
	defer look.Stop()
	for {
		select {
		case <-s.done:
			return false
		case <-look.C:
			if s.heard() != heard {
				return true
			}
		case <-over.C:
			if s.heard() != heard || !s.reading.Load() || s.deaf() {
				return true
			}
			s.mute.Store(true) // closing may take a while, which is the keeper's
			s.wakeKeeper()
			<-s.done
			return false
		}
	}
}
