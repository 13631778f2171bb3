package gateway

import (
	"container/list"
	"context"
	"sync"

	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
)

// memoryBudget is an amount of memory that is acquired and released, first come, first served. It may be used
// concurrently.
type memoryBudget struct {
	mu      sync.Mutex
	free    int
	size    int
	waiting list.List // of *memoryRequest, the oldest first
}

// memoryRequest is a caller that waits for memory.
type memoryRequest struct {
	want    int
	granted chan struct{} // closed when the memory is granted
}

func newMemoryBudget(size int) *memoryBudget { return &memoryBudget{free: size, size: size} }

// acquire acquires n bytes, or the whole budget if that is less, until release is called. It waits for its turn, or
// until ctx ends.
func (r *memoryBudget) acquire(ctx context.Context, n int) (release func(), err error) {
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
	case <-c.granted: // granted meanwhile
		r.free += n
	default:
		r.waiting.Remove(e)
	}
	r.grantLocked() // the next one may want less
	return nil, bridge.Verdict(context.Cause(ctx))
}

func (r *memoryBudget) release(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.free += n
	r.grantLocked()
}

// grantLocked grants what there is to those who wait.
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
