package rpcmesh

import (
	"errors"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// maxAttempts bounds how often one call is tried.
	maxAttempts = 10
	// retryPause bounds how long the second attempt waits for a change of the table; it doubles up to maxRetryPause.
	retryPause    = 5 * time.Millisecond
	maxRetryPause = 250 * time.Millisecond
)

// retryReason is why a call may be retried.
type retryReason uint8

const (
	noRetry retryReason = iota
	// retryNotBegun: the mesh lost the call before its handler began.
	retryNotBegun
	// retryElsewhere: the handler says that it has done nothing.
	retryElsewhere
	// retryIdempotent: the handler may have begun, and the method's idempotency level permits a repetition.
	retryIdempotent
	// alreadyRetried: the other goroutine has replaced the attempt.
	alreadyRetried
)

// errNoRetry says that there is no further attempt. Callers never see it.
var errNoRetry = errors.New("the attempt is not repeated")

// findRoute finds the route of the next attempt. Any origin will do.
func (a *attempts) findRoute() error {
	r, err := a.calls.resolve(a.namespace, a.spec)
	if err != nil {
		return err
	}
	a.route = r
	return nil
}

// mayRetry reports whether the first attempt may be followed by another.
func (a *attempts) mayRetry() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.retryReasonLocked(&a.first) != noRetry
}

// retryAfter replaces a failed attempt where that is safe, and reports whether it has been replaced. The sending and
// the receiving goroutine may both call it for the same attempt.
func (a *attempts) retryAfter(failed *link.ClientCall) bool {
	reason := a.beginRetry(failed)
	if reason == alreadyRetried || reason == noRetry {
		return reason == alreadyRetried
	}
	defer a.endRetry()
	if a.openAnother(failed, reason, errNoRetry) != nil {
		return false
	}
	_ = failed.Close() // always nil
	return true
}

// retryAfterSend is retryAfter for the sender, who may be the first to notice that the attempt has failed.
func (a *attempts) retryAfterSend(call *link.ClientCall) bool {
	call.EndIfDrained()
	return a.retryAfter(call)
}

// retryOpening replaces a first attempt that could not be opened because of err. It returns nil, or why no attempt
// can be opened.
func (a *attempts) retryOpening(err error) error {
	if a.beginRetry(nil) == alreadyRetried {
		return nil
	}
	defer a.endRetry()
	return a.openAnother(nil, retryNotBegun, err)
}

// beginRetry waits until no other goroutine retries. Then it says why failed may be retried; failed is nil for an
// attempt that could not be opened. Where there is a reason, the caller must retry and then call endRetry.
func (a *attempts) beginRetry(failed *link.ClientCall) retryReason {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.current.call == failed && a.retrying != nil {
		other := a.retrying
		a.mu.Unlock()
		<-other
		a.mu.Lock()
	}
	if a.current.call != failed {
		return alreadyRetried
	}
	reason := retryNotBegun
	if failed != nil {
		reason = a.retryReasonLocked(failed)
	}
	if reason == retryIdempotent {
		a.state.repeatUncertain()
	}
	if reason != noRetry {
		a.retrying = make(chan struct{})
	}
	return reason
}

func (a *attempts) endRetry() {
	a.mu.Lock()
	defer a.mu.Unlock()
	close(a.retrying)
	a.retrying = nil
}

// retryReasonLocked says why a failed attempt may be retried, if it may. A call that the mesh ended with another code
// than unavailable would fail again, or add to an overload; a handler may report the latter, too.
func (a *attempts) retryReasonLocked(failed *link.ClientCall) retryReason {
	failure := failed.Failure()
	code := connect.CodeOf(failed.Err())
	worthwhile := code == connect.CodeUnavailable || failure.GetByHandler() && code != connect.CodeResourceExhausted
	if failure == nil || !worthwhile || !a.state.repeatable() || a.replay.overflowed || a.expired() {
		return noRetry
	}
	switch failure.GetCertainty() {
	case notStarted:
		if failure.GetByHandler() {
			return retryElsewhere
		}
		return retryNotBegun
	case unknown:
		whole := a.singleRequest() || a.state.requests == requestsSent
		if whole && a.spec.IdempotencyLevel != connect.IdempotencyUnknown {
			return retryIdempotent
		}
	case started, rpcmeshv1.CallFailure_CERTAINTY_UNSPECIFIED:
	}
	return noRetry
}

// openAnother opens an attempt in place of failed. Where it cannot, it returns why the last one could not be opened,
// or err where none was tried.
func (a *attempts) openAnother(failed *link.ClientCall, reason retryReason, err error) error {
	for a.reroute(reason) {
		err = a.openNext(failed)
		if !isUnavailable(err) {
			return err
		}
		reason = retryNotBegun
	}
	return err
}

// openNext opens an attempt by the current route and replays the requests of failed. It does so on a goroutine of its
// own, since sending may block until responses are received.
func (a *attempts) openNext(failed *link.ClientCall) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.state.repeatable() || a.replay.overflowed {
		return errNoRetry // not any more
	}
	call, err := a.openLocked()
	if err != nil {
		return err
	}
	next := attempt{call: call}
	if failed != nil {
		next.replayed = make(chan struct{})
		messages := a.replay.share()
		all := a.state.requests == requestsSent && !a.singleRequest()
		spawned := a.calls.life.spawn(func() {
			defer close(next.replayed)
			replay(call, messages, all)
		})
		if !spawned {
			_ = call.Close() // always nil
			return errNoRetry
		}
	}
	a.current = next
	return nil
}

// reroute finds the route of another attempt, and reports whether there is one. It takes an untried origin at once.
// Otherwise it takes any origin: at once where the table has changed since the last attempt, else after a pause.
func (a *attempts) reroute(reason retryReason) bool {
	if a.number >= maxAttempts || a.expired() {
		return false
	}
	budget := &a.calls.retries
	a.tried = append(a.tried, a.route.target.Node)
	r, err := a.calls.resolve(a.namespace, a.spec, a.tried...)
	if err == nil {
		a.route = r
		return reason == retryNotBegun || budget.tryWithdraw()
	}
	if reason == retryElsewhere {
		return false
	}
	a.tried = a.tried[:0]
	table := a.route.table
	if !a.calls.table.awaitChange(a.ctx, table, a.pause()) || a.expired() || !a.rerouteLater() {
		return false
	}
	return reason == retryNotBegun && a.route.table != table || budget.tryWithdraw()
}

// rerouteLater finds a route to any origin. Like the first attempt, it waits for one where that may help, until the
// call is released.
func (a *attempts) rerouteLater() bool {
	released := a.releasedChan()
	for {
		err := a.findRoute()
		if !errors.Is(err, errAbsent) {
			return err == nil
		}
		if a.calls.awaitFunction(a.ctx, a.deadline.at, a.namespace, a.spec.Procedure, released) != nil {
			return false
		}
	}
}

// releasedChan returns a channel that is closed when the call is released.
func (a *attempts) releasedChan() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.released == nil {
		a.released = make(chan struct{})
		if a.state.released {
			close(a.released)
		}
	}
	return a.released
}

// pause is how long the next attempt waits for a change of the table.
func (a *attempts) pause() time.Duration {
	pause := min(duration.Times(retryPause, 1<<(a.number-1)), maxRetryPause)
	if !a.deadline.at.IsZero() {
		pause = min(pause, time.Until(a.deadline.at))
	}
	return pause
}
