package link

import (
	"bytes"
	"context"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// handlerEnd is the handler's end of a running call.
type handlerEnd struct {
	stream
	call        *ServerCall
	handle      func(*ServerCall)
	served      Served     // in place of handle; may be nil
	request     *Buffer    // what TakeRequest returns
	pair        *localPair // of a local call
	sentHeaders bool
	ended       bool // the other end has been told the end
}

// serve starts the handler of a call that the other end opens.
func (s *Session) serve(f *frame, in *Incoming, to *Route) error {
	c, served := to.newCall()
	c.mu, c.limits, c.session = &s.mu, &s.cfg.Limits, s
	c.callee, c.caller, c.kind = in.Callee, in.Caller, in.StreamType
	cost := servedCost + len(in.rawHeader)
	if len(in.rawHeader) > 0 {
		c.header = new(bytes.Clone(in.rawHeader))
	}
	var deadline int64
	if in.Timeout > 0 {
		now := time.Now()
		c.deadline = now.Add(in.Timeout)
		deadline = int64(duration.Add(now.Sub(s.epoch), in.Timeout))
	}
	s.mu.Lock()
	if ok, err := s.admitLocked(f, cost); !ok {
		s.mu.Unlock()
		return err
	}
	s.handlers++
	e := s.newHandlerEnd()
	e.call, e.handle, e.served, c.end = c, to.Serve, served, e
	e.s, e.id = s, f.call
	e.credit, e.window = int(s.peer.Join.GetWindow()), s.cfg.Limits.Window
	s.takeIn(e.id, e)
	e.fixed = cost
	e.count()
	if deadline != 0 {
		e.deadline = deadline
		s.arm(deadline)
	}
	if served != nil && whole(f, in) && e.takeWholeLocked(f.data) {
		s.mu.Unlock()
	} else {
		e.frame(f)
	}
	s.reader.calls = append(s.reader.calls, c)
	return nil
}

// whole reports whether an open brings all of a single request, and nothing else.
func whole(f *frame, in *Incoming) bool {
	return f.has == hasOpen|hasData|hasCloseSend && !f.more && in.StreamType&connect.StreamTypeClient == 0
}

// takeWholeLocked is accept for a request that came whole, which is handed over with the call. It reports false, and
// has done nothing, where accept is to look at it.
func (e *handlerEnd) takeWholeLocked(data []byte) bool {
	if len(data) > min(smallInbox, e.limits.MaxMessage) {
		return false
	}
	e.window -= len(data) + dataCost
	e.eof = true
	e.request = CopyBuffer(data)
	return true
}

// newCall returns the call to serve.
func (r *Route) newCall() (*ServerCall, Served) {
	if r.Make == nil {
		return new(ServerCall), nil
	}
	served := r.Make()
	return served.Call(), served
}

// admitLocked takes an open whose call costs so much, or refuses it. It fails as takeOpenLocked does.
func (s *Session) admitLocked(f *frame, cost int) (ok bool, err error) {
	taken, err := s.takeOpenLocked(f.call)
	switch {
	case !taken:
		return false, err
	case s.handlers >= s.cfg.Limits.MaxCalls:
		s.refuseLocked(f.call, s.errHandlers())
	case !s.admitsOpen(f, cost):
		s.refuseLocked(f.call, s.errMemory())
	default:
		return true, nil
	}
	return false, nil
}

// runCalls starts the handlers of the calls that have come since the last time. Reader only.
func (s *Session) runCalls() {
	if calls := s.reader.calls; len(calls) > 0 {
		s.cfg.Workers.run(calls...)
		clear(calls)
		s.reader.calls = calls[:0]
	}
}

func (s *Session) errHandlers() *connect.Error {
	return connect.Errorf(connect.CodeResourceExhausted,
		"node %q runs as many handlers for one link as its Limits.MaxCalls of %d allows: try again later", s.cfg.Name, s.cfg.Limits.MaxCalls)
}

// newHandlerEnd returns an end to use. The session's lock is held.
func (s *Session) newHandlerEnd() *handlerEnd {
	e, ok := s.spareHandlers.take()
	if !ok {
		e = new(handlerEnd)
		e.stream = newStream(e, &s.mu, &s.cfg.Limits)
	}
	return e
}

// recycle makes the end ready for another call if nobody uses it any more. mu is held.
func (e *handlerEnd) recycle() {
	if e.left() {
		e.uncount()
	}
	switch {
	case !e.idle():
	case e.pair != nil:
		e.pair.recycle()
	default:
		s := e.s
		*e = handlerEnd{stream: e.fresh()}
		s.spareHandlers.put(e)
	}
}

// flush writes what the handler has said. mu is held, but not while it writes.
func (e *handlerEnd) flush() {
	if e.pair == nil {
		e.s.flush()
	}
}

// replyAtOnce puts headers, a message and the end into the packet as one frame, if that can be done. mu
// is held.
func (e *handlerEnd) replyAtOnce(head, msg, end []byte) bool {
	if e.pair != nil || e.err != nil || e.sending || e.credit <= 0 ||
		len(head)+len(end) > laneShare || !e.s.room(&e.half, len(msg)) {
		return false
	}
	e.emit(head, &outFrame{hasData: true, data: msg, hasEnd: true, end: end})
	e.s.endTheirs(e.id)
	return true
}

// finish ends the call with end, the body of an End. err is what the handler finds. mu is held.
func (e *handlerEnd) finish(err *connect.Error, end []byte) {
	if e.pair != nil {
		e.pair.caller.takeEnd(end)
	} else {
		e.s.answer(&e.half, end)
	}
	e.over(err)
}

// over notes that the other end has been told the end. mu is held.
func (e *handlerEnd) over(err *connect.Error) {
	if e.err == nil {
		e.err = err
	}
	e.ended = true
	e.stop()
	e.inbox.drop()
	e.count()
}

func (e *handlerEnd) frame(f *frame) {
	err := e.accept(f)
	if err == nil {
		e.mu.Unlock()
		return
	}
	e.fail(err)
}

// fail ends the call because of what has come, or could not come. mu is held, and released.
func (e *handlerEnd) fail(err *connect.Error) {
	c := e.call
	c.context().mark(contextCause(err))
	e.finish(err, c.failed(err, started).end(e.limits.MaxHeader))
	e.mu.Unlock()
	c.context().cancel(contextCause(err))
}

func (e *handlerEnd) giveUp(s *Session, then int64) {
	s.mu.Lock()
	if e.ended || !e.late(then) {
		s.mu.Unlock()
		return
	}
	e.full = true
	e.fail(s.errMemory())
	s.wake()
}

// accept takes what a frame says, or says what ends the call. mu is held.
func (e *handlerEnd) accept(f *frame) *connect.Error {
	if f.has&hasWindow != 0 {
		if err := e.credited(f.window, e); err != nil {
			return err
		}
	}
	if f.has&hasData != 0 {
		if e.eof {
			return errAfterLast
		}
		if err := e.take(f.data, f.more, f.total); err != nil {
			return err
		}
	}
	if f.has&hasCloseSend != 0 {
		if e.eof {
			return errAfterLast
		}
		e.eof = true
		e.readable.Signal()
	}
	if f.has&hasCancel != 0 {
		return cancelError(connect.Code(f.cancel))
	}
	return nil
}

var errAfterLast = connect.NewError(connect.CodeInvalidArgument, "link: more after the last message")

// cancelError is the error of a call whose caller let go.
func cancelError(code connect.Code) *connect.Error {
	if code == connect.CodeDeadlineExceeded {
		return contextError(context.DeadlineExceeded)
	}
	return contextError(context.Canceled)
}

// contextCause is what a handler's context ends with.
func contextCause(err *connect.Error) error {
	if err.Code() == connect.CodeDeadlineExceeded {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

func (e *handlerEnd) pull() {
	ends := e.out.hasEnd
	e.pullChunk(e)
	if ends && !e.sending {
		e.s.endTheirs(e.id)
		e.over(errOver)
	}
}

// expire ends the handler's waiting; the end is still the handler's to say.
func (e *handlerEnd) expire(s *Session, now int64) {
	s.mu.Lock()
	if e.deadline == 0 || e.deadline > now {
		s.mu.Unlock()
		return
	}
	e.deadline = 0
	c := e.call
	c.context().mark(context.DeadlineExceeded)
	if e.err == nil {
		e.err = contextError(context.DeadlineExceeded)
		e.stop()
	}
	s.mu.Unlock()
	c.context().cancel(context.DeadlineExceeded)
}

func (e *handlerEnd) lose(s *Session, _ *Ended) {
	s.mu.Lock()
	if e.id == 0 || e.ended {
		s.mu.Unlock()
		return
	}
	c := e.call
	c.context().mark(context.Canceled)
	e.over(connect.NewError(connect.CodeCanceled, "the link to the caller was lost").WithCause(context.Canceled))
	s.mu.Unlock()
	c.context().cancel(context.Canceled)
}

// canceled ends a local call because its caller let go of it.
func (c *ServerCall) canceled(code connect.Code) {
	err := cancelError(code)
	c.mu.Lock()
	if e := c.end; e != nil && !e.ended {
		c.context().mark(contextCause(err))
		e.over(err)
	}
	c.mu.Unlock()
	c.context().cancel(contextCause(err))
}
