package rpcmesh

import (
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestAttemptReplaying: an attempt is replaying until it has been sent what was sent before; the first never is.
func TestAttemptReplaying(t *testing.T) {
	first := attempt{call: new(link.ClientCall)}
	if first.replaying() != nil {
		t.Error("the first attempt is replaying")
	}
	second := attempt{call: new(link.ClientCall), replayed: make(chan struct{})}
	wait := second.replaying()
	if wait == nil {
		t.Fatal("the second attempt is not replaying")
	}
	close(second.replayed)
	<-wait
	if second.replaying() != nil {
		t.Error("the second attempt is replaying still")
	}
}

// TestCallState: a call is repeatable while it is open and has had nothing of its response, and what may have begun is
// not forgotten.
func TestCallState(t *testing.T) {
	var s callState
	if !s.repeatable() || s.certainty() != unknown {
		t.Errorf("at first: repeatable %t, %v", s.repeatable(), s.certainty())
	}
	s.repeatUncertain()
	if s.response != responseUncertain || !s.repeatable() {
		t.Errorf("after an attempt that may have begun: %v", s)
	}
	s.response = responseBegun
	s.repeatUncertain()
	if s.response != responseBegun || s.repeatable() || s.certainty() != started {
		t.Errorf("after the response's beginning: %v", s)
	}
	released := callState{released: true}
	if released.repeatable() {
		t.Error("a call that was released is repeatable")
	}
}

// TestPendingCount: a call is counted in one place at a time.
func TestPendingCount(t *testing.T) {
	var a, b atomic.Int64
	var p pendingCount
	for _, step := range []struct {
		to       *atomic.Int64
		inA, inB int64
	}{{&a, 1, 0}, {&a, 1, 0}, {&b, 0, 1}, {nil, 0, 0}, {nil, 0, 0}, {&a, 1, 0}} {
		p.move(step.to)
		if a.Load() != step.inA || b.Load() != step.inB {
			t.Errorf("counted %d and %d times, not %d and %d", a.Load(), b.Load(), step.inA, step.inB)
		}
	}
}

// TestOneGoroutineRetries: of two that find that an attempt has failed, one opens the next and the other waits for it.
func TestOneGoroutineRetries(t *testing.T) {
	failed, next := new(link.ClientCall), new(link.ClientCall)
	var a attempts
	a.retrying = make(chan struct{})
	a.current.call = failed
	reason := make(chan retryReason)
	go func() { reason <- a.beginRetry(failed) }()
	a.mu.Lock()
	a.current.call = next
	a.mu.Unlock()
	a.endRetry()
	if got := <-reason; got != alreadyRetried {
		t.Errorf("the other one retries for reason %d", got)
	}
	if a.retrying != nil {
		t.Error("a goroutine retries still")
	}
}

// TestReleaseEndsTheWaitForARoute: who waits for another route is told when the call is released, before or after.
func TestReleaseEndsTheWaitForARoute(t *testing.T) {
	var a attempts
	before := a.releasedChan()
	select {
	case <-before:
		t.Fatal("closed while the call is open")
	default:
	}
	a.state.released = true
	a.released = nil
	<-a.releasedChan()
}

// TestNoRetryWithoutAllRequests: a call is not repeated that has sent more, while it waited for another route, than is
// kept.
func TestNoRetryWithoutAllRequests(t *testing.T) {
	a := attempts{spec: connect.Spec{StreamType: connect.StreamTypeBidi}}
	failed := new(link.ClientCall)
	a.current.call = failed
	a.retrying = make(chan struct{})
	if a.keepLocked(message(maxReplay)) {
		t.Fatal("all is kept")
	}
	if err := a.openNext(failed); err != errNoRetry {
		t.Errorf("another attempt: %v", err)
	}
}
