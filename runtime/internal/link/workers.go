package link

import (
	"sync"
	"time"
)

const (
	// maxIdle is how many goroutines wait for the next handler.
	maxIdle = 1024
	// idleTime is after how long goroutines end, and endpoints are dropped, that were not needed meanwhile.
	idleTime = 10 * time.Second
)

// Workers are the goroutines that run handlers. They are reused, and shared by the sessions of a node.
//
// Calls wait in one queue, which one goroutine works off, so that a batch of quick handlers takes one or two switches
// of goroutines, not one for each. Before it runs a handler, which may block, it makes sure that another goroutine will
// come for the rest: no handler ever waits for another to return.
type Workers struct {
	mu          sync.Mutex
	queue       []*ServerCall // calls whose handlers are to be run, from first
	first       int
	wakePending bool      // a goroutine was started or woken, and has not looked at the queue yet
	wake        sync.Cond // for idle ones
	idle        int
	minIdle     int         // the least number of idle ones since the last trim
	surplus     int         // how many of those who wake are to end
	trim        *time.Timer // calls trimIdle; nil while it has nothing to do
	running     int         // goroutines, idle ones and trim's too
	closed      bool
	pairs       freeList[*localPair]
	allStopped  sync.Cond // running may be 0
}

// NewWorkers returns an empty set; goroutines are started as they are needed.
func NewWorkers() *Workers {
	w := new(Workers)
	w.wake.L, w.allStopped.L = &w.mu, &w.mu
	return w
}

// run runs the handlers of calls. It does not block.
func (w *Workers) run(calls ...*ServerCall) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range calls {
		w.pushLocked(c)
	}
	w.wakeLocked()
}

// pushLocked adds a call to the queue. The sessions' limits bound it.
func (w *Workers) pushLocked(c *ServerCall) {
	if len(w.queue) == cap(w.queue) && w.first > len(w.queue)/2 {
		n := copy(w.queue, w.queue[w.first:])
		clear(w.queue[n:])
		w.queue, w.first = w.queue[:n], 0
	}
	w.queue = append(w.queue, c)
}

// popLocked returns the first call of the queue, or nil.
func (w *Workers) popLocked() *ServerCall {
	if w.first == len(w.queue) {
		return nil
	}
	c := w.queue[w.first]
	w.queue[w.first] = nil
	w.first++
	if w.first == len(w.queue) {
		w.queue, w.first = w.queue[:0], 0
	}
	return c
}

// wakeLocked makes sure that a goroutine will come to the queue if there are calls in it.
func (w *Workers) wakeLocked() {
	switch {
	case w.wakePending || w.first == len(w.queue):
		return
	case w.idle > 0:
		w.idle--
		w.minIdle = min(w.minIdle, w.idle)
		w.wake.Signal()
	default:
		w.running++
		go w.work()
	}
	w.wakePending = true
}

// work runs handlers until there are enough idle goroutines, or a handler ends the goroutine.
func (w *Workers) work() {
	w.mu.Lock()
	defer w.workerStopped()
	for {
		w.wakePending = false
		for c := w.popLocked(); c != nil; c = w.popLocked() {
			w.wakeLocked()
			w.mu.Unlock()
			c.run()
			w.mu.Lock()
		}
		if w.closed || w.idle >= maxIdle {
			w.mu.Unlock()
			return
		}
		w.idle++
		w.scheduleTrimLocked()
		w.wake.Wait()
		if w.surplus > 0 {
			w.surplus--
			w.mu.Unlock()
			return
		}
	}
}

// scheduleTrimLocked makes sure that trimIdle is called while there is something to trim.
func (w *Workers) scheduleTrimLocked() {
	if w.trim == nil && !w.closed {
		w.minIdle = 0
		w.running++
		w.trim = time.AfterFunc(idleTime, w.trimIdle)
	}
}

// trimIdle ends the goroutines, and drops the pairs of endpoints, that were not needed since the last time.
func (w *Workers) trimIdle() {
	defer w.workerStopped()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trim = nil
	if w.closed {
		return
	}
	w.pairs.trim()
	w.surplus += w.minIdle
	w.idle -= w.minIdle
	for range w.minIdle {
		w.wake.Signal()
	}
	if w.idle > 0 {
		w.scheduleTrimLocked()
		w.minIdle = w.idle
	}
}

func (w *Workers) workerStopped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	if w.running == 0 {
		w.allStopped.Broadcast()
	}
}

// Wait ends the idle goroutines and waits for the handlers. Handlers that are started during or after
// it run all the same.
func (w *Workers) Wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.idle = 0
	if w.trim != nil && w.trim.Stop() {
		w.trim = nil
		w.running--
	}
	w.wake.Broadcast()
	for w.running > 0 {
		w.allStopped.Wait()
	}
}

// getLocalPair returns the endpoints of a local call.
func (w *Workers) getLocalPair() *localPair {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p, ok := w.pairs.get(); ok {
		return p
	}
	return newLocalPair(w)
}

// putLocalPair keeps the endpoints of a local call for another.
func (w *Workers) putLocalPair(p *localPair) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pairs.put(p)
}
