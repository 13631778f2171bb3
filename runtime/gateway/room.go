package gateway

import (
	"container/list"
	"context"
	"sync"

	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
)

// room is memory that is taken for a while, by all in turn. It may be used concurrently.
type room struct {
	mu      sync.Mutex
	free    int
	size    int
	waiting list.List // of *claim, the first come first
}

// claim is one who waits for room.
type claim struct {
	want int
	has  chan struct{} // closed when it has it
}

func newRoom(size int) *room { return &room{free: size, size: size} }

// take takes n bytes, of which there may be more than there is room for: then all of it. It waits for those who came
// before, until ctx ends. What it has taken is given back by the function that it returns.
func (r *room) take(ctx context.Context, n int) (giveBack func(), err error) {
	n = min(n, r.size)
	r.mu.Lock()
	if r.waiting.Len() == 0 && n <= r.free {
		r.free -= n
		r.mu.Unlock()
		return func() { r.give(n) }, nil
	}
	c := &claim{want: n, has: make(chan struct{})}
	e := r.waiting.PushBack(c)
	r.mu.Unlock()
	select {
	case <-c.has:
		return func() { r.give(n) }, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-c.has: // meanwhile
		r.free += n
	default:
		r.waiting.Remove(e)
	}
	r.serveLocked() // who came after may want less
	return nil, bridge.Verdict(context.Cause(ctx))
}

func (r *room) give(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += n
	r.serveLocked()
}

// serveLocked gives those who wait what there is.
func (r *room) serveLocked() {
	for e := r.waiting.Front(); e != nil; e = r.waiting.Front() {
		c, _ := e.Value.(*claim)
		if c.want > r.free {
			return
		}
		r.free -= c.want
		r.waiting.Remove(e)
		close(c.has)
	}
}
