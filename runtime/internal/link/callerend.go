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

// callerEnd is the caller's end of a running call.
type callerEnd struct {
	stream
	pair       *localPair // of a local call
	answered   bool       // the handler has said something
	gotHeaders bool
	headers    []byte // of the response, until Receive hands them out
	end        []byte // how the call ended
	lost       *outcome
	failure    *rpcmeshv1.CallFailure // where the mesh is why this end gave up
	waiter     Waiter                 // until it has been told
	unary      *Unary                 // while its Do waits
}

// startCaller opens a call on the session. The session's lock is held.
func (s *Session) startCaller(deadline time.Time) (*callerEnd, *connect.Error) {
	if !s.admits(0, true) {
		return nil, s.errMemory()
	}
	e, ok := s.spareCallers.take()
	if !ok {
		e = new(callerEnd)
		e.stream = newStream(e, &s.mu, &s.cfg.Limits)
	}
	if !deadline.IsZero() {
		e.deadline = max(int64(deadline.Sub(s.epoch)), 1)
	}
	if err := s.openCall(e); err != nil {
		e.deadline = 0
		s.spareCallers.put(e)
		return nil, err
	}
	return e, nil
}

// recycle makes the end ready for another call if nobody uses it any more. mu is held.
func (e *callerEnd) recycle() {
	if e.left() {
		e.uncount()
	}
	switch {
	case !e.idle():
	case e.pair != nil:
		e.pair.recycle()
	default:
		s := e.s
		*e = callerEnd{stream: e.fresh()}
		s.spareCallers.put(e)
	}
}

// awaitHeaders waits for anything of the response, and reports whether there are headers alone. mu is held,
// but not while it waits.
func (e *callerEnd) awaitHeaders() bool {
	more := func() bool { return e.err != nil || e.gone || e.eof || !e.inbox.empty() || e.inCost > 0 }
	for e.headers == nil && !more() {
		e.receiving = true
		e.wait(e.readable)
		e.receiving = false
	}
	return e.headers != nil && !more()
}

// finish says how the call ended, once receive has returned an error. mu is held.
func (e *callerEnd) finish() outcome {
	switch {
	case e.err != nil:
		return outcome{err: e.err, failure: e.failure}
	case e.lost != nil:
		return *e.lost
	}
	o := decodeEnd(e.end)
	o.failure = certain(o.failure, e.answered)
	if e.inbox.open > 0 && errors.Is(o.err, io.EOF) {
		o.err = connect.NewError(connect.CodeInternal, "link: the call ended in the middle of a message")
	}
	return o
}

// abort lets go of the call if it is running, and reports whether it was. mu is held.
func (e *callerEnd) abort(err *connect.Error) bool {
	e.inbox.drop()
	e.count()
	if e.err != nil || e.eof {
		return false
	}
	if e.full {
		err = err.WithRemote()
		e.failure = e.s.failed(err, started).failure
	}
	e.err = err
	e.stop()
	if e.pair == nil {
		e.s.letGo(&e.half, cancelCode(err))
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

func (e *callerEnd) frame(f *frame) {
	if u := e.unary; u != nil && e.answersLocked(f) {
		s := e.s
		u.finishLocked(e, f)
		s.mu.Unlock()
		u.notice.Signal()
		return
	}
	if err := e.accept(f); err != nil && e.abort(err) && f.has&hasEnd != 0 {
		e.s.forgoneLocked(e.id) // its end will not come again
	}
	if e.unary != nil {
		e.readable.Signal() // the call goes on as any other, whose caller makes room for a long message
	}
	s, waiter := e.s, e.takeWaiter()
	e.mu.Unlock()
	if waiter == nil {
		return
	}
	if o := waiter.Over(); o != nil {
		s.touch(o)
	}
}

// accept takes what a frame says, or says what is wrong with it. mu is held.
func (e *callerEnd) accept(f *frame) *connect.Error {
	if f.has&hasHeaders != 0 {
		if e.gotHeaders || e.answered {
			return errHeaders
		}
		e.gotHeaders, e.answered = true, true
		e.headers = append([]byte{}, f.headers...)
		e.fixed += len(e.headers)
		e.readable.Signal()
	}
	if f.has&hasWindow != 0 {
		if err := e.credited(f.window, e); err != nil {
			return err
		}
	}
	if f.has&hasData != 0 {
		e.answered = true
		if err := e.take(f.data, f.more, f.total); err != nil {
			return err
		}
	}
	if f.has&hasEnd != 0 {
		i, _ := idSlot(e.id)
		e.s.own.release(i)
		e.takeEnd(bytes.Clone(f.end))
		e.fixed += len(e.end)
	}
	e.count()
	return nil
}

var errHeaders = connect.NewError(connect.CodeInternal, "link: headers where none can be")

// takeEnd notes the end, the body of an End. mu is held.
func (e *callerEnd) takeEnd(end []byte) {
	e.end, e.eof = end, true
	e.stop()
}

func (e *callerEnd) pull() { e.pullChunk(e) }

func (e *callerEnd) expire(s *Session, now int64) {
	s.mu.Lock()
	if e.deadline != 0 && e.deadline <= now && e.abort(contextError(context.DeadlineExceeded)) {
		s.wakeWriter()
	}
	waiter := e.takeWaiter()
	s.mu.Unlock()
	tellNow(waiter)
}

func (e *callerEnd) lose(s *Session, cause *Ended) {
	s.mu.Lock()
	if e.id == 0 || e.err != nil || e.eof {
		s.mu.Unlock()
		return
	}
	lost := s.failed(s.lost(cause), s.certainty(&e.half, e.answered)).outcome()
	e.lost = &lost
	e.takeEnd(nil)
	e.uncount()
	waiter := e.takeWaiter()
	s.mu.Unlock()
	tellNow(waiter)
}

func (e *callerEnd) giveUp(s *Session, then int64) {
	s.mu.Lock()
	if e.late(then) {
		e.full = true
		e.abort(s.errMemory())
		s.wakeWriter()
	}
	waiter := e.takeWaiter()
	s.mu.Unlock()
	tellNow(waiter)
}
