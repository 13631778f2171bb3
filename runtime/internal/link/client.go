package link

import (
	"context"
	"errors"
	"io"
	"sync"
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
	// CallerBlocks says that the caller is in Send or Receive until the call has ended: its context is watched
	// there, which is cheaper than to be told of its end.
	CallerBlocks bool
	// Completion, if there is one, is told of the call's end, and nobody waits in Receive: see Waiter.
	Completion Completion
	// Caller is who makes the call. May be nil.
	Caller *Caller
	// Header is sent when the call is opened; until then it may be changed. May be nil.
	Header *connect.Header
	// ResponseHeader and ResponseTrailer are filled in as they arrive, before the Receive that finds
	// them returns. May be nil.
	ResponseHeader, ResponseTrailer *connect.Header
}

// ClientCall is the caller's side of a call. One goroutine may send while another receives; Close may
// be called by any.
//
// It is a handle: what a running call needs besides is used again for others once the call is over.
type ClientCall struct {
	open   Open
	ctx    context.Context
	s      *Session   // nil for a local call
	local  *localPair // of a local call
	limits *Limits

	opened  atomic.Bool // set with mu held
	ended   atomic.Bool // likewise; outcome is set before
	sentAll bool        // set by the one who sends, with mu held

	mu        *sync.Mutex
	endpoint  *callerEndpoint // while the call runs
	stop      func() bool     // ends the watch on ctx
	over      bool
	abandoned bool // it is over because this side let go of it
	outcome   outcome
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
	if c.opened.Load() {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.sendLocked(nil, &f)
	}
	var scratch [384]byte
	head, err := c.encodeOpen(scratch[:0])
	if err != nil {
		c.abandon(err)
		return err
	}
	stop := c.watchContext()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.opened.Load(): // somebody else was faster
		head = nil
	case c.over:
		err = c.abandonErrorLocked()
	default:
		if err = c.startLocked(head); err == nil {
			stop, c.stop = nil, stop
		}
	}
	if stop != nil {
		stop()
	}
	if err != nil {
		return err
	}
	return c.sendLocked(head, &f)
}

// sendLocked sends a frame of a call that has been opened, or is opened by head. mu is held.
func (c *ClientCall) sendLocked(head []byte, f *outFrame) error {
	e := c.endpoint
	switch {
	case e == nil:
		return c.sendErrorLocked()
	case e.sending:
		return errConcurrentSend
	case e.err != nil, e.recvClosed, c.sentAll && (f.hasData || f.closeSend):
		return io.EOF
	case head == nil && !f.hasData && !f.closeSend:
		return nil
	}
	if f.closeSend {
		c.sentAll = true
	}
	if c.open.Completion != nil {
		e.stream.sendAsyncLocked(e, head, f)
		return nil
	}
	e.users++
	whole := e.stream.sendLocked(e, head, f)
	c.checkContextLocked(e)
	e.leaveLocked(e)
	switch {
	case c.abandoned:
		return c.outcome.err
	case !whole:
		return io.EOF
	}
	return nil
}

// sendErrorLocked is what Send returns when the call is over. mu is held.
func (c *ClientCall) sendErrorLocked() error {
	if c.abandoned {
		return c.outcome.err
	}
	return io.EOF
}

// abandonErrorLocked is why the call was over before it was opened. mu is held.
func (c *ClientCall) abandonErrorLocked() *connect.Error {
	err, _ := errors.AsType[*connect.Error](c.outcome.err)
	return err
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
	if deadline := c.deadline(); !deadline.IsZero() {
		if timeout = time.Until(deadline); timeout <= 0 {
			return nil, contextError(context.DeadlineExceeded)
		}
	}
	if c.local != nil {
		return appendHeaders(b, c.open.Header), nil
	}
	return c.open.appendTo(b, timeout, headers), nil
}

// deadline is when the call's time is up, zero for never.
func (c *ClientCall) deadline() time.Time {
	deadline, ok := c.ctx.Deadline()
	if !ok || !c.open.Deadline.IsZero() && c.open.Deadline.Before(deadline) {
		return c.open.Deadline
	}
	return deadline
}

// watchContext makes the end of the context end the call; the returned function, which may be nil, ends that.
func (c *ClientCall) watchContext() (stop func() bool) {
	if c.local != nil && !c.open.Deadline.IsZero() {
		return c.watchContextAndDeadline()
	}
	if c.ctx.Done() == nil || c.blocksInCall() {
		return nil
	}
	return context.AfterFunc(c.ctx, func() { c.abandon(contextError(c.ctx.Err())) })
}

// watchContextAndDeadline is watch for a call whose deadline no session's keeper sees to.
func (c *ClientCall) watchContextAndDeadline() (stop func() bool) {
	unarm := time.AfterFunc(time.Until(c.open.Deadline), func() {
		c.abandon(contextError(context.DeadlineExceeded))
	}).Stop
	if c.ctx.Done() == nil {
		return unarm
	}
	unwatch := context.AfterFunc(c.ctx, func() { c.abandon(contextError(c.ctx.Err())) })
	return func() bool {
		stopped := unarm()
		return unwatch() && stopped
	}
}

// startLocked opens the call. mu is held.
func (c *ClientCall) startLocked(head []byte) (err *connect.Error) {
	if c.local != nil {
		c.endpoint = c.local.startLocked(c, head)
	} else if c.endpoint, err = c.s.startCallerLocked(c.deadline()); err == nil {
		if c.open.CallerBlocks {
			c.endpoint.done = c.ctx.Done()
		}
	} else {
		err = err.WithRemote()
		c.settleLocked(c.s.failure(err, notStarted).outcome())
	}
	if err == nil && c.open.Completion != nil {
		c.endpoint.completion, c.endpoint.recvWaiting = c.open.Completion, true
	}
	c.opened.Store(true)
	return err
}

// Receive returns the next message, which is valid until the next Receive or Close. It returns io.EOF
// when the call has ended well, and otherwise a *connect.Error: marked as remote, with code, message
// and details as sent, where the handler or the mesh ended the call, and else with what Certainty says.
func (c *ClientCall) Receive() ([]byte, error) {
	if !c.opened.Load() {
		_ = c.SendHeaders() // what keeps it from opening is found below
	}
	c.mu.Lock()
	e := c.endpoint
	if e == nil {
		err := c.outcome.err
		c.mu.Unlock()
		return nil, err
	}
	e.users++
	msg, err := e.receiveLocked()
	e.answered = e.answered || err == nil
	c.checkContextLocked(e)
	headers := e.headers
	e.headers = nil
	if err != nil && !c.over {
		c.settleLocked(e.outcomeLocked())
	}
	if c.over {
		msg, err = nil, c.outcome.err
	}
	e.leaveLocked(e)
	stop := c.takeStopLocked()
	c.mu.Unlock()

	if stop != nil {
		stop()
	}
	if headers != nil && c.open.ResponseHeader != nil {
		if herr := parseHeaders(headers, c.open.ResponseHeader); herr != nil && err == nil {
			err := errMalformedHeaders.WithCause(herr)
			c.abandon(err)
			return nil, err
		}
	}
	return msg, err
}

// ReceiveHeaders waits until Receive would find something, and reports whether that is nothing but the
// response's headers yet: then they are filled in. It counts as receiving.
func (c *ClientCall) ReceiveHeaders() bool {
	if !c.opened.Load() {
		_ = c.SendHeaders() // what keeps it from opening is found by Receive
	}
	c.mu.Lock()
	e := c.endpoint
	if e == nil {
		c.mu.Unlock()
		return false
	}
	e.users++
	var headers []byte
	if e.waitHeadersLocked() {
		headers, e.headers = e.headers, nil
	}
	e.leaveLocked(e)
	c.mu.Unlock()
	if headers == nil || c.open.ResponseHeader == nil {
		return headers != nil
	}
	if err := parseHeaders(headers, c.open.ResponseHeader); err != nil {
		c.abandon(errMalformedHeaders.WithCause(err))
		return false
	}
	return true
}

var errMalformedHeaders = connect.NewError(connect.CodeInternal, "link: the response's headers are malformed")

// settleLocked notes that the call is over. mu is held.
func (c *ClientCall) settleLocked(o outcome) {
	o.certainty = notStarted
	if c.endpoint != nil {
		o.certainty = c.endpoint.certaintyLocked()
	}
	c.over, c.outcome = true, o
	defer c.ended.Store(true)
	o.addTrailer(c.open.ResponseTrailer)
	if e := c.endpoint; e != nil {
		c.endpoint, e.released = nil, true
	}
}

// blocksInCall reports whether the caller watches its context itself.
func (c *ClientCall) blocksInCall() bool { return c.open.CallerBlocks && c.local == nil }

// checkContextLocked lets go of the call if its caller has found its context to have ended. mu is held.
func (c *ClientCall) checkContextLocked(e *callerEndpoint) {
	if !e.ctxDone || c.over {
		return
	}
	err := contextError(c.ctx.Err())
	if e.abortLocked(err) {
		c.s.wakeWriterLocked()
	}
	c.abandoned = true
	c.settleLocked(outcome{err: err})
}

// takeStopLocked returns what ends the watch on the context, once, when the call is over. mu is held.
func (c *ClientCall) takeStopLocked() (stop func() bool) {
	if c.over {
		stop, c.stop = c.stop, nil
	}
	return stop
}

// Failure says how far the call had come if the mesh, not the handler, ended it on its way, and is nil otherwise.
// It is known once Receive, or the Send that was to open the call, has returned an error.
func (c *ClientCall) Failure() *rpcmeshv1.CallFailure {
	if c.ended.Load() {
		return c.outcome.failure
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcome.failure
}

// EndIfDrained is for one who has found by sending that the call has ended: Failure says how, unless something
// is left to receive before.
func (c *ClientCall) EndIfDrained() {
	c.mu.Lock()
	if e := c.endpoint; e != nil && (e.recvClosed || e.err != nil) && e.headers == nil && e.inbox.empty() && !c.over {
		e.users++
		c.settleLocked(e.outcomeLocked())
		e.leaveLocked(e)
	}
	stop := c.takeStopLocked()
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Err is how the call ended, as Receive has it, nil while it runs.
func (c *ClientCall) Err() error {
	if c.ended.Load() {
		return c.outcome.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcome.err
}

// Close cancels the call if it is running and frees what it holds. It is idempotent.
func (c *ClientCall) Close() error {
	if !c.ended.Load() {
		c.abandon(errClosed)
	}
	return nil
}

var errClosed = connect.NewError(connect.CodeCanceled, "the caller closed the call").WithCause(context.Canceled)

// abandon lets go of the call, unless it is over.
func (c *ClientCall) abandon(err *connect.Error) {
	c.mu.Lock()
	e := c.endpoint
	running := e != nil && e.abortLocked(err)
	if !c.over {
		c.abandoned = true
		c.settleLocked(outcome{err: err})
	}
	stop := c.takeStopLocked()
	var handler *ServerCall
	var waiter Completion
	if e != nil {
		waiter = e.takeCompletionLocked()
	}
	if running && c.local != nil {
		handler = c.local.server
	} else if running {
		c.s.wakeWriterLocked()
	}
	if e != nil {
		e.recycleLocked()
	}
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	if handler != nil {
		handler.cancelLocal(cancelCode(err))
	}
	complete(waiter)
}
