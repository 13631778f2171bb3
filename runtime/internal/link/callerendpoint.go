package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// callerEndpoint is the caller's end of a running call.
type callerEndpoint struct {
	stream
	pair           *localPair // of a local call
	answered       bool       // the handler has said something
	gotHeaders     bool
	headers        []byte // of the response, until Receive hands them out
	endBody        []byte // how the call ended
	sessionOutcome *outcome
	failure        *rpcmeshv1.CallFailure // where the mesh is why this end gave up
	completion     Completion             // until it has been told
	unary          *Unary                 // while its Do waits
}

// startCallerLocked opens a call on the session. The session's lock is held.
func (s *Session) startCallerLocked(deadline time.Time) (*callerEndpoint, *connect.Error) {
	if !s.admitsCall(0, true) {
		return nil, s.errMemory()
	}
	e, ok := s.callerPool.get()
	if !ok {
		e = new(callerEndpoint)
		e.stream = newStream(e, &s.mu, &s.cfg.Limits)
	}
	if !deadline.IsZero() {
		e.deadline = max(int64(deadline.Sub(s.epoch)), 1)
	}
	if err := s.registerLocked(e); err != nil {
		e.deadline = 0
		s.callerPool.put(e)
		return nil, err
	}
	return e, nil
}

// recycleLocked makes the end ready for another call if nobody uses it any more. mu is held.
func (e *callerEndpoint) recycleLocked() {
	if e.unusedLocked() {
		e.releaseMemoryLocked()
	}
	switch {
	case !e.idleLocked():
	case e.pair != nil:
		e.pair.recycleLocked()
	default:
		s := e.s
		*e = callerEndpoint{stream: e.fresh()}
		s.callerPool.put(e)
	}
}

// waitHeadersLocked waits for anything of the response, and reports whether there are headers alone. mu is held,
// but not while it waits.
func (e *callerEndpoint) waitHeadersLocked() bool {
	more := func() bool { return e.err != nil || e.ctxDone || e.recvClosed || !e.inbox.empty() || e.partialCost > 0 }
	for e.headers == nil && !more() {
		e.recvWaiting = true
		e.waitLocked(e.readable)
		e.recvWaiting = false
	}
	return e.headers != nil && !more()
}

// outcomeLocked says how the call ended, once receive has returned an error. mu is held.
func (e *callerEndpoint) outcomeLocked() outcome {
	switch {
	case e.err != nil:
		return outcome{err: e.err, failure: e.failure}
	case e.sessionOutcome != nil:
		return *e.sessionOutcome
	}
	o := decodeEnd(e.endBody)
	o.failure = correctCertainty(o.failure, e.answered)
	if e.inbox.partial > 0 && errors.Is(o.err, io.EOF) {
		o.err = connect.NewError(connect.CodeInternal, "link: the call ended in the middle of a message")
	}
	return o
}

// abortLocked lets go of the call if it is running, and reports whether it was. mu is held.
func (e *callerEndpoint) abortLocked(err *connect.Error) bool {
	e.inbox.discard()
	e.updateChargeLocked()
	if e.err != nil || e.recvClosed {
		return false
	}
	if e.memoryExhausted {
		err = err.WithRemote()
		e.failure = e.s.failure(err, started).detail
	}
	e.err = err
	e.stopLocked()
	if e.pair == nil {
		e.s.cancelLocked(&e.callState, cancelCode(err))
	}
	return true
}

// cancelCode is what the other end of a call is told of why this end let go.
func cancelCode(err *connect.Error) connect.Code {
	if err.Code() == connect.CodeDeadlineExceeded {
		return connect.CodeDeadlineExceeded
	}
	return connect.CodeCanceled
}

// contextError is the error of a call whose context has ended.
func contextError(cause error) *connect.Error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return connect.NewError(connect.CodeDeadlineExceeded, "the call's time is up").WithCause(cause)
	}
	return connect.NewError(connect.CodeCanceled, "the caller let go of the call").WithCause(cause)
}

func (e *callerEndpoint) handleFrameLocked(f *frame) {
	if u := e.unary; u != nil && e.completesUnaryLocked(f) {
		s := e.s
		u.finishLocked(e, f)
		s.mu.Unlock()
		u.answeredSignal.Signal()
		return
	}
	if err := e.acceptLocked(f); err != nil && e.abortLocked(err) && f.has&hasEnd != 0 {
		e.s.releaseCanceledLocked(e.id) // its end will not come again
	}
	if e.unary != nil {
		e.readable.Signal() // the call goes on as any other, whose caller makes room for a long message
	}
	s, waiter := e.s, e.takeCompletionLocked()
	e.mu.Unlock()
	if waiter == nil {
		return
	}
	if o := waiter.CallDone(); o != nil {
		s.scheduleFlush(o)
	}
}

// acceptLocked takes what a frame says, or says what is wrong with it. mu is held.
func (e *callerEndpoint) acceptLocked(f *frame) *connect.Error {
	if f.has&hasHeaders != 0 {
		if e.gotHeaders || e.answered {
			return errUnexpectedHeaders
		}
		e.gotHeaders, e.answered = true, true
		e.headers = append([]byte{}, f.headers...)
		e.overhead += len(e.headers)
		e.readable.Signal()
	}
	if f.has&hasWindow != 0 {
		if err := e.addSendWindowLocked(f.window, e); err != nil {
			return err
		}
	}
	if f.has&hasData != 0 {
		e.answered = true
		if err := e.receiveDataLocked(f.data, f.more, f.total); err != nil {
			return err
		}
	}
	if f.has&hasEnd != 0 {
		i, _ := idSlot(e.id)
		e.s.localCalls.release(i)
		e.setEndLocked(bytes.Clone(f.end))
		e.overhead += len(e.endBody)
	}
	e.updateChargeLocked()
	return nil
}

var errUnexpectedHeaders = connect.NewError(connect.CodeInternal, "link: headers where none can be")

// setEndLocked notes the end, the body of an End. mu is held.
func (e *callerEndpoint) setEndLocked(end []byte) {
	e.endBody, e.recvClosed = end, true
	e.stopLocked()
}

func (e *callerEndpoint) appendNextLocked() { e.appendChunkLocked(e) }

func (e *callerEndpoint) expire(s *Session, now int64) {
	s.mu.Lock()
	if e.deadline != 0 && e.deadline <= now && e.abortLocked(contextError(context.DeadlineExceeded)) {
		s.wakeWriterLocked()
	}
	waiter := e.takeCompletionLocked()
	s.mu.Unlock()
	completeNow(waiter)
}

func (e *callerEndpoint) sessionEnded(s *Session, cause *Ended) {
	s.mu.Lock()
	if e.id == 0 || e.err != nil || e.recvClosed {
		s.mu.Unlock()
		return
	}
	lost := s.failure(s.errSessionEnded(cause), s.certaintyLocked(&e.callState, e.answered)).outcome()
	e.sessionOutcome = &lost
	e.setEndLocked(nil)
	e.releaseMemoryLocked()
	waiter := e.takeCompletionLocked()
	s.mu.Unlock()
	completeNow(waiter)
}

func (e *callerEndpoint) memoryWaitExpired(s *Session, then int64) {
	s.mu.Lock()
	if e.waitedTooLongLocked(then) {
		e.memoryExhausted = true
		e.abortLocked(s.errMemory())
		s.wakeWriterLocked()
	}
	waiter := e.takeCompletionLocked()
	s.mu.Unlock()
	completeNow(waiter)
}
