package rpcmesh

import (
	"sync"
	"sync/atomic"

	"connectrpc.com/connect/v2"
)

// localCalls are a node's calls of its own functions, which no link's end ends: closing the node does.
type localCalls struct {
	mu     sync.Mutex
	first  *outgoing
	closed bool
}

// localCall is what an outgoing call is listed by.
type localCall struct {
	list       *localCalls // nil while not listed; the call's lock guards it
	next, prev *outgoing   // the list's lock guards them
	cut        atomic.Bool // the node was closed over the call
}

// closedOver is how a call ends over which its node was closed. The caller does not hold s.mu.
func (s *outgoing) closedOver() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := unknown
	if s.answered {
		c = started
	}
	return s.ns.node.failed(connect.CodeUnavailable, c, "the node was closed")
}

// add lists s, if it is not. It reports false once the node is closed. The caller holds s.mu.
func (l *localCalls) add(s *outgoing) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if s.local.list == nil {
		s.local.list, s.local.next = l, l.first
		if l.first != nil {
			l.first.local.prev = s
		}
		l.first = s
	}
	return true
}

// remove takes s off the list, if it is there. The caller holds s.mu.
func (l *localCalls) remove(s *outgoing) {
	c := &s.local
	if c.list == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.prev != nil {
		c.prev.local.next = c.next
	} else {
		l.first = c.next
	}
	if c.next != nil {
		c.next.local.prev = c.prev
	}
	c.list, c.next, c.prev = nil, nil, nil
}

// close ends every listed call, and lets no more in.
func (l *localCalls) close() {
	l.mu.Lock()
	l.closed = true
	var calls []*outgoing
	for s := l.first; s != nil; s = s.local.next {
		s.local.cut.Store(true)
		calls = append(calls, s)
	}
	l.mu.Unlock()
	for _, s := range calls {
		_ = s.Close() // always nil
	}
}
