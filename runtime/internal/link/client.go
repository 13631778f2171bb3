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
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// ClientCall is the caller's side of a call. One goroutine may send while another receives; Close may be called by any.
//
// It is a handle: what a running call needs besides is an endpoint, which is used again for another call.
type ClientCall struct {
	open   Open
	ctx    context.Context
	s      *Session   // nil for a local call
	local  *localPair // of a local call
	limits *Limits

	phase   atomic.Uint32 // a callPhase; set under mu, after outcome
	sentAll bool          // set under mu by the goroutine that sends

	mu       *sync.Mutex
	endpoint *callerEndpoint // while the call is open
	stop     func() bool     // ends the watch on ctx
	outcome  outcome         // once it is over
}

// prepare makes a call over s of a zero ClientCall.
func (c *ClientCall) prepare(ctx context.Context, o Open, s *Session) {
	c.open, c.ctx = o, ctx
	c.s, c.mu = s, &s.mu
	c.limits = &s.cfg.Limits
}

// callPhase is how far a call has come, as its caller's handle knows. (RFC 9113, section 5.1, has the states of a stream;
// here the sent half is sentAll, and the received half the endpoint's recvState.)
//
//	          its open is sent              the end was received
//	callIdle ──────────────────► callOpen ───────────────────────► callEnded
//	    │                            │                                 ▲
//	    │ Close                      │ Close, the end of its context   │
//	    │                            ▼                                 │
//	    ├──────────────────────► callAbandoned                         │
//	    │ there is no room on the link, or the link has ended          │
//	    └──────────────────────────────────────────────────────────────┘
type callPhase uint32

const (
	callIdle callPhase = iota
	callOpen
	callEnded     // by the handler, the mesh, or for want of a link
	callAbandoned // by this side
)

func (c *ClientCall) inPhase() callPhase { return callPhase(c.phase.Load()) }

func (c *ClientCall) setPhaseLocked(p callPhase) { c.phase.Store(uint32(p)) }

// isOver reports whether the call is over: outcome is there, and stays.
func (c *ClientCall) isOver() bool { return c.inPhase() >= callEnded }

// SendHeaders opens the call, if that has not been done.
func (c *ClientCall) SendHeaders() error { return c.transmit(frame.Outgoing{}) }

// Send sends a message, which may be reused when it returns. It blocks while the window is used up.
// For unary and server-stream calls the first message is the last one, too. It returns io.EOF if the
// call has ended: Receive says how.
func (c *ClientCall) Send(msg []byte) error {
	if err := c.limits.checkMessage(msg); err != nil {
		return err
	}
	fields := frame.FieldData
	if c.open.StreamType&connect.StreamTypeClient == 0 {
		fields |= frame.FieldCloseSend
	}
	return c.transmit(frame.Outgoing{Fields: fields, Data: msg})
}

// CloseSend closes the sending half: no more messages follow.
func (c *ClientCall) CloseSend() error {
	if c.sentAll {
		return nil
	}
	err := c.transmit(frame.Outgoing{Fields: frame.FieldCloseSend})
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// transmit sends a frame, with open before it if the call has not been opened.
func (c *ClientCall) transmit(f frame.Outgoing) error {
	if c.inPhase() != callIdle {
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
	if c.inPhase() != callIdle { // another goroutine was faster
		head = nil
	} else if err = c.startLocked(head); err == nil {
		stop, c.stop = nil, stop
	}
	if stop != nil {
		stop()
	}
	if err != nil {
		return err
	}
	return c.sendLocked(head, &f)
}

// sendLocked sends a frame of a call that has been opened, or is opened by head.
func (c *ClientCall) sendLocked(head []byte, f *frame.Outgoing) error {
	e := c.endpoint
	switch {
	case e == nil:
		return c.sendErrorLocked()
	case e.send == sendPending:
		return errConcurrentSend
	case e.err != nil, e.recv.closed(), c.sentAll && (f.Has(frame.FieldData) || f.Has(frame.FieldCloseSend)):
		return io.EOF
	case head == nil && !f.Has(frame.FieldData) && !f.Has(frame.FieldCloseSend):
		return nil
	}
	if f.Has(frame.FieldCloseSend) {
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
	case c.inPhase() == callAbandoned:
		return c.outcome.Err
	case !whole:
		return io.EOF
	}
	return nil
}

// sendErrorLocked is what Send returns when the call is over.
func (c *ClientCall) sendErrorLocked() error {
	if c.inPhase() == callAbandoned {
		return c.outcome.Err
	}
	return io.EOF
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
		timeout = time.Until(deadline)
		if timeout <= 0 {
			return nil, contextError(context.DeadlineExceeded)
		}
	}
	if c.local != nil {
		return frame.AppendHeaders(b, c.open.Header), nil
	}
	o := &c.open
	callee := o.callee()
	f := frame.Open{Callee: &callee, Timeout: timeout, StreamType: o.StreamType, Caller: o.Caller}
	return f.AppendTo(b, o.Hops, o.Header, headers), nil
}

// deadline is when the call's time is up; zero is never.
func (c *ClientCall) deadline() time.Time {
	deadline, ok := c.ctx.Deadline()
	if !ok || !c.open.Deadline.IsZero() && c.open.Deadline.Before(deadline) {
		return c.open.Deadline
	}
	return deadline
}

// watchContext makes the end of the context end the call. The returned function, which may be nil, stops that.
func (c *ClientCall) watchContext() (stop func() bool) {
	if c.local != nil && !c.open.Deadline.IsZero() {
		return c.watchContextAndDeadline()
	}
	if c.ctx.Done() == nil || c.blocksInCall() {
		return nil
	}
	return context.AfterFunc(c.ctx, func() { c.abandon(contextError(c.ctx.Err())) })
}

// watchContextAndDeadline is watchContext for a local call with a deadline: no keepalive goroutine looks at that.
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

// startLocked opens the call.
func (c *ClientCall) startLocked(head []byte) *connect.Error {
	if c.local != nil {
		c.endpoint = c.local.startLocked(c, head)
	} else {
		e, err := c.s.startCallerLocked(c.deadline())
		if err != nil {
			err = err.WithRemote()
			c.settleLocked(c.s.failure(err, notStarted).outcome(), callEnded)
			return err
		}
		c.endpoint = e
		if c.open.CallerBlocks {
			e.done = c.ctx.Done()
		}
	}
	if c.open.Completion != nil {
		c.endpoint.completion, c.endpoint.recvWaiting = c.open.Completion, true
	}
	c.setPhaseLocked(callOpen)
	return nil
}

// Receive returns the next message, which is valid until the next Receive or Close. It returns io.EOF
// when the call has ended well, and otherwise a *connect.Error: marked as remote, with code, message
// and details as sent, where the handler or the mesh ended the call, and else with what Certainty says.
func (c *ClientCall) Receive() ([]byte, error) {
	if c.inPhase() == callIdle {
		_ = c.SendHeaders() // what keeps it from opening is found below
	}
	c.mu.Lock()
	e := c.endpoint
	if e == nil {
		err := c.outcome.Err
		c.mu.Unlock()
		return nil, err
	}
	e.users++
	msg, err := e.receiveLocked()
	e.answered = e.answered || err == nil
	c.checkContextLocked(e)
	headers := e.takeHeadersLocked()
	if err != nil && !c.isOver() {
		c.settleLocked(e.outcomeLocked(), callEnded)
	}
	if c.isOver() {
		msg, err = nil, c.outcome.Err
	}
	e.leaveLocked(e)
	stop := c.takeStopLocked()
	c.mu.Unlock()

	if stop != nil {
		stop()
	}
	if malformed := c.decodeHeaders(headers); malformed != nil && err == nil {
		c.abandon(malformed)
		return nil, malformed
	}
	return msg, err
}

// decodeHeaders fills in the response's headers out of raw, nil where there are none to fill in, or says that they are
// malformed.
func (c *ClientCall) decodeHeaders(raw []byte) *connect.Error {
	if raw == nil || c.open.ResponseHeader == nil {
		return nil
	}
	if err := frame.ParseHeaders(raw, c.open.ResponseHeader); err != nil {
		return errMalformedHeaders.WithCause(err)
	}
	return nil
}

// ReceiveHeaders waits until Receive would return, or the response's headers have come. It reports whether it is headers
// alone that have come, and fills them in then. It counts as receiving.
func (c *ClientCall) ReceiveHeaders() bool {
	if c.inPhase() == callIdle {
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
		headers = e.takeHeadersLocked()
	}
	e.leaveLocked(e)
	c.mu.Unlock()
	if malformed := c.decodeHeaders(headers); malformed != nil {
		c.abandon(malformed)
		return false
	}
	return headers != nil
}

var errMalformedHeaders = connect.NewError(connect.CodeInternal, "link: the response's headers are malformed")

// settleLocked notes that the call is over.
func (c *ClientCall) settleLocked(o outcome, phase callPhase) {
	o.certainty = notStarted
	if c.endpoint != nil {
		o.certainty = c.endpoint.certaintyLocked()
	}
	c.outcome = o
	defer c.setPhaseLocked(phase)
	o.AddTrailerTo(c.open.ResponseTrailer)
	if e := c.endpoint; e != nil {
		c.endpoint, e.released = nil, true
	}
}

// blocksInCall reports whether Send and Receive look for the end of the context.
func (c *ClientCall) blocksInCall() bool { return c.open.CallerBlocks && c.local == nil }

// checkContextLocked abandons the call if Send or Receive has found that the context has ended.
func (c *ClientCall) checkContextLocked(e *callerEndpoint) {
	if !e.ctxDone || c.isOver() {
		return
	}
	err := contextError(c.ctx.Err())
	if e.abortLocked(err) {
		c.s.wakeWriterLocked()
	}
	c.settleLocked(outcome{End: frame.End{Err: err}}, callAbandoned)
}

// takeStopLocked returns, once the call is over, the function that stops the watch on the context; then nil.
func (c *ClientCall) takeStopLocked() (stop func() bool) {
	if c.isOver() {
		stop, c.stop = c.stop, nil
	}
	return stop
}

// Failure says how far the call had come if the mesh, not the handler, ended it on its way, and is nil otherwise.
// It is known once Receive, or the Send that was to open the call, has returned an error.
func (c *ClientCall) Failure() *rpcmeshv1.CallFailure {
	if c.isOver() {
		return c.outcome.Failure
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcome.Failure
}

// EndIfDrained ends the call at this side if it has ended and nothing is left to receive: Failure has the rest then. It
// is called by one who has found by sending that the call has ended.
func (c *ClientCall) EndIfDrained() {
	c.mu.Lock()
	if e := c.endpoint; e != nil && (e.recv.closed() || e.err != nil) && e.headers == nil && e.inbox.empty() && !c.isOver() {
		e.users++
		c.settleLocked(e.outcomeLocked(), callEnded)
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
	if c.isOver() {
		return c.outcome.Err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcome.Err
}

// Close cancels the call if it is running and frees what it holds. It is idempotent.
func (c *ClientCall) Close() error {
	if !c.isOver() {
		c.abandon(errClosed)
	}
	return nil
}

var errClosed = connect.NewError(connect.CodeCanceled, "the caller closed the call").WithCause(context.Canceled)

// abandon cancels the call, unless it is over.
func (c *ClientCall) abandon(err *connect.Error) {
	c.mu.Lock()
	e := c.endpoint
	running := e != nil && e.abortLocked(err)
	if !c.isOver() {
		c.settleLocked(outcome{End: frame.End{Err: err}}, callAbandoned)
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
