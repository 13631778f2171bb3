package link

import (
	"bytes"
	"context"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// handlerEndpoint is the handler's end of a running call.
type handlerEndpoint struct {
	stream
	call        *ServerCall
	serve       func(*ServerCall)
	callHandler CallHandler // in place of handle; may be nil
	request     *Buffer     // what TakeRequest returns
	pair        *localPair  // of a local call
	sentHeaders bool
	ended       bool // the other end has been told the end
}

// serveCall starts the handler of a call that the other end opens.
func (s *Session) serveCall(f *frame, in *Incoming, to *Route) error {
	c, served := to.newCall()
	c.mu, c.limits, c.session = &s.mu, &s.cfg.Limits, s
	c.callee, c.caller, c.streamType = in.Callee, in.Caller, in.StreamType
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
	if ok, err := s.admitCallLocked(f, cost); !ok {
		s.mu.Unlock()
		return err
	}
	s.handlers++
	e := s.newHandlerEndpointLocked()
	e.call, e.serve, e.callHandler, c.endpoint = c, to.Serve, served, e
	e.s, e.id = s, f.call
	e.sendWindow, e.recvWindow = int(s.peer.Join.GetWindow()), s.cfg.Limits.Window
	s.acceptCallLocked(e.id, e)
	e.overhead = cost
	e.updateChargeLocked()
	if deadline != 0 {
		e.deadline = deadline
		s.armDeadlineLocked(deadline)
	}
	if served != nil && isSingleRequest(f, in) && e.acceptRequestLocked(f.data) {
		s.mu.Unlock()
	} else {
		e.handleFrameLocked(f)
	}
	s.reader.toServe = append(s.reader.toServe, c)
	return nil
}

// isSingleRequest reports whether an open brings all of a single request, and nothing else.
func isSingleRequest(f *frame, in *Incoming) bool {
	return f.has == hasOpen|hasData|hasCloseSend && !f.more && in.StreamType&connect.StreamTypeClient == 0
}

// acceptRequestLocked is accept for a request that came whole, which is handed over with the call. It reports false, and
// has done nothing, where accept is to look at it.
func (e *handlerEndpoint) acceptRequestLocked(data []byte) bool {
	if len(data) > min(smallInbox, e.limits.MaxMessage) {
		return false
	}
	e.recvWindow -= len(data) + dataCost
	e.recvClosed = true
	e.request = CopyBuffer(data)
	return true
}

// newCall returns the call to serve.
func (r *Route) newCall() (*ServerCall, CallHandler) {
	if r.NewHandler == nil {
		return new(ServerCall), nil
	}
	served := r.NewHandler()
	return served.Call(), served
}

// admitCallLocked takes an open whose call costs so much, or refuses it. It fails as takeOpenLocked does.
func (s *Session) admitCallLocked(f *frame, cost int) (ok bool, err error) {
	taken, err := s.acceptOpenLocked(f.call)
	switch {
	case !taken:
		return false, err
	case s.handlers >= s.cfg.Limits.MaxCalls:
		s.refuseOpenLocked(f.call, s.errHandlers())
	case !s.admitsOpen(f, cost):
		s.refuseOpenLocked(f.call, s.errMemory())
	default:
		return true, nil
	}
	return false, nil
}

// startHandlers starts the handlers of the calls that have come since the last time. Reader only.
func (s *Session) startHandlers() {
	if calls := s.reader.toServe; len(calls) > 0 {
		s.cfg.Workers.run(calls...)
		clear(calls)
		s.reader.toServe = calls[:0]
	}
}

func (s *Session) errHandlers() *connect.Error {
	return connect.Errorf(connect.CodeResourceExhausted,
		"node %q runs as many handlers for one link as its Limits.MaxCalls of %d allows: try again later", s.cfg.Name, s.cfg.Limits.MaxCalls)
}

// newHandlerEndpointLocked returns an end to use. The session's lock is held.
func (s *Session) newHandlerEndpointLocked() *handlerEndpoint {
	e, ok := s.handlerPool.get()
	if !ok {
		e = new(handlerEndpoint)
		e.stream = newStream(e, &s.mu, &s.cfg.Limits)
	}
	return e
}

// recycleLocked makes the end ready for another call if nobody uses it any more. mu is held.
func (e *handlerEndpoint) recycleLocked() {
	if e.unusedLocked() {
		e.releaseMemoryLocked()
	}
	switch {
	case !e.idleLocked():
	case e.pair != nil:
		e.pair.recycleLocked()
	default:
		s := e.s
		*e = handlerEndpoint{stream: e.fresh()}
		s.handlerPool.put(e)
	}
}

// flushLocked writes what the handler has said. mu is held, but not while it writes.
func (e *handlerEndpoint) flushLocked() {
	if e.pair == nil {
		e.s.flushLocked()
	}
}

// replyInOneFrameLocked puts headers, a message and the end into the packet as one frame, if that can be done. mu
// is held.
func (e *handlerEndpoint) replyInOneFrameLocked(head, msg, end []byte) bool {
	if e.pair != nil || e.err != nil || e.sending || e.sendWindow <= 0 ||
		len(head)+len(end) > maxLanePerCall || !e.s.reserveLaneLocked(&e.callState, len(msg)) {
		return false
	}
	e.appendFrameLocked(head, &outFrame{hasData: true, data: msg, hasEnd: true, end: end})
	e.s.endPeerCallLocked(e.id)
	return true
}

// finishLocked ends the call with end, the body of an End. err is what the handler finds. mu is held.
func (e *handlerEndpoint) finishLocked(err *connect.Error, end []byte) {
	if e.pair != nil {
		e.pair.caller.setEndLocked(end)
	} else {
		e.s.sendEndLocked(&e.callState, end)
	}
	e.endLocked(err)
}

// endLocked notes that the other end has been told the end. mu is held.
func (e *handlerEndpoint) endLocked(err *connect.Error) {
	if e.err == nil {
		e.err = err
	}
	e.ended = true
	e.stopLocked()
	e.inbox.discard()
	e.updateChargeLocked()
}

func (e *handlerEndpoint) handleFrameLocked(f *frame) {
	err := e.acceptLocked(f)
	if err == nil {
		e.mu.Unlock()
		return
	}
	e.failLocked(err)
}

// failLocked ends the call because of what has come, or could not come. mu is held, and released.
func (e *handlerEndpoint) failLocked(err *connect.Error) {
	c := e.call
	c.context().setEnd(contextCause(err))
	e.finishLocked(err, c.failure(err, started).encode(e.limits.MaxHeader))
	e.mu.Unlock()
	c.context().cancel(contextCause(err))
}

func (e *handlerEndpoint) memoryWaitExpired(s *Session, then int64) {
	s.mu.Lock()
	if e.ended || !e.waitedTooLongLocked(then) {
		s.mu.Unlock()
		return
	}
	e.memoryExhausted = true
	e.failLocked(s.errMemory())
	s.wakeWriter()
}

// acceptLocked takes what a frame says, or says what ends the call. mu is held.
func (e *handlerEndpoint) acceptLocked(f *frame) *connect.Error {
	if f.has&hasWindow != 0 {
		if err := e.addSendWindowLocked(f.window, e); err != nil {
			return err
		}
	}
	if f.has&hasData != 0 {
		if e.recvClosed {
			return errDataAfterClose
		}
		if err := e.receiveDataLocked(f.data, f.more, f.total); err != nil {
			return err
		}
	}
	if f.has&hasCloseSend != 0 {
		if e.recvClosed {
			return errDataAfterClose
		}
		e.recvClosed = true
		e.readable.Signal()
	}
	if f.has&hasCancel != 0 {
		return cancelError(connect.Code(f.cancel))
	}
	return nil
}

var errDataAfterClose = connect.NewError(connect.CodeInvalidArgument, "link: more after the last message")

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

func (e *handlerEndpoint) appendNextLocked() {
	ends := e.pending.hasEnd
	e.appendChunkLocked(e)
	if ends && !e.sending {
		e.s.endPeerCallLocked(e.id)
		e.endLocked(errCallEnded)
	}
}

// expire ends the handler's waiting; the end is still the handler's to say.
func (e *handlerEndpoint) expire(s *Session, now int64) {
	s.mu.Lock()
	if e.deadline == 0 || e.deadline > now {
		s.mu.Unlock()
		return
	}
	e.deadline = 0
	c := e.call
	c.context().setEnd(context.DeadlineExceeded)
	if e.err == nil {
		e.err = contextError(context.DeadlineExceeded)
		e.stopLocked()
	}
	s.mu.Unlock()
	c.context().cancel(context.DeadlineExceeded)
}

func (e *handlerEndpoint) sessionEnded(s *Session, _ *Ended) {
	s.mu.Lock()
	if e.id == 0 || e.ended {
		s.mu.Unlock()
		return
	}
	c := e.call
	c.context().setEnd(context.Canceled)
	e.endLocked(connect.NewError(connect.CodeCanceled, "the link to the caller was lost").WithCause(context.Canceled))
	s.mu.Unlock()
	c.context().cancel(context.Canceled)
}

// cancelLocal ends a local call because its caller let go of it.
func (c *ServerCall) cancelLocal(code connect.Code) {
	err := cancelError(code)
	c.mu.Lock()
	if e := c.endpoint; e != nil && !e.ended {
		c.context().setEnd(contextCause(err))
		e.endLocked(err)
	}
	c.mu.Unlock()
	c.context().cancel(contextCause(err))
}
