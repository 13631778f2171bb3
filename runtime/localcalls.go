package rpcmesh

import (
	"sync"
	"sync/atomic"
)

// localCalls lists a node's calls of its own functions. No link's end ends them, so closing the node does.
type localCalls struct {
	mu     sync.Mutex
	first  *localCall
	closed bool
}

// localCall is a call's entry in the list, whose lock guards next and prev. The call's owner calls add and remove one
// at a time.
type localCall struct {
	attempts   *attempts // nil while not listed
	next, prev *localCall
	nodeClosed atomic.Bool // the node was closed while the call ran
}

// add lists the call of a, unless it is listed. It reports false once the node is closed.
func (l *localCalls) add(c *localCall, a *attempts) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if c.attempts != nil {
		return true
	}
	c.attempts = a
	c.next = l.first
	if l.first != nil {
		l.first.prev = c
	}
	l.first = c
	return true
}

// remove takes a listed call off the list.
func (l *localCalls) remove(c *localCall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	}
	c.attempts = nil
	c.next = nil
	c.prev = nil
}

// close ends every listed call, and lets no more in.
func (l *localCalls) close() {
	l.mu.Lock()
	l.closed = true
	var calls []*attempts
	for c := l.first; c != nil; c = c.next {
		c.nodeClosed.Store(true)
		calls = append(calls, c.attempts)
	}
	l.mu.Unlock()
	for _, a := range calls {
		a.close()
	}
}
