package link

import "sync"

// maxIdle is how many goroutines wait for the next handler.
const maxIdle = 1024

// Workers are the goroutines that run handlers. They are reused, and shared by the sessions of a node.
type Workers struct {
	mu      sync.Mutex
	idle    []chan *ServerCall // the last to become idle comes first
	running int                // goroutines, idle ones too
	closed  bool
	pairs   []*localPair // spare ones
	none    sync.Cond    // running may be 0
}

// NewWorkers returns an empty set; goroutines are started as they are needed.
func NewWorkers() *Workers {
	w := new(Workers)
	w.none.L = &w.mu
	return w
}

// run runs a call's handler. It does not block.
func (w *Workers) run(c *ServerCall) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		next := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		next <- c
		return
	}
	w.running++
	w.mu.Unlock()
	go w.work(c)
}

// work runs handlers until there are enough idle goroutines, or a handler ends the goroutine.
func (w *Workers) work(c *ServerCall) {
	defer w.stopped()
	next := make(chan *ServerCall, 1)
	for c != nil {
		c.run()
		if !w.rest(next) {
			return
		}
		c = <-next
	}
}

// rest puts a goroutine among the idle ones, if it is wanted there.
func (w *Workers) rest(next chan *ServerCall) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.idle) >= maxIdle {
		return false
	}
	w.idle = append(w.idle, next)
	return true
}

func (w *Workers) stopped() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running--
	if w.running == 0 {
		w.none.Broadcast()
	}
}

// Wait ends the idle goroutines and waits for the handlers. Handlers that are started during or after
// it run all the same.
func (w *Workers) Wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, next := range w.idle {
		next <- nil
	}
	w.idle = nil
	for w.running > 0 {
		w.none.Wait()
	}
}

// takePair returns the ends for a local call.
func (w *Workers) takePair() *localPair {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.pairs); n > 0 {
		p := w.pairs[n-1]
		w.pairs = w.pairs[:n-1]
		return p
	}
	return newLocalPair(w)
}

// putPair keeps the ends of a local call for another.
func (w *Workers) putPair(p *localPair) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pairs) < maxSpare {
		w.pairs = append(w.pairs, p)
	}
}
