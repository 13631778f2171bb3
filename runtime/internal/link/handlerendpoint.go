package link

import (
	"bytes"
	"context"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// handlerEndpoint is the handler's endpoint of a running call.
type handlerEndpoint struct {
	stream
	call        *ServerCall
	serve       func(*ServerCall)
	callHandler CallHandler // in place of serve; may be nil
	request     *Buffer     // what TakeRequest returns
	pair        *localPair  // of a local call
	sentHeaders bool
	ended       bool // the peer has been told the end
}

// serveCall starts the handler of a call that the peer opens.
func (s *Session) serveCall(f *frame.Frame, in *Incoming, to *Route) error {
	c, served := to.newCall()
	c.session, c.mu = s, &s.mu
	c.limits = &s.cfg.Limits
	c.callee, c.caller = in.Callee, in.Caller
	c.streamType = in.StreamType
	cost := servedCost + len(in.RawHeaders)
	if len(in.RawHeaders) > 0 {
		c.header = new(bytes.Clone(in.RawHeaders))
	}
	var deadline int64
	if in.Timeout > 0 {
		now := time.Now()
		c.deadline = now.Add(in.Timeout)
		deadline = int64(duration.Add(now.Sub(s.epoch), in.Timeout))
	}
	s.mu.Lock()
	ok, err := s.admitCallLocked(f, cost)
	if !ok {
		s.mu.Unlock()
		return err
	}
	s.handlers++
	e := s.newHandlerEndpointLocked()
	e.call, c.endpoint = c, e
	e.serve, e.callHandler = to.Serve, served
	e.s, e.id = s, f.Call
	e.sendWindow, e.recvWindow = int(s.peer.Join.GetWindow()), s.cfg.Limits.Window
	s.acceptCallLocked(e.id, e)
	e.overhead = cost
	e.updateChargeLocked()
	if deadline != 0 {
		e.deadline = deadline
		s.armDeadlineLocked(deadline)
	}
	var after afterUnlock
	if served == nil || !isSingleRequest(f, in) || !e.acceptRequestLocked(f.Data) {
		after = e.handleFrameLocked(f)
	}
	s.mu.Unlock()
	after.run(s, f)
	s.reader.toServe = append(s.reader.toServe, c)
	return nil
}

// isSingleRequest reports whether an open comes with all of a single request, and nothing else.
func isSingleRequest(f *frame.Frame, in *Incoming) bool {
	return f.Fields == frame.FieldOpen|frame.FieldData|frame.FieldCloseSend && in.StreamType&connect.StreamTypeClient == 0
}

// acceptRequestLocked is acceptLocked for a single request that came whole, which is handed over with the call. It
// reports false, and has done nothing, where acceptLocked is needed.
func (e *handlerEndpoint) acceptRequestLocked(data []byte) bool {
	if len(data) > min(smallInbox, e.limits.MaxMessage) {
		return false
	}
	e.recvWindow -= len(data) + frame.DataCost
	e.recv.close()
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

// admitCallLocked accepts an open whose call takes cost bytes of memory, or refuses it. It fails as acceptOpenLocked
// does.
func (s *Session) admitCallLocked(f *frame.Frame, cost int) (ok bool, err error) {
	accepted, err := s.acceptOpenLocked(f.Call)
	switch {
	case !accepted:
		return false, err
	case s.handlers >= s.cfg.Limits.MaxCalls:
		s.refuseOpenLocked(f.Call, s.errHandlers())
	case !s.admitsOpen(f, cost):
		s.refuseOpenLocked(f.Call, s.errMemory())
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

// newHandlerEndpointLocked returns an endpoint to use.
func (s *Session) newHandlerEndpointLocked() *handlerEndpoint {
	e, ok := s.handlerPool.get()
	if !ok {
		e = new(handlerEndpoint)
		e.stream = newStream(e, &s.mu, &s.cfg.Limits)
	}
	return e
}

// recycleLocked makes the endpoint ready for another call if nobody uses it any more.
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

// flushLocked writes what the handler has sent. It releases the lock while it writes.
func (e *handlerEndpoint) flushLocked() {
	if e.pair == nil {
		e.s.flushLocked()
	}
}

// replyInOneFrameLocked puts headers, a message and the end into the packet as one frame, if that can be done.
func (e *handlerEndpoint) replyInOneFrameLocked(head, msg, end []byte) bool {
	if e.pair != nil || e.err != nil || e.send == sendPending || e.sendWindow <= 0 ||
		len(head)+len(end) > maxLanePerCall || !e.s.reserveLaneLocked(&e.callState, len(msg)) {
		return false
	}
	e.appendFrameLocked(head, &frame.Outgoing{Fields: frame.FieldData | frame.FieldEnd, Data: msg, End: end})
	e.s.endPeerCallLocked(e.id)
	return true
}

// finishLocked ends the call: end is the body of an End, and err what the handler finds from now on.
func (e *handlerEndpoint) finishLocked(err *connect.Error, end []byte) {
	if e.pair != nil {
		e.pair.caller.setEndLocked(end)
	} else {
		e.s.sendEndLocked(&e.callState, end)
	}
	e.endLocked(err)
}

// endLocked notes that the end has been sent to the peer, and that the handler is to find err.
func (e *handlerEndpoint) endLocked(err *connect.Error) {
	if e.err == nil {
		e.err = err
	}
	e.ended = true
	e.stopLocked()
	e.inbox.discard()
	e.updateChargeLocked()
}

func (e *handlerEndpoint) handleFrameLocked(f *frame.Frame) afterUnlock {
	if err := e.acceptLocked(f); err != nil {
		return e.failLocked(err)
	}
	return afterUnlock{}
}

// failLocked ends the call because of what has come, or could not come.
func (e *handlerEndpoint) failLocked(err *connect.Error) afterUnlock {
	c := e.call
	c.context().setEnd(contextCause(err))
	e.finishLocked(err, c.failure(err, started).encode(e.limits.MaxHeader))
	return afterUnlock{kind: afterCancel, call: c, err: err}
}

func (e *handlerEndpoint) memoryWaitExpired(s *Session, since int64) {
	s.mu.Lock()
	var after afterUnlock
	if !e.ended && e.waitedTooLongLocked(since) {
		e.exhaustMemoryLocked()
		after = e.failLocked(s.errMemory())
		s.wakeWriterLocked()
	}
	s.mu.Unlock()
	after.run(s, nil)
}

// acceptLocked handles the fields of a frame, or says why they end the call.
func (e *handlerEndpoint) acceptLocked(f *frame.Frame) *connect.Error {
	if f.Has(frame.FieldWindow) {
		if err := e.addSendWindowLocked(f.Window, e); err != nil {
			return err
		}
	}
	if f.Has(frame.FieldData) {
		if e.recv.closed() {
			return errDataAfterClose
		}
		if err := e.receiveDataLocked(f.Data, f.Has(frame.FieldMore), f.Total); err != nil {
			return err
		}
	}
	if f.Has(frame.FieldCloseSend) {
		if e.recv.closed() {
			return errDataAfterClose
		}
		e.recv.close()
		e.readable.Signal()
	}
	if f.Has(frame.FieldCancel) {
		return cancelError(connect.Code(f.Cancel))
	}
	return nil
}

var errDataAfterClose = connect.NewError(connect.CodeInvalidArgument, "link: more after the last message")

// cancelError is the error of a call whose caller canceled it with code.
func cancelError(code connect.Code) *connect.Error {
	if code == connect.CodeDeadlineExceeded {
		return contextError(context.DeadlineExceeded)
	}
	return contextError(context.Canceled)
}

// contextCause is the error that a handler's context ends with.
func contextCause(err *connect.Error) error {
	if err.Code() == connect.CodeDeadlineExceeded {
		return context.DeadlineExceeded
	}
	return context.Canceled
}

func (e *handlerEndpoint) appendNextLocked() {
	ends := e.pending.Has(frame.FieldEnd)
	e.appendChunkLocked(e)
	if ends && e.send != sendPending {
		e.s.endPeerCallLocked(e.id)
		e.endLocked(errCallEnded)
	}
}

// expire ends the handler's waiting. How the call ends is still the handler's to say.
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

// cancelLocal ends a local call because its caller canceled it.
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
