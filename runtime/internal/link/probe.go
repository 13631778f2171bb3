package link

import "time"

// probeInterval is how often a probe looks for a sign of life.
const probeInterval = 5 * time.Millisecond

// Probe pings the peer of a running session and waits for a sign of life, for limit at most. Without one it ends the
// session as silent, unless that may be this end's own fault. It reports whether the session goes on.
func (s *Session) Probe(limit time.Duration) bool {
	before := s.receivedCount()
	s.mu.Lock()
	s.out.due |= duePing
	s.wakeWriterLocked()
	s.mu.Unlock()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	poll := time.NewTicker(probeInterval)
	defer poll.Stop()
	for {
		select {
		case <-s.done:
			return false
		case <-poll.C:
			if s.receivedCount() != before {
				return true
			}
		case <-timeout.C:
			if s.receivedCount() != before || !s.reading.Load() || s.hasUnread() {
				return true
			}
			s.probeFailed.Store(true) // closing may take a while: the keepalive goroutine does it
			s.wakeKeepalive()
			<-s.done
			return false
		}
	}
}
