package link

// Held is how many bytes the session holds for calls.
func (s *Session) Held() int { return int(s.memory.used.Load()) }

// Handlers is how many handlers run, also of calls that have ended.
func (s *Session) Handlers() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handlers
}

// What a call is counted for besides its data, how long a message waits for memory, and a goroutine for a call.
const (
	ServedCost  = servedCost
	RelayedCost = relayedCost
	StarveLimit = memoryWaitLimit
	IdleTime    = idleTime
)

// OpenCalls is how many calls the session knows, also those that wait for their end or for an
// acknowledgement.
func (s *Session) OpenCalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range []*callTable{&s.localCalls, &s.peerCalls} {
		for _, slot := range t.slots {
			if slot.endpoint != nil || slot.canceled {
				n++
			}
		}
	}
	if live := s.localCalls.live + s.peerCalls.live; live != 0 && n == 0 {
		return -live
	}
	return n
}

// Hold has the session hold n bytes more.
func (s *Session) Hold(n int) { s.addMemory(n) }
