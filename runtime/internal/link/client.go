package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// Open is what a call is opened with.
type Open struct {
	// Namespace, Procedure, Origin, OriginNamespace and StreamType are as in Incoming.
	Namespace       string
	Procedure       string
	Origin          NodeID
	OriginNamespace string
	StreamType      connect.StreamType
	// Hops is how many links the call may cross after the first.
	Hops uint32
	// Deadline ends the call, as the context's does; the earlier counts. Zero is none. It is cheaper
	// than a context of its own.
	Deadline time.Time
	// Header is sent when the call is opened; until then it may be changed. May be nil.
	Header *connect.Header
	// ResponseHeader and ResponseTrailer are filled in as they arrive, before the Receive that finds
	// them returns. May be nil.
	ResponseHeader, ResponseTrailer *connect.Header
}

// ClientCall is the caller's side of a call. One goroutine may send while another receives; Close may
// be called by any.
type ClientCall struct {
	stream
	open  Open
	ctx   context.Context
	local *localCall  // of a local call
	stop  func() bool // ends the watch on ctx

	started    atomic.Bool // set with mu held
	sentAll    bool        // set by the one who sends, with mu held
	answered   bool // the handler has said something
	gotHeaders bool
	headers    []byte // of the response, until Receive hands them out
	end        []byte // how the call ended, until Receive finds out
	settled    bool   // outcome is known
	outcome    outcome
}

// SendHeaders opens the call, if that has not been done.
func (c *ClientCall) SendHeaders() error { return c.transmit(outFrame{}) }

// Send sends a message, which may be reused when it returns. It blocks while the window is used up.
// For unary and server-stream calls the first message is the last one, too. It returns io.EOF if the
// call has ended: Receive says how.
func (c *ClientCall) Send(msg []byte) error {
	if err := c.limits.checkMessage(msg); err != nil {
		return err
	}
	single := c.open.StreamType&connect.StreamTypeClient == 0
	return c.transmit(outFrame{hasData: true, data: msg, closeSend: single})
}

// CloseSend says that no more messages are sent.
func (c *ClientCall) CloseSend() error {
	if c.sentAll {
		return nil
	}
	err := c.transmit(outFrame{closeSend: true})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// transmit sends a frame, with open before it if the call has not been opened.
func (c *ClientCall) transmit(f outFrame) error {
	if c.started.Load() {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.transmitStarted(nil, &f)
	}
	var scratch [256]byte
	head, err := c.encodeOpen(scratch[:0])
	if err != nil {
		c.giveUp(err)
		return err
	}
	stop := c.watch()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started.Load() { // somebody else was faster
		if stop != nil {
			stop()
		}
		return c.transmitStarted(nil, &f)
	}
	if err := c.start(stop, head); err != nil {
		return err
	}
	return c.transmitStarted(head, &f)
}

// transmitStarted sends a frame of a call that has been opened, or is opened by head. mu is held.
func (c *ClientCall) transmitStarted(head []byte, f *outFrame) error {
	switch {
	case c.err != nil:
		return c.err
	case c.sending:
		return errSending
	case c.eof, c.sentAll && (f.hasData || f.closeSend):
		return io.EOF
	case head == nil && !f.hasData && !f.closeSend:
		return nil
	}
	if f.closeSend {
		c.sentAll = true
	}
	whole := c.send(c, head, f)
	switch {
	case c.err != nil:
		return c.err
	case !whole:
		return io.EOF
	}
	return nil
}

// encodeOpen appends hops and open (for a local call, the request's headers alone), or says what keeps
// the call from being opened.
func (c *ClientCall) encodeOpen(b []byte) ([]byte, *connect.Error) {
	headers, err := c.open.check(c.limits)
	if err != nil {
		return nil, err
	}
	if cause := c.ctx.Err(); cause != nil {
		return nil, contextError(cause)
	}
	var timeout time.Duration
	if deadline := c.deadlineTime(); !deadline.IsZero() {
		if timeout = time.Until(deadline); timeout <= 0 {
			return nil, contextError(context.DeadlineExceeded)
		}
	}
	if c.local != nil {
		return appendHeaders(b, c.open.Header), nil
	}
	return c.open.appendTo(b, timeout, headers), nil
}

// deadlineTime is when the call's time is up, zero for never.
func (c *ClientCall) deadlineTime() time.Time {
	deadline, ok := c.ctx.Deadline()
	if !ok || !c.open.Deadline.IsZero() && c.open.Deadline.Before(deadline) {
		return c.open.Deadline
	}
	return deadline
}

// watch makes the end of the context end the call; the returned function, which may be nil, ends that.
func (c *ClientCall) watch() (stop func() bool) {
	var unarm, unwatch func() bool
	if c.local != nil && !c.open.Deadline.IsZero() {
		unarm = time.AfterFunc(time.Until(c.open.Deadline), c.expire).Stop
	}
	if c.ctx.Done() == nil {
		return unarm
	}
	unwatch = context.AfterFunc(c.ctx, func() { c.giveUp(contextError(c.ctx.Err())) })
	if unarm == nil {
		return unwatch
	}
	return func() bool {
		stopped := unarm()
		return unwatch() && stopped
	}
}

// start opens the call. mu is held.
func (c *ClientCall) start(stop func() bool, head []byte) *connect.Error {
	c.stop = stop
	if c.err != nil {
		return c.err
	}
	if c.local != nil {
		c.local.start(head)
	} else if err := c.startOn(c.s); err != nil {
		return err
	}
	c.started.Store(true)
	return nil
}

// startOn gives the call an id on its session. mu is held.
func (c *ClientCall) startOn(s *Session) *connect.Error {
	if deadline := c.deadlineTime(); !deadline.IsZero() {
		c.half.deadline = max(int64(deadline.Sub(s.epoch)), 1)
	}
	err := s.openCall(c)
	if err == nil {
		return nil
	}
	err = err.WithRemote()
	c.settle(outcome{err: err, failure: s.failure(rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED)})
	c.started.Store(true)
	return err
}

// Receive returns the next message, which is valid until the next Receive or Close. It returns io.EOF
// when the call has ended well, and otherwise a *connect.Error: marked as remote, with code, message
// and details as sent, where the handler or the mesh ended the call.
func (c *ClientCall) Receive() ([]byte, error) {
	if !c.started.Load() {
		_ = c.SendHeaders() // what keeps it from opening is found below
	}
	c.mu.Lock()
	msg, err := c.receive()
	if errors.Is(err, io.EOF) {
		err = c.settleEnd()
	}
	headers := c.headers
	c.headers = nil
	var stop func() bool
	if err != nil {
		stop, c.stop = c.stop, nil
	}
	c.mu.Unlock()

	if stop != nil {
		stop()
	}
	if headers != nil && c.open.ResponseHeader != nil {
		if herr := parseHeaders(headers, c.open.ResponseHeader); herr != nil && err == nil {
			err := connect.NewError(connect.CodeInternal, "link: the response's headers are malformed").WithCause(herr)
			c.giveUp(err)
			return nil, err
		}
	}
	return msg, err
}

// settleEnd finds out how the call ended. mu is held.
func (c *ClientCall) settleEnd() error {
	if c.settled {
		return c.outcome.err
	}
	o := decodeEnd(c.end)
	if c.inbox.open > 0 && errors.Is(o.err, io.EOF) {
		o.err = connect.NewError(connect.CodeInternal, "link: the call ended in the middle of a message").WithRemote()
	}
	o.addTrailer(c.open.ResponseTrailer)
	c.settle(o)
	return o.err
}

// settle ends the call with o. mu is held.
func (c *ClientCall) settle(o outcome) {
	c.outcome, c.settled, c.eof = o, true, true
	c.stream.stop()
}

// Failure says how far the call had come if the mesh, not the handler, ended it, and is nil otherwise.
// It is known once Receive, or the Send that was to open the call, has returned an error.
func (c *ClientCall) Failure() *rpcmeshv1.CallFailure {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcome.failure
}

// Close cancels the call if it is running and frees what it holds. It is idempotent.
func (c *ClientCall) Close() error {
	c.giveUp(errClosed)
	return nil
}

var errClosed = connect.NewError(connect.CodeCanceled, "the caller closed the call").WithCause(context.Canceled)

// giveUp lets go of the call if it is running.
func (c *ClientCall) giveUp(err *connect.Error) {
	c.mu.Lock()
	running := c.abort(err)
	if running && c.local == nil {
		c.s.wakeWriter()
	}
	stop := c.stop
	c.stop = nil
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	if running && c.local != nil {
		c.local.server.canceled(cancelCode(err))
	}
}

// abort lets go of the call if it is running, and reports whether it was. mu is held.
func (c *ClientCall) abort(err *connect.Error) bool {
	c.inbox.drop()
	if c.err != nil || c.eof {
		return false
	}
	c.err = err
	c.stream.stop()
	if !c.started.Load() {
		return false
	}
	if c.local == nil {
		c.s.letGo(&c.half, cancelCode(err))
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

func (c *ClientCall) frame(f *frame) {
	defer c.mu.Unlock()
	if err := c.accept(f); err != nil {
		c.abort(err)
	}
}

// accept takes what a frame says, or says what is wrong with it. mu is held.
func (c *ClientCall) accept(f *frame) *connect.Error {
	if f.has&hasHeaders != 0 {
		if c.gotHeaders || c.answered {
			return connect.NewError(connect.CodeInternal, "link: headers where none can be")
		}
		c.gotHeaders, c.answered = true, true
		c.headers = append([]byte{}, f.headers...)
	}
	if f.has&hasWindow != 0 {
		if err := c.credited(f.window, c); err != nil {
			return err
		}
	}
	if f.has&hasData != 0 {
		c.answered = true
		if err := c.take(f.data, f.more); err != nil {
			return err
		}
	}
	if f.has&hasEnd != 0 {
		i, _ := idSlot(c.id)
		c.s.own.release(i)
		c.takeEnd(bytes.Clone(f.end))
	}
	return nil
}

// takeEnd notes the end, the body of an End. mu is held.
func (c *ClientCall) takeEnd(end []byte) {
	c.end, c.eof = end, true
	c.stream.stop()
}

func (c *ClientCall) pull() { c.pullChunk(c) }

func (c *ClientCall) expire() { c.giveUp(contextError(context.DeadlineExceeded)) }

func (c *ClientCall) lose(cause *Ended) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.eof {
		return
	}
	c.settle(outcome{err: c.s.lost(cause).WithRemote(), failure: c.s.failure(c.s.certainty(&c.half, c.answered))})
}
