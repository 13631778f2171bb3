package rpcmesh

// broadcast lets any number of goroutines wait for the next time that something happens. Its owner's lock
// guards it; the channel may be waited for without.
type broadcast struct{ c chan struct{} }

// wait returns a channel that closes at the next fire.
func (s *broadcast) wait() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *broadcast) fire() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
