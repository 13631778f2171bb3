package link

import "time"

// probeInterval is how often a probe looks for a sign of life.
const probeInterval = 5 * time.Millisecond

// Probe asks the other end of a session that runs for a sign of life and waits for it, for limit at most. Without one it ends the session
// as silent, unless that may be this end's own fault. It reports whether the session goes on.
func (s *Session) Probe(limit time.Duration) bool {
	heard := s.receivedCount()
	s.mu.Lock()
	s.out.pingDue = true
	s.wakeWriterLocked()
	s.mu.Unlock()
	over := time.NewTimer(limit)
	defer over.Stop()
	look := time.NewTicker(probeInterval)
	defer look.Stop()
	for {
		select {
		case <-s.done:
			return false
		case <-look.C:
			if s.receivedCount() != heard {
				return true
			}
		case <-over.C:
			if s.receivedCount() != heard || !s.reading.Load() || s.hasUnread() {
				return true
			}
			s.probeFailed.Store(true) // closing may take a while, which is the keeper's
			s.wakeKeepalive()
			<-s.done
			return false
		}
	}
}
