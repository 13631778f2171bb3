package gateway

import (
	"container/list"
	"context"
	"sync"

	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
)

// memoryBudget is memory that is taken for a while, by all in turn. It may be used concurrently.
type memoryBudget struct {
	mu      sync.Mutex
	free    int
	size    int
	waiting list.List // of *claim, the first come first
}

// memoryRequest is one who waits for room.
type memoryRequest struct {
	want    int
	granted chan struct{} // closed when it has it
}

func newMemoryBudget(size int) *memoryBudget { return &memoryBudget{free: size, size: size} }

// acquire takes n bytes, of which there may be more than there is room for: then all of it. It waits for those who came
// before, until ctx ends. What it has taken is given back by the function that it returns.
func (r *memoryBudget) acquire(ctx context.Context, n int) (giveBack func(), err error) {
	n = min(n, r.size)
	r.mu.Lock()
	if r.waiting.Len() == 0 && n <= r.free {
		r.free -= n
		r.mu.Unlock()
		return func() { r.release(n) }, nil
	}
	c := &memoryRequest{want: n, granted: make(chan struct{})}
	e := r.waiting.PushBack(c)
	r.mu.Unlock()
	select {
	case <-c.granted:
		return func() { r.release(n) }, nil
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-c.granted: // meanwhile
		r.free += n
	default:
		r.waiting.Remove(e)
	}
	r.grantLocked() // who came after may want less
	return nil, bridge.Verdict(context.Cause(ctx))
}

func (r *memoryBudget) release(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += n
	r.grantLocked()
}

// grantLocked gives those who wait what there is.
func (r *memoryBudget) grantLocked() {
	for e := r.waiting.Front(); e != nil; e = r.waiting.Front() {
		c, _ := e.Value.(*memoryRequest)
		if c.want > r.free {
			return
		}
		r.free -= c.want
		r.waiting.Remove(e)
		close(c.granted)
	}
}
