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
	// retryPause is what the second try waits for a change of the table at most; it doubles to
	// maxRetryPause.
	retryPause    = 5 * time.Millisecond
	maxRetryPause = 250 * time.Millisecond
)

// retryReason says why a call may be repeated.
type retryReason uint8

const (
	noRetry retryReason = iota
	// retryNotBegun: the mesh lost it before it began.
	retryNotBegun
	// retryElsewhere: its handler says that it has done nothing.
	retryElsewhere
	// retryIdempotent: it may have begun, and its method's idempotency level allows to repeat it.
	retryIdempotent
	// alreadyRetried: another attempt has taken the failed one's place.
	alreadyRetried
)

// errNoRetry tells that there is no other attempt. No caller sees it.
var errNoRetry = errors.New("the attempt is not repeated")

// findRoute finds the route of the next attempt, whatever has been tried.
func (a *attempts) findRoute() error {
	r, err := a.calls.resolve(a.namespace, a.spec)
	if err != nil {
		return err
	}
	a.route = r
	return nil
}

// mayRetry reports whether there may be another attempt after the first.
func (a *attempts) mayRetry() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.retryReasonLocked(&a.first) != noRetry
}

// retryAfter replaces a failed attempt by another where that is safe, and reports whether there is one. Both
// the sending and the receiving goroutine may come here with the same attempt.
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

// retryAfterSend is retryAfter for one who may be the first to find that the attempt has failed.
func (a *attempts) retryAfterSend(call *link.ClientCall) bool {
	call.EndIfDrained()
	return a.retryAfter(call)
}

// retryOpening opens the first attempt by another route than the one that failed with err, or returns why there is
// none.
func (a *attempts) retryOpening(err error) error {
	if a.beginRetry(nil) == alreadyRetried {
		return nil
	}
	defer a.endRetry()
	return a.openAnother(nil, retryNotBegun, err)
}

// beginRetry waits until no other goroutine retries, and says why the failed attempt, nil for one that could not be
// opened, may be repeated. Where it may, endRetry must follow.
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

// retryReasonLocked says whether a failed attempt may be repeated, and why. What the mesh ends by another code than
// unavailable fails the next time, too, or adds to a load that is too high already, which a handler may say as
// well.
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

// openAnother opens another attempt in the place of failed. It returns err, or why the last one could not be opened,
// where there is none.
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

// openNext opens an attempt by the route, and has it sent what failed was sent: on a goroutine of its own, since
// sending may have to wait until the handler's answers are received.
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

// reroute looks for another attempt's route, and reports whether there is one: at once to an origin that has not
// been tried yet; otherwise to any, at once where the table has changed since, else after a pause.
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

// rerouteLater finds any route, and waits for it as the first attempt does, until the call is released.
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

// pause is how long to wait for a change of the table before the next attempt.
func (a *attempts) pause() time.Duration {
	pause := min(duration.Times(retryPause, 1<<(a.number-1)), maxRetryPause)
	if !a.deadline.at.IsZero() {
		pause = min(pause, time.Until(a.deadline.at))
	}
	return pause
}
