package rpcmesh

import (
	"context"
	"fmt"
	"sync"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// attempts are the tries of one call, of which mostly the first is the only one. One goroutine may send while another
// receives; either may find that an attempt has failed, and then one of them opens the next while the other waits.
type attempts struct {
	calls        *calls
	namespace    string
	ctx          context.Context //nolint:containedctx // a stream's operations run on the context it was opened with
	spec         connect.Spec
	info         *connect.CallInfo
	deadline     callDeadline
	caller       *link.Caller    // nil before the first attempt, and for a proxy
	callerBlocks bool            // the caller is in Send or Receive until the call ends
	completion   link.Completion // of the first attempt, where nobody waits

	mu        sync.Mutex
	state     callState
	current   attempt
	first     link.ClientCall // room for the first attempt's
	replay    replayBuffer
	pending   pendingCount
	retrying  chan struct{} // closed, and nil again, when a goroutine has done retrying
	released  chan struct{} // nil, or closed when the call is released
	stopWatch func() bool   // ends the watch on ctx
	localCall localCall

	// Of the goroutine that retries, or opens the first attempt:
	route  route
	number int      // of attempts
	tried  []NodeID // since all origins were
}

// start counts the call among the node's own, until release.
func (a *attempts) start() {
	a.calls.origins.beginCall()
	a.calls.retries.deposit()
	if a.spec.StreamType != connect.StreamTypeUnary && a.ctx.Done() != nil {
		// A stream may be abandoned by ending its context.
		a.mu.Lock()
		defer a.mu.Unlock()
		a.stopWatch = context.AfterFunc(a.ctx, a.release)
	}
}

// release takes the call off the node's counts. It may be called again.
func (a *attempts) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.released {
		return
	}
	a.state.released = true
	if a.released != nil {
		close(a.released)
	}
	if a.stopWatch != nil {
		a.stopWatch()
	}
	a.pending.move(nil)
	a.replay.drop()
	if a.localCall.attempts != nil {
		a.calls.local.remove(&a.localCall)
	}
	a.calls.origins.endCall()
}

// close releases the call and cancels it where it still runs.
func (a *attempts) close() {
	a.mu.Lock()
	call := a.current.call
	a.mu.Unlock()
	a.release()
	if call != nil {
		_ = call.Close() // always nil
	}
}

// singleRequest reports whether the request is one message.
func (a *attempts) singleRequest() bool { return a.spec.StreamType&connect.StreamTypeClient == 0 }

// call returns the attempt that is under way, and opens the first.
func (a *attempts) call() (*link.ClientCall, error) {
	for {
		a.mu.Lock()
		call, wait, err := a.openedLocked()
		a.mu.Unlock()
		again, err := a.proceed(wait, err)
		if !again {
			return call, err
		}
	}
}

// beginSend returns the attempt to send b by, once it has been sent all that was sent before, and whether b is kept
// for another one. endSend must follow where there is no error.
func (a *attempts) beginSend(b *link.Buffer) (call *link.ClientCall, kept bool, err error) {
	for {
		call, kept, wait, err := a.trySend(b)
		again, err := a.proceed(wait, err)
		if !again {
			return call, kept, err
		}
	}
}

func (a *attempts) trySend(b *link.Buffer) (call *link.ClientCall, kept bool, wait <-chan struct{}, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state.requests == requestsSent {
		return nil, false, nil, errSentAll
	}
	call, wait, err = a.replayedLocked()
	if wait == nil && err == nil {
		kept = a.keepLocked(b)
		a.replay.sending++
	}
	return call, kept, wait, err
}

// endSend notes how a Send has ended: what was a single request's is all there is to send.
func (a *attempts) endSend(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replay.sending--
	if err == nil && a.singleRequest() {
		a.state.requests = requestsSent
	}
}

// keepLocked keeps b for another attempt if there may be one, and reports whether it does.
func (a *attempts) keepLocked(b *link.Buffer) bool {
	return a.state.repeatable() && a.replay.add(b, !a.singleRequest())
}

// unkeep takes back b, which was not sent, if it was kept last.
func (a *attempts) unkeep(b *link.Buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.replay.removeLast(b)
}

// closeRequests notes that all is sent, and returns the attempt to end the requests of, once it has been sent all that
// was sent before.
func (a *attempts) closeRequests() (*link.ClientCall, error) {
	for {
		a.mu.Lock()
		a.state.requests = requestsSent
		call, wait, err := a.replayedLocked()
		a.mu.Unlock()
		again, err := a.proceed(wait, err)
		if !again {
			return call, err
		}
	}
}

// beginResponse notes that something of the response has come.
func (a *attempts) beginResponse() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.beginResponseLocked()
}

// beginResponseOf is beginResponse if call is the current attempt, and reports whether it is.
func (a *attempts) beginResponseOf(call *link.ClientCall) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current.call != call {
		return false
	}
	a.beginResponseLocked()
	return true
}

func (a *attempts) beginResponseLocked() {
	a.state.response = responseBegun
	a.replay.drop()
}

// end frees the call and returns err, by which call has ended, as its caller gets it.
func (a *attempts) end(call *link.ClientCall, err error) error {
	if a.localCall.nodeClosed.Load() {
		err = a.nodeClosedError()
	} else {
		err = a.callError(call, err)
	}
	_ = call.Close() // the call is over: what matters is how
	a.release()
	return err
}

// callError is what an attempt failed with as the caller gets it: with how far the call has come, over all its attempts.
func (a *attempts) callError(call *link.ClientCall, err error) error {
	a.mu.Lock()
	uncertain := a.state.response == responseUncertain
	a.mu.Unlock()
	return a.calls.identity.callError(call, a.deadline.explain(err, a.calls.cfg.CallTimeout, a.calls.identity.name), uncertain)
}

// nodeClosedError is how a call ends that its node was closed over.
func (a *attempts) nodeClosedError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.calls.identity.failed(connect.CodeUnavailable, a.state.certainty(), "the node was closed")
}

// sendError is the error of a Send that does not reach the call, which goes on.
func (a *attempts) sendError(err error) error {
	a.mu.Lock()
	call := a.current.call
	a.mu.Unlock()
	if call == nil {
		return a.calls.identity.failedBy(err, notStarted)
	}
	return a.callError(call, err)
}

// openedLocked returns the attempt that is under way, and opens the first. Where wait is not nil, it is to be called
// again once that is closed.
func (a *attempts) openedLocked() (call *link.ClientCall, wait <-chan struct{}, err error) {
	switch {
	case a.current.call != nil:
		return a.current.call, nil, nil
	case a.retrying != nil:
		return nil, a.retrying, nil
	case a.state.released && a.ctx.Err() == nil:
		return nil, nil, a.calls.identity.failed(connect.CodeCanceled, notStarted, "the caller closed the call before it began: use it before Close")
	}
	call, err = a.openLocked()
	if err != nil {
		return nil, nil, err
	}
	a.current = attempt{call: call}
	return call, nil, nil
}

// replayedLocked is openedLocked for who sends more, which an attempt must be ready for.
func (a *attempts) replayedLocked() (call *link.ClientCall, wait <-chan struct{}, err error) {
	call, wait, err = a.openedLocked()
	if call != nil {
		wait = a.current.replaying()
	}
	return call, wait, err
}

// proceed waits, or retries where the first attempt could not be opened, and reports whether the attempt is to be asked
// for again.
func (a *attempts) proceed(wait <-chan struct{}, err error) (again bool, _ error) {
	if wait != nil {
		<-wait
		return true, nil
	}
	if !isUnavailable(err) {
		return false, err
	}
	err = a.retryOpening(err)
	return err == nil, err
}

// openWith opens the first attempt of a call that nobody waits for, and keeps its request.
func (a *attempts) openWith(b *link.Buffer) (*link.ClientCall, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	call, err := a.openLocked()
	if err != nil {
		return nil, err
	}
	a.current.call = call
	a.keepLocked(b)
	return call, nil
}

// adoptFirst makes first, which runs already and has been sent b, the current attempt.
func (a *attempts) adoptFirst(b *link.Buffer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current.call = &a.first
	a.keepLocked(b)
}

// blockIn has further attempts made in ctx, by a caller that waits for them.
func (a *attempts) blockIn(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ctx = ctx
	a.completion = nil
}

// openLocked opens an attempt by the route. Nothing is sent yet.
func (a *attempts) openLocked() (*link.ClientCall, error) {
	a.number++
	t := &a.route.target
	if a.caller == nil {
		a.caller = a.calls.identity.callerFor(a.ctx)
	}
	a.info.PeerAddr = t.Name
	call := &a.first
	if a.number > 1 {
		call = new(link.ClientCall)
	}
	if t.Local {
		return call, a.openLocalLocked(call)
	}
	session := a.calls.table.session(t.Link)
	if session == nil {
		return nil, a.calls.identity.linkLostError()
	}
	if err := session.link.Open(a.ctx, a.openParams(t), call); err != nil {
		return nil, a.calls.identity.failedBy(err, notStarted)
	}
	a.countPendingLocked()
	return call, nil
}

// openLocalLocked opens an attempt at a function of this node.
func (a *attempts) openLocalLocked(call *link.ClientCall) error {
	t := &a.route.target
	function := a.calls.origins.lookup(t.Namespace, a.spec.Procedure)
	if function == nil {
		return a.calls.identity.notStartedError(a.calls.identity.withdrawnInfo(t.Namespace, a.spec.Procedure), "the function was withdrawn")
	}
	limit := a.calls.cfg.Limits.MaxCalls
	if a.calls.origins.ownHandlers.Load() >= int64(limit) {
		return a.calls.identity.failed(connect.CodeResourceExhausted, notStarted, fmt.Sprintf(
			"node %q runs as many handlers for its own calls as its Limits.MaxCalls of %d allows: try again later", a.calls.identity.name, limit))
	}
	if !a.calls.local.add(&a.localCall, a) {
		return a.calls.identity.nodeClosedError()
	}
	a.countPendingLocked()
	o := a.openParams(t)
	o.Namespace = t.Namespace
	link.OpenLocal(a.ctx, o, call, a.calls.linker.linkLimits(), a.calls.linker.workers, function.serveFunc)
	return nil
}

// openParams is what an attempt at t is opened with over a link.
func (a *attempts) openParams(t *mesh.Target) link.Open {
	return link.Open{
		Namespace: t.LinkNamespace, Procedure: a.spec.Procedure,
		Origin: t.Node, OriginNamespace: t.Namespace,
		Hops: link.MaxHops, StreamType: a.spec.StreamType, Deadline: a.deadline.at,
		CallerBlocks: a.callerBlocks, Completion: a.completion, Caller: a.caller,
		Header: a.info.RequestHeader(), ResponseHeader: a.info.ResponseHeader(), ResponseTrailer: a.info.ResponseTrailer(),
	}
}

// countPendingLocked has the call counted where the route leads, as long as it is open.
func (a *attempts) countPendingLocked() {
	if a.state.released {
		a.pending.move(nil)
		return
	}
	a.pending.move(a.route.pending)
}

func isUnavailable(err error) bool {
	return err != nil && connect.CodeOf(err) == connect.CodeUnavailable
}

// expired reports whether there is no time for another attempt.
func (a *attempts) expired() bool { return a.ctx.Err() != nil || a.deadline.passed() }
