package link

import (
	"context"
	"io"
	"sync"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// ServerCall is the handler's side of a call. One goroutine may send while another receives. It must
// not be used once the handler has returned.
type ServerCall struct {
	incoming Incoming
	ctx      callContext
	handle   func(*ServerCall)
	limits   *Limits

	mu  *sync.Mutex
	end *handlerEnd // until the handler has returned
}

// run handles the call. A worker calls it.
func (c *ServerCall) run() {
	defer c.returned()
	c.handle(c)
}

// returned makes sure that the call has ended when its handler has returned or panicked.
func (c *ServerCall) returned() {
	_ = recover() // its text is nobody's business
	c.mu.Lock()
	e := c.end
	c.end = nil
	if !e.ended {
		e.finish(errOver, c.failed(errNoAnswer, started).end(c.limits.MaxHeader))
		e.flush()
	}
	if e.s != nil {
		e.s.handlers--
	}
	var waiter Waiter
	if e.pair != nil {
		waiter = e.pair.caller.takeWaiter()
	}
	e.retired = true
	e.recycle()
	c.mu.Unlock()
	c.ctx.cancel(context.Canceled)
	tell(waiter)
}

var (
	errNoAnswer = connect.NewError(connect.CodeInternal, "")
	errOver     = connect.NewError(connect.CodeCanceled, "the call has ended").WithCause(context.Canceled)
)

// Context is the handler's: it has the call's deadline and is cancelled when the caller lets go, the
// link is lost, or the call has ended.
func (c *ServerCall) Context() context.Context { return &c.ctx }

// Tell ends the handler's context with cause, by which the handler may know why it should come to an end. The call
// goes on: what it receives and sends still counts, and the end is its own to say. Any goroutine may call it.
func (c *ServerCall) Tell(cause error) { c.ctx.tell(cause) }

// Incoming says what is called.
func (c *ServerCall) Incoming() *Incoming { return &c.incoming }

// Header decodes and returns the request's headers, which are not to be changed. It returns false where they are
// malformed: the call has ended then, and its handler is not to run.
func (c *ServerCall) Header() (*connect.Header, bool) {
	h, err := c.incoming.Header()
	if err != nil {
		_ = c.endWith(c.failed(errRequestHeaders, notStarted).end(c.limits.MaxHeader))
	}
	return h, err == nil
}

var errRequestHeaders = connect.NewError(connect.CodeInvalidArgument, "the request's headers are malformed")

// Receive returns the next message, which is valid until the next Receive or the call's end, and
// io.EOF after the last. Another error is a *connect.Error.
func (c *ServerCall) Receive() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.end
	if e == nil {
		return nil, errOver
	}
	e.inside++
	msg, err := e.receive()
	if err == io.EOF && e.inbox.open > 0 { //nolint:errorlint // receive wraps nothing
		err = connect.NewError(connect.CodeInvalidArgument, "the request ended in the middle of a message")
	}
	e.leave(e)
	return msg, err
}

// StopReceiving ends a Receive that waits, and every later one, with canceled. What the caller still sends
// stays where it is, and holds it up by its window. Any goroutine may call it.
func (c *ServerCall) StopReceiving() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.end; e != nil {
		e.deaf = true
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
	if c.end != nil && c.end.sentHeaders {
		return nil
	}
	return c.send(head, &outFrame{})
}

// encodeHeaders appends headers as a field of Frame.
func (c *ServerCall) encodeHeaders(b []byte, h *connect.Header) ([]byte, error) {
	size, err := checkHeaders("response headers", h, c.limits.MaxHeader)
	if err != nil {
		return nil, err
	}
	b = append(b, tagHeaders)
	b = protowire.AppendVarint(b, uint64(size))
	return appendHeaders(b, h), nil
}

// Send sends a message, which may be reused when it returns. It blocks while the window is used up.
func (c *ServerCall) Send(msg []byte) error {
	if err := c.limits.checkMessage(msg); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.send(nil, &outFrame{hasData: true, data: msg})
}

// send sends a frame. mu is held, but not while it waits.
func (c *ServerCall) send(head []byte, f *outFrame) error {
	e := c.end
	switch {
	case e == nil:
		return errOver
	case e.err != nil:
		return e.err
	case e.sending:
		return errSending
	}
	e.sentHeaders = true
	if e.pair != nil && head != nil {
		e.pair.caller.takeHeaders(head)
	}
	e.inside++
	e.stream.send(e, head, f)
	err := e.err
	e.leave(e)
	if err != nil {
		return err
	}
	return nil
}

// End ends the call: well where err is nil. Only the first End, Fail or Reply counts; a later one returns
// how the call ended before.
func (c *ServerCall) End(err *connect.Error, trailer *connect.Header) error {
	return c.endWith(c.encodeVerdict(err, trailer))
}

// Fail is End for a handler that says how far the call has come. Once it has answered anything, that is no
// longer its to say: the call has started. There are no trailers, as the call may be repeated.
func (c *ServerCall) Fail(err *connect.Error, failure *rpcmeshv1.CallFailure) error {
	c.mu.Lock()
	answered := c.end != nil && c.end.sentHeaders
	c.mu.Unlock()
	return c.endWith(failed{err, certain(failure, answered)}.end(c.limits.MaxHeader))
}

// endWith is End with the body of an End.
func (c *ServerCall) endWith(end []byte) error {
	c.mu.Lock()
	was := c.finish(end)
	waiter := c.localWaiter()
	c.mu.Unlock()
	c.ctx.cancel(context.Canceled)
	tell(waiter)
	return was
}

// finish ends the call unless it has ended. mu is held.
func (c *ServerCall) finish(end []byte) error {
	e := c.end
	if e == nil {
		return errOver
	}
	was := e.err
	if !e.ended {
		c.releaseRequest(e)
		e.finish(errOver, end)
		e.flush()
	}
	if was != nil {
		return was
	}
	return nil
}

// releaseRequest gives the memory of a single request back: nobody reads it when its handler answers.
func (c *ServerCall) releaseRequest(e *handlerEnd) {
	if c.incoming.StreamType&connect.StreamTypeClient == 0 {
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
		if head, err = c.encodeHeaders(scratch[:0], header); err != nil {
			return err
		}
	}
	end := c.encodeVerdict(nil, trailer)
	c.mu.Lock()
	err := c.reply(head, msg, end)
	waiter := c.localWaiter()
	c.mu.Unlock()
	c.ctx.cancel(context.Canceled)
	tell(waiter)
	return err
}

// reply sends headers, a message and the end. mu is held, but not while it waits.
func (c *ServerCall) reply(head, msg, end []byte) error {
	e := c.end
	if e == nil {
		return errOver
	}
	if e.sentHeaders {
		head = nil
	}
	if e.replyAtOnce(head, msg, end) {
		c.releaseRequest(e)
		e.over(errOver)
		e.flush()
		return nil
	}
	if e.pair == nil && e.err == nil && !e.sending && len(head)+len(end) <= laneShare {
		return c.replyInChunks(e, head, &outFrame{hasData: true, data: msg, hasEnd: true, end: end})
	}
	if err := c.send(head, &outFrame{hasData: true, data: msg}); err != nil {
		return err
	}
	return c.finish(end)
}

// replyInChunks sends a message that has to wait for its turn, with the end in its last frame. mu is held,
// but not while it waits.
func (c *ServerCall) replyInChunks(e *handlerEnd, head []byte, f *outFrame) error {
	e.sentHeaders = true
	e.inside++
	whole := e.stream.send(e, head, f)
	err := e.err
	e.leave(e)
	if !whole {
		return err
	}
	c.releaseRequest(e)
	return nil
}
