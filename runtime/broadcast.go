package rpcmesh

import "sync"

// broadcast lets any number of goroutines wait for the next time that something happens. Its owner's lock
// guards it; the channel may be waited for without.
type broadcast struct{ c chan struct{} }

// wait returns a channel that closes at the next fire.
func (b *broadcast) wait() <-chan struct{} {
	if b.c == nil {
		b.c = make(chan struct{})
	}
	return b.c
}

func (b *broadcast) fire() {
	if b.c != nil {
		close(b.c)
		b.c = nil
	}
}

// safeBroadcast is a broadcast with a lock of its own, which is never held for long.
type safeBroadcast struct {
	mu sync.Mutex
	b  broadcast
}

func (s *safeBroadcast) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.wait()
}

func (s *safeBroadcast) fire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b.fire()
}
