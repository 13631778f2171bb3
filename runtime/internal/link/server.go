package link

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// ServerCall is the handler's side of a call. One goroutine may send while another receives. It must not be used once
// the handler has returned.
//
// It is also the handler's context, which anyone may still refer to then: so it is small, and never used again.
type ServerCall struct {
	mu       *sync.Mutex
	limits   *Limits
	endpoint *handlerEndpoint // until the handler has returned

	session    *Session // nil for a local call
	callee     *Callee
	caller     *Caller
	header     *[]byte // the request's, encoded; nil for none
	deadline   time.Time
	streamType connect.StreamType
	released   bool // ReplyFinal has done what handlerReturned does

	// These are its context's, and need no lock: whoever ends it sets ctxEnd, then looks for a child; whoever makes a
	// child sets ctxChild, then looks at ctxEnd.
	ctxEnd   atomic.Uint32 // zero, or how the context has ended
	ctxChild atomic.Pointer[contextChild]
}

// CallHandler is a handler that has its ServerCall within itself, which saves an allocation.
type CallHandler interface {
	// Call returns the call, a zero one until it is served.
	Call() *ServerCall
	// Serve handles it, on a worker.
	Serve()
}

// run handles the call. A worker calls it.
func (c *ServerCall) run() {
	defer c.handlerReturned()
	if e := c.endpoint; e.callHandler != nil {
		e.callHandler.Serve()
	} else {
		e.serve(c)
	}
}

// handlerReturned makes sure that the call has ended when its handler has returned or panicked.
func (c *ServerCall) handlerReturned() {
	_ = recover() // what it says may be secret
	if c.released {
		return
	}
	c.mu.Lock()
	e := c.endpoint
	if !e.ended {
		e.finishLocked(errCallEnded, c.failure(errNoAnswer, started).encode(c.limits.MaxHeader))
		e.flushLocked()
	}
	waiter := c.takeLocalCompletionLocked()
	c.releaseEndpointLocked()
	c.mu.Unlock()
	c.context().cancel(context.Canceled)
	complete(waiter)
}

// releaseEndpointLocked separates the call from its endpoint, as its handler has returned or is about to.
func (c *ServerCall) releaseEndpointLocked() {
	e := c.endpoint
	c.endpoint = nil
	if e.s != nil {
		e.s.handlers--
	}
	e.released = true
	e.recycleLocked()
}

var (
	errNoAnswer  = connect.NewError(connect.CodeInternal, "")
	errCallEnded = connect.NewError(connect.CodeCanceled, "the call has ended").WithCause(context.Canceled)
)

// Context is the handler's: it has the call's deadline and is canceled when the caller cancels the call, the link is
// lost, or the call has ended.
func (c *ServerCall) Context() context.Context { return c.context() }

func (c *ServerCall) context() *callContext { return (*callContext)(c) }

// CancelContext ends the handler's context with cause, which tells the handler why it should come to an end. The call
// goes on: what it receives and sends still counts, and how it ends is its own to say. Any goroutine may call it.
func (c *ServerCall) CancelContext(cause error) { c.context().cancelCause(cause) }

// Callee says what is called.
func (c *ServerCall) Callee() *Callee { return c.callee }

// Caller says who made the call, nil where nobody knows.
func (c *ServerCall) Caller() *Caller { return c.caller }

// Local reports whether the call came by no session.
func (c *ServerCall) Local() bool { return c.session == nil }

// Header decodes and returns the request's headers, which are not to be changed. It returns false where they are
// malformed: the call has ended then, and its handler is not to run.
func (c *ServerCall) Header() (*connect.Header, bool) {
	h, err := c.decodeHeader()
	if err != nil {
		_ = c.finish(c.failure(errRequestHeaders, notStarted).encode(c.limits.MaxHeader))
	}
	return h, err == nil
}

// decodeHeader is Header for one who may come when the call has ended.
func (c *ServerCall) decodeHeader() (*connect.Header, error) {
	if c.header == nil {
		return nil, nil //nolint:nilnil // a nil Header is an empty one
	}
	return frame.DecodeHeaders(*c.header)
}

var errRequestHeaders = connect.NewError(connect.CodeInvalidArgument, "the request's headers are malformed")

// Receive returns the next message, which is valid until the next Receive or the call's end, and
// io.EOF after the last. Another error is a *connect.Error.
func (c *ServerCall) Receive() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.endpoint
	if e == nil {
		return nil, errCallEnded
	}
	e.users++
	msg, err := e.receiveLocked()
	if err == io.EOF && e.inbox.partial > 0 { //nolint:errorlint // receiveLocked wraps nothing
		err = connect.NewError(connect.CodeInvalidArgument, "the request ended in the middle of a message")
	}
	e.leaveLocked(e)
	return msg, err
}

// StopReceiving ends a Receive that waits, and every later one, with canceled. What the caller still sends stays where
// it is, and its window holds the caller up. Any goroutine may call it.
func (c *ServerCall) StopReceiving() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.endpoint; e != nil {
		e.recv.stop()
		e.readable.Signal()
	}
}

// SendHeaders sends the response's headers, once, before the first message. h may be nil.
func (c *ServerCall) SendHeaders(h *connect.Header) error {
	var scratch [256]byte
	head, err := c.encodeHeaders(scratch[:0], h)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.endpoint != nil && c.endpoint.sentHeaders {
		return nil
	}
	return c.sendLocked(head, &frame.Outgoing{})
}

// encodeHeaders appends headers as a field of Frame.
func (c *ServerCall) encodeHeaders(b []byte, h *connect.Header) ([]byte, error) {
	size, err := frame.CheckHeaders("response headers", h, c.limits.MaxHeader)
	if err != nil {
		return nil, err
	}
	return frame.AppendHeadersField(b, h, size), nil
}

// Send sends a message, which may be reused when it returns. It blocks while the window is used up.
func (c *ServerCall) Send(msg []byte) error {
	if err := c.limits.checkMessage(msg); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sendLocked(nil, &frame.Outgoing{Fields: frame.FieldData, Data: msg})
}

// sendLocked sends a frame. It releases the lock while it waits.
func (c *ServerCall) sendLocked(head []byte, f *frame.Outgoing) error {
	e := c.endpoint
	switch {
	case e == nil:
		return errCallEnded
	case e.err != nil:
		return e.err
	case e.send == sendPending:
		return errConcurrentSend
	}
	e.sentHeaders = true
	if e.pair != nil && head != nil {
		e.pair.caller.setHeadersLocked(head)
	}
	e.users++
	e.stream.sendLocked(e, head, f)
	err := e.err
	e.leaveLocked(e)
	if err != nil {
		return err
	}
	return nil
}

// End ends the call: well where err is nil. Only the first End, Fail or Reply counts; a later one returns
// how the call ended before.
func (c *ServerCall) End(err *connect.Error, trailer *connect.Header) error {
	return c.finish(c.encodeEnd(err, trailer))
}

// Fail is End for a handler that says how far the call has come, as one does that passes the call on. Once it has
// answered anything that does not count: the call has started. There are no trailers, as the call may be repeated.
func (c *ServerCall) Fail(err *connect.Error, failure *rpcmeshv1.CallFailure) error {
	c.mu.Lock()
	answered := c.endpoint != nil && c.endpoint.sentHeaders
	c.mu.Unlock()
	return c.finish(callFailure{err, correctCertainty(failure, answered)}.encode(c.limits.MaxHeader))
}

// finish is End with the body of an End.
func (c *ServerCall) finish(end []byte) error {
	c.mu.Lock()
	was := c.finishLocked(end)
	waiter := c.takeLocalCompletionLocked()
	c.mu.Unlock()
	c.context().cancel(context.Canceled)
	complete(waiter)
	return was
}

// finishLocked ends the call unless it has ended.
func (c *ServerCall) finishLocked(end []byte) error {
	e := c.endpoint
	if e == nil {
		return errCallEnded
	}
	was := e.err
	if !e.ended {
		c.releaseRequestLocked(e)
		e.finishLocked(errCallEnded, end)
		e.flushLocked()
	}
	if was != nil {
		return was
	}
	return nil
}

// releaseRequestLocked frees the memory of a single request: nothing reads it once its handler answers.
func (c *ServerCall) releaseRequestLocked(e *handlerEndpoint) {
	if c.streamType&connect.StreamTypeClient == 0 {
		e.inbox.release()
	}
}

// Reply sends headers (unless some have been sent), one last message and a good end together: in one
// frame, if the message is short. It is the cheapest answer of a unary handler.
func (c *ServerCall) Reply(header *connect.Header, msg []byte, trailer *connect.Header) error {
	if err := c.limits.checkMessage(msg); err != nil {
		return err
	}
	var scratch [256]byte
	var head []byte
	if header.Len() > 0 {
		var err error
		head, err = c.encodeHeaders(scratch[:0], header)
		if err != nil {
			return err
		}
	}
	end := c.encodeEnd(nil, trailer)
	c.mu.Lock()
	err := c.replyLocked(head, msg, end)
	waiter := c.takeLocalCompletionLocked()
	c.mu.Unlock()
	c.context().cancel(context.Canceled)
	complete(waiter)
	return err
}

// ReplyFinal is Reply, without headers and trailers, by a handler that is about to return: it does what is to be done
// then, too. It reports false, and has done nothing, where that cannot be done at once: then Reply does it.
func (c *ServerCall) ReplyFinal(msg []byte) bool {
	if c.limits.checkMessage(msg) != nil {
		return false
	}
	c.mu.Lock()
	e := c.endpoint
	if e.users > 0 || !e.replyInOneFrameLocked(nil, msg, nil) {
		c.mu.Unlock()
		return false
	}
	e.inbox.discard()
	c.released = true
	c.releaseEndpointLocked()
	c.session.flushLocked()
	c.mu.Unlock()
	c.context().cancel(context.Canceled)
	return true
}

// TakeRequest returns the request if it came whole with the call, and otherwise nil: then it is to be received. It is
// called once, before all else, by a [CallHandler], which frees it. Whoever takes it looks at the context before using
// it: where that has ended, Receive says why.
func (c *ServerCall) TakeRequest() *Buffer {
	e := c.endpoint
	b := e.request
	e.request = nil
	return b
}

// replyLocked sends headers, a message and the end. It releases the lock while it waits.
func (c *ServerCall) replyLocked(head, msg, end []byte) error {
	e := c.endpoint
	if e == nil {
		return errCallEnded
	}
	if e.sentHeaders {
		head = nil
	}
	if e.replyInOneFrameLocked(head, msg, end) {
		c.releaseRequestLocked(e)
		e.endLocked(errCallEnded)
		e.flushLocked()
		return nil
	}
	if e.pair == nil && e.err == nil && e.send != sendPending && len(head)+len(end) <= maxLanePerCall {
		return c.replyInChunksLocked(e, head, &frame.Outgoing{Fields: frame.FieldData | frame.FieldEnd, Data: msg, End: end})
	}
	if err := c.sendLocked(head, &frame.Outgoing{Fields: frame.FieldData, Data: msg}); err != nil {
		return err
	}
	return c.finishLocked(end)
}

// replyInChunksLocked sends a message that has to wait for its turn, with the end in its last frame. It releases the
// lock while it waits.
func (c *ServerCall) replyInChunksLocked(e *handlerEndpoint, head []byte, f *frame.Outgoing) error {
	e.sentHeaders = true
	e.users++
	whole := e.stream.sendLocked(e, head, f)
	err := e.err
	e.leaveLocked(e)
	if !whole {
		return err
	}
	c.releaseRequestLocked(e)
	return nil
}
