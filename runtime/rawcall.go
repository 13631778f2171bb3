package rpcmesh

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// RawCall is a unary call of one who passes calls on, as a gateway does: its messages stay encoded, and no
// goroutine waits for it. Otherwise it is a call like those of a [Namespace]'s clients: with the same
// deadlines, retries and errors. Its owner sets the fields and the request's headers, and leaves it alone
// from [RawCaller.Begin] until Done is called.
type RawCall struct {
	// Procedure is the function's, and Idempotency what it was registered with: see [Function].
	Procedure   string
	Idempotency connect.IdempotencyLevel
	// Deadline ends the call. Zero: [Config.CallTimeout] from its beginning.
	Deadline time.Time
	// Outside says how the call came in from outside, nil for a call of this program's own. It is not changed
	// until Done is called.
	Outside *Outside
	// Request is the encoded request. Begin copies it, unless it is Owned: then it is the call's once Begin has
	// returned true, and stays as it is.
	Request []byte
	Owned   bool
	// Done is called once when the call is over, by any goroutine and perhaps before Begin has returned. It
	// must not block: others' calls wait meanwhile. What it gives something to write it returns, or nil.
	Done func(c *RawCall) Output

	// Response is the encoded response where Err is nil, until Done returns, or for good by KeepResponse.
	Response []byte
	// Err is how the call failed, as for a [connect.ClientStream].
	Err error

	stream      clientStream
	info        connect.CallInfo
	caller      link.Caller // where Outside is set
	opened      atomic.Bool // the first attempt is there
	canceled    atomic.Bool
	kept        bool                               // the response is
	cancelRetry atomic.Pointer[context.CancelFunc] // ends further attempts
}

// Output is what [RawCall.Done] writes to. It is told to write once for many calls. Values are comparable.
type Output interface {
	// Flush writes what is ready. It may wait for the connection.
	Flush()
	// FlushNow is Flush for one who may not wait.
	FlushNow()
}

// RequestHeader returns the request's headers, which may be changed until the call begins.
func (c *RawCall) RequestHeader() *connect.Header { return c.info.RequestHeader() }

// ResponseHeader returns the response's headers, which are there when Done is called.
func (c *RawCall) ResponseHeader() *connect.Header { return c.info.ResponseHeader() }

// ResponseTrailer returns the response's trailers, which are there when Done is called.
func (c *RawCall) ResponseTrailer() *connect.Header { return c.info.ResponseTrailer() }

// Cancel ends the call; Done is called in any case where Begin returns true. It does not block, and may be
// called at any time, by any goroutine.
func (c *RawCall) Cancel() {
	c.canceled.Store(true)
	if cancel := c.cancelRetry.Load(); cancel != nil {
		(*cancel)()
	}
	if c.opened.Load() {
		_ = c.stream.attempts.first.Close() // always nil
	}
}

// KeepResponse leaves Response to its caller for good. It may be called while Done runs.
func (c *RawCall) KeepResponse() { c.kept = true }

// RawCaller begins calls, and sends those together that it begins together. It belongs to one goroutine.
type RawCaller struct {
	table     *table
	unflushed []*link.Session
}

// NewRawCaller returns a caller from this node.
func (n *Node) NewRawCaller() *RawCaller { return &RawCaller{table: n.table} }

// Begin begins c in ns, a namespace of the caller's node, and does not block. It reports whether it has:
// where a call would fail at once or could have to wait, it has done nothing, and the call is one for
// [Namespace.NewClientStream]. Flush has it sent.
func (r *RawCaller) Begin(ns *Namespace, c *RawCall) bool {
	if ns.err != nil || ns.node.life.ctx.Err() != nil {
		return false
	}
	c.info.Spec = connect.Spec{Procedure: c.Procedure, StreamType: connect.StreamTypeUnary, IdempotencyLevel: c.Idempotency}
	a := &c.stream.attempts
	a.calls = ns.node.calls
	a.namespace = ns.name
	a.ctx = context.Background()
	a.spec = c.info.Spec
	a.info = &c.info
	a.completion = (*rawCompletion)(c)
	a.deadline.at = c.Deadline
	if c.Outside != nil {
		c.caller = ns.node.identity.externalCaller(c.Outside)
		a.caller = &c.caller
	}
	if c.Deadline.IsZero() {
		a.deadline = ns.node.calls.defaultDeadline()
	}
	return a.findRoute() == nil && r.start(c)
}

// start opens the first attempt and sends the request, after which the call may be over at any time.
func (r *RawCaller) start(c *RawCall) bool {
	a := &c.stream.attempts
	via := a.route.target.Link
	b := c.request()
	a.start()
	call, err := a.openWith(b)
	if err == nil {
		c.opened.Store(true)
		if c.canceled.Load() {
			_ = call.Close() // always nil
		}
		err = call.Send(b.B)
	}
	if err != nil {
		a.release()
		return false
	}
	session := r.table.session(via)
	if session != nil {
		r.flushLater(session.link)
	}
	return true
}

// request returns the request for attempts to send.
func (c *RawCall) request() *link.Buffer {
	if c.Owned {
		return link.WrapBuffer(c.Request)
	}
	return link.CopyBuffer(c.Request)
}

func (r *RawCaller) flushLater(s *link.Session) {
	if !slices.Contains(r.unflushed, s) {
		r.unflushed = append(r.unflushed, s)
	}
}

// Flush has what was begun since the last Flush sent. It does not block.
func (r *RawCaller) Flush() {
	for i, s := range r.unflushed {
		s.FlushNow()
		r.unflushed[i] = nil
	}
	r.unflushed = r.unflushed[:0]
}

// rawCompletion is a RawCall as its first attempt sees it.
type rawCompletion RawCall

// CallDone implements [link.Completion].
func (r *rawCompletion) CallDone() link.Output {
	c := (*RawCall)(r)
	a := &c.stream.attempts
	b, err := a.first.Result()
	if err == nil {
		a.release()
		o := c.done(b.B, nil)
		if !c.kept {
			b.Free()
		}
		return o
	}
	if a.mayRetry() && a.calls.life.spawn(c.retry) {
		return nil
	}
	return c.done(nil, a.end(&a.first, err))
}

// retry goes on with the call as one whose caller waits.
func (c *RawCall) retry() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.cancelRetry.Store(&cancel)
	if c.canceled.Load() {
		cancel()
	}
	c.stream.attempts.blockIn(ctx)
	var response Raw
	err := c.stream.Receive(&response) // fails as the first attempt did, and goes on from there
	o := c.done(response.B, err)
	if o != nil {
		o.Flush()
	}
}

// done tells the owner what came of the call.
func (c *RawCall) done(response []byte, err error) link.Output {
	if errors.Is(err, io.EOF) {
		err = c.stream.attempts.calls.identity.failed(connect.CodeUnimplemented, started, c.Procedure+" has one response, and gave none")
	}
	c.Response, c.Err = response, err
	var o Output
	_ = guard.Call(c.stream.attempts.calls.log.Logger, "RawCall.Done", func() error {
		o = c.Done(c)
		return nil
	})
	return o
}
