package link

// OpenCalls is how many calls the session knows, also those that wait for their end or for an
// acknowledgement.
func (s *Session) OpenCalls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range []*table{&s.own, &s.theirs} {
		for _, slot := range t.slots {
			if slot.end != nil || slot.zombie {
				n++
			}
		}
	}
	if live := s.own.live + s.theirs.live; live != 0 && n == 0 {
		return -live
	}
	return n
}
