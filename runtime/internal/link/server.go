package link

import (
	"context"
	"io"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// ServerCall is the handler's side of a call. One goroutine may send while another receives.
type ServerCall struct {
	stream
	incoming Incoming
	ctx      callContext
	handle   func(*ServerCall)
	client   *ClientCall // the other end of a local call
	headers  []byte      // of the request

	sentHeaders bool
	ended       bool
}

// serve starts the handler of a call that the other end opens.
func (s *Session) serve(f *frame, in *Incoming, handle func(*ServerCall)) {
	c := &ServerCall{incoming: *in, handle: handle}
	c.init(&s.mu, &s.cfg.Limits)
	c.incoming.rawHeader = nil
	if len(in.rawHeader) > 0 {
		c.headers = append([]byte(nil), in.rawHeader...)
	}
	c.s, c.id = s, f.call
	c.credit, c.window = int(s.peer.Join.GetWindow()), s.cfg.Limits.Window
	if in.Timeout > 0 {
		now := time.Now()
		c.ctx.deadline = now.Add(in.Timeout)
		c.half.deadline = int64(now.Sub(s.epoch) + in.Timeout)
	}
	s.mu.Lock()
	if s.handlers >= s.cfg.Limits.MaxCalls {
		s.mu.Unlock()
		s.refuse(f.call, errHandlers, rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED)
		return
	}
	s.handlers++
	i, _ := idSlot(c.id)
	s.theirs.put(i, c)
	if c.half.deadline != 0 {
		s.arm(c.half.deadline)
	}
	c.frame(f)
	s.cfg.Workers.run(c)
}

var errHandlers = connect.NewError(connect.CodeResourceExhausted, "too many handlers are running for the link")

// run handles the call. A worker calls it.
func (c *ServerCall) run() {
	defer c.returned()
	c.handle(c)
}

// returned makes sure that the call has ended when its handler has returned or panicked.
func (c *ServerCall) returned() {
	if recover() != nil || !c.hasEnded() {
		_ = c.End(connect.NewError(connect.CodeInternal, ""), nil)
	}
	if s := c.s; s != nil {
		s.mu.Lock()
		s.handlers--
		s.mu.Unlock()
	}
}

func (c *ServerCall) hasEnded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// Context is the handler's: it has the call's deadline and is cancelled when the caller lets go, the
// link is lost, or the call has ended.
func (c *ServerCall) Context() context.Context { return &c.ctx }

// Incoming says what is called. It is valid for as long as the call is referenced.
func (c *ServerCall) Incoming() *Incoming { return &c.incoming }

// Header decodes and returns the request's headers. If they are malformed, the call ends.
func (c *ServerCall) Header() *connect.Header {
	h, err := decodeHeaders(c.headers)
	if err != nil {
		_ = c.End(connect.NewError(connect.CodeInvalidArgument, "the request's headers are malformed"), nil)
	}
	return h
}

// Receive returns the next message, which is valid until the next Receive or the call's end, and
// io.EOF after the last. Another error is a *connect.Error.
func (c *ServerCall) Receive() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	msg, err := c.receive()
	if err == io.EOF && c.inbox.open > 0 { //nolint:errorlint // receive wraps nothing
		err = connect.NewError(connect.CodeInvalidArgument, "the request ended in the middle of a message")
	}
	return msg, err
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
	if c.sentHeaders {
		return nil
	}
	c.sentHeaders = true
	return c.transmit(head, &outFrame{})
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
	c.sentHeaders = true
	return c.transmit(nil, &outFrame{hasData: true, data: msg})
}

// transmit sends a frame. mu is held.
func (c *ServerCall) transmit(head []byte, f *outFrame) error {
	switch {
	case c.err != nil:
		return c.err
	case c.sending:
		return errSending
	}
	if c.client != nil && head != nil {
		c.client.takeHeaders(head)
	}
	c.send(c, head, f)
	if c.err != nil {
		return c.err
	}
	return nil
}

// End ends the call: well where err is nil. Only the first End or Reply counts; a later one returns how
// the call ended before.
func (c *ServerCall) End(err *connect.Error, trailer *connect.Header) error {
	end := encodeEnd(err, trailer, nil, c.limits.MaxHeader)
	c.mu.Lock()
	was := c.err
	if !c.ended {
		c.finish(errOver, end)
		if c.s != nil {
			c.s.flush()
		}
	}
	c.mu.Unlock()
	c.ctx.cancel(context.Canceled)
	if was != nil {
		return was
	}
	return nil
}

var errOver = connect.NewError(connect.CodeCanceled, "the call has ended").WithCause(context.Canceled)

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
	end := encodeEnd(nil, trailer, nil, c.limits.MaxHeader)
	c.mu.Lock()
	err := c.reply(head, msg, end)
	c.mu.Unlock()
	c.ctx.cancel(context.Canceled)
	return err
}

// reply sends headers, a message and the end. mu is held, but not while it waits.
func (c *ServerCall) reply(head, msg, end []byte) error {
	if c.sentHeaders {
		head = nil
	}
	c.sentHeaders = true
	f := outFrame{hasData: true, data: msg}
	together := c.s != nil && c.err == nil && !c.sending && c.credit > 0 &&
		len(head)+len(end) <= laneShare && c.s.room(&c.half, len(msg))
	if together {
		f.hasEnd, f.end = true, end
		c.emit(head, &f)
		c.s.endTheirs(c.id)
		c.over(errOver)
		c.s.flush()
		return nil
	}
	if err := c.transmit(head, &f); err != nil {
		return err
	}
	c.finish(errOver, end)
	if c.s != nil {
		c.s.flush()
	}
	return nil
}

// finish ends the call with end, the body of an End. err is what the handler finds. mu is held.
func (c *ServerCall) finish(err *connect.Error, end []byte) {
	if c.client != nil {
		c.client.takeEnd(end)
	} else {
		c.s.answer(&c.half, end)
	}
	c.over(err)
}

// over notes that the other end has been told the end. mu is held.
func (c *ServerCall) over(err *connect.Error) {
	if c.err == nil {
		c.err = err
	}
	c.ended = true
	c.stream.stop()
	c.inbox.drop()
}

func (c *ServerCall) frame(f *frame) {
	err := c.accept(f)
	if err != nil {
		end := encodeEnd(err, nil, nil, c.limits.MaxHeader)
		if c.err == nil {
			c.err = err
		}
		c.finish(err, end)
	}
	c.mu.Unlock()
	if err != nil {
		c.ctx.cancel(contextCause(err))
	}
}

// accept takes what a frame says, or says what ends the call. mu is held.
func (c *ServerCall) accept(f *frame) *connect.Error {
	if f.has&hasWindow != 0 {
		if err := c.credited(f.window, c); err != nil {
			return err
		}
	}
	if f.has&hasData != 0 {
		if c.eof {
			return connect.NewError(connect.CodeInvalidArgument, "link: data after the last message")
		}
		if err := c.take(f.data, f.more); err != nil {
			return err
		}
	}
	if f.has&hasCloseSend != 0 {
		c.eof = true
		c.readable.Signal()
	}
	if f.has&hasCancel != 0 {
		return cancelError(connect.Code(f.cancel))
	}
	return nil
}

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

func (c *ServerCall) pull() { c.pullChunk(c) }

// expire ends the handler's waiting; the end is still the handler's to say.
func (c *ServerCall) expire() {
	c.mu.Lock()
	c.half.deadline = 0
	if c.err == nil {
		c.err = contextError(context.DeadlineExceeded)
		c.stream.stop()
	}
	c.mu.Unlock()
	c.ctx.cancel(context.DeadlineExceeded)
}

func (c *ServerCall) lose(*Ended) {
	c.mu.Lock()
	c.over(connect.NewError(connect.CodeCanceled, "the link to the caller was lost").WithCause(context.Canceled))
	c.mu.Unlock()
	c.ctx.cancel(context.Canceled)
}
