package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// callerEndpoint is the caller's endpoint of a running call.
type callerEndpoint struct {
	stream
	pair           *localPair // of a local call
	answered       bool       // the handler has said something
	headers        []byte     // of the response, until Receive hands them out
	endBody        []byte     // how the call ended
	sessionOutcome *outcome
	failure        *rpcmeshv1.CallFailure // where the mesh is why this endpoint gave up
	completion     Completion             // until it has been called
	unary          *Unary                 // while its Do waits
}

// startCallerLocked opens a call on the session.
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

// recycleLocked makes the endpoint ready for another call if nobody uses it any more.
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

// waitHeadersLocked waits until something of the response has come, and reports whether that is headers alone. It
// releases the lock while it waits.
func (e *callerEndpoint) waitHeadersLocked() bool {
	more := func() bool {
		return e.err != nil || e.ctxDone || e.recv.closed() || !e.inbox.empty() || e.partialCost > 0
	}
	for e.headers == nil && !more() {
		e.recvWaiting = true
		e.waitLocked(e.readable)
		e.recvWaiting = false
	}
	return e.headers != nil && !more()
}

// takeHeadersLocked returns the response's headers, once, as they came; nil where there are none.
func (e *callerEndpoint) takeHeadersLocked() []byte {
	headers := e.headers
	e.headers = nil
	return headers
}

// outcomeLocked returns how the call ended, once receiveLocked has returned an error.
func (e *callerEndpoint) outcomeLocked() outcome {
	switch {
	case e.err != nil:
		return outcome{End: frame.End{Err: e.err, Failure: e.failure}}
	case e.sessionOutcome != nil:
		return *e.sessionOutcome
	}
	o := outcome{End: frame.DecodeEnd(e.endBody)}
	o.Failure = correctCertainty(o.Failure, e.answered)
	if e.inbox.partial > 0 && errors.Is(o.Err, io.EOF) {
		o.Err = connect.NewError(connect.CodeInternal, "link: the call ended in the middle of a message")
	}
	return o
}

// abortLocked cancels the call if it is running, and reports whether it was.
func (e *callerEndpoint) abortLocked(err *connect.Error) bool {
	e.inbox.discard()
	e.updateChargeLocked()
	if e.err != nil || e.recv.closed() {
		return false
	}
	if e.mem == memExhausted {
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

// cancelCode is the code of the cancel that tells the peer why this endpoint canceled the call.
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

func (e *callerEndpoint) handleFrameLocked(f *frame.Frame) afterUnlock {
	if u := e.unary; u != nil && e.completesUnaryLocked(f) {
		u.finishLocked(e, f)
		return afterUnlock{kind: afterWake, wake: u.answeredSignal}
	}
	err := e.acceptLocked(f)
	if err != nil && e.abortLocked(err) && f.Has(frame.FieldEnd) {
		e.s.releaseCanceledLocked(e.id) // its end will not come again
	}
	if e.unary != nil {
		e.readable.Signal() // the call goes on as any other, whose caller makes room for a long message
	}
	if c := e.takeCompletionLocked(); c != nil {
		return afterUnlock{kind: afterComplete, completion: c}
	}
	return afterUnlock{}
}

// acceptLocked handles the fields of a frame, or says what is wrong with them.
func (e *callerEndpoint) acceptLocked(f *frame.Frame) *connect.Error {
	if f.Has(frame.FieldHeaders) {
		if e.answered {
			return errUnexpectedHeaders
		}
		e.answered = true
		e.headers = append([]byte{}, f.Headers...)
		e.overhead += len(e.headers)
		e.readable.Signal()
	}
	if f.Has(frame.FieldWindow) {
		if err := e.addSendWindowLocked(f.Window, e); err != nil {
			return err
		}
	}
	if f.Has(frame.FieldData) {
		e.answered = true
		if err := e.receiveDataLocked(f.Data, f.Has(frame.FieldMore), f.Total); err != nil {
			return err
		}
	}
	if f.Has(frame.FieldEnd) {
		i, _ := idSlot(e.id)
		e.s.localCalls.release(i)
		e.setEndLocked(bytes.Clone(f.End))
		e.overhead += len(e.endBody)
	}
	e.updateChargeLocked()
	return nil
}

var errUnexpectedHeaders = connect.NewError(connect.CodeInternal, "link: headers where none can be")

// setEndLocked notes the end of the call: end is the body of an End.
func (e *callerEndpoint) setEndLocked(end []byte) {
	e.endBody = end
	e.recv.close()
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
	if e.id == 0 || e.err != nil || e.recv.closed() {
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
		e.exhaustMemoryLocked()
		e.abortLocked(s.errMemory())
		s.wakeWriterLocked()
	}
	waiter := e.takeCompletionLocked()
	s.mu.Unlock()
	completeNow(waiter)
}
