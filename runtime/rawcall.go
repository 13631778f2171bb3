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

	call     outgoing
	info     connect.CallInfo
	caller   link.Caller // where Outside is set
	opened   atomic.Bool // the first attempt is there
	canceled atomic.Bool
	kept     bool                               // the response is
	unretry  atomic.Pointer[context.CancelFunc] // ends further attempts
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
	if cancel := c.unretry.Load(); cancel != nil {
		(*cancel)()
	}
	if c.opened.Load() {
		_ = c.call.first.Close() // always nil
	}
}

// KeepResponse leaves Response to its caller for good. It may be called while Done runs.
func (c *RawCall) KeepResponse() { c.kept = true }

// RawCaller begins calls, and sends those together that it begins together. It belongs to one goroutine.
type RawCaller struct {
	node    *Node
	touched []*link.Session
}

// NewRawCaller returns a caller from this node.
func (n *Node) NewRawCaller() *RawCaller { return &RawCaller{node: n} }

// Begin begins c in ns, a namespace of the caller's node, and does not block. It reports whether it has:
// where a call would fail at once or could have to wait, it has done nothing, and the call is one for
// [Namespace.NewClientStream]. Flush has it sent.
func (r *RawCaller) Begin(ns *Namespace, c *RawCall) bool {
	if ns.err != nil || ns.node.ctx.Err() != nil {
		return false
	}
	c.info.Spec = connect.Spec{Procedure: c.Procedure, StreamType: connect.StreamTypeUnary, IdempotencyLevel: c.Idempotency}
	s := &c.call
	s.ns, s.ctx, s.spec, s.info = ns, context.Background(), c.info.Spec, &c.info
	s.deadline, s.waiter = c.Deadline, (*rawWaiter)(c)
	if c.Outside != nil {
		c.caller = ns.node.callerOutside(c.Outside)
		s.caller = &c.caller
	}
	if s.deadline.IsZero() && ns.node.cfg.CallTimeout > 0 {
		s.limit()
	}
	return s.find() == nil && r.start(c)
}

// start opens the first attempt and sends the request, after which the call may be over at any time.
func (r *RawCaller) start(c *RawCall) bool {
	s := &c.call
	via := s.route.target.Link
	b := c.request()
	s.begin()
	s.mu.Lock()
	call, err := s.open()
	if err == nil {
		s.call = call
		s.keep(b)
	}
	s.mu.Unlock()
	if err == nil {
		c.opened.Store(true)
		if c.canceled.Load() {
			_ = call.Close() // always nil
		}
		err = call.Send(b.B)
	}
	if err != nil {
		s.finish()
		return false
	}
	if session := r.node.session(via); session != nil {
		r.touch(session.link)
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

func (r *RawCaller) touch(s *link.Session) {
	if !slices.Contains(r.touched, s) {
		r.touched = append(r.touched, s)
	}
}

// Flush has what was begun since the last Flush sent. It does not block.
func (r *RawCaller) Flush() {
	for i, s := range r.touched {
		s.FlushNow()
		r.touched[i] = nil
	}
	r.touched = r.touched[:0]
}

// rawWaiter is a RawCall as its first attempt sees it.
type rawWaiter RawCall

// CallDone implements [link.Waiter].
func (w *rawWaiter) CallDone() link.Output {
	c := (*RawCall)(w)
	s := &c.call
	b, err := s.first.Result()
	if err == nil {
		s.finish()
		o := c.done(b.B, nil)
		if !c.kept {
			b.Free()
		}
		return o
	}
	if s.mayRepeat() && s.ns.node.spawn(c.retry) {
		return nil
	}
	return c.done(nil, s.end(&s.first, err))
}

// mayRepeat reports whether there may be another attempt after the first.
func (s *outgoing) mayRepeat() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.retryOf(&s.first) != never
}

// retry goes on with the call as one whose caller waits.
func (c *RawCall) retry() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.unretry.Store(&cancel)
	if c.canceled.Load() {
		cancel()
	}
	s := &c.call
	s.mu.Lock()
	s.ctx, s.waiter = ctx, nil
	s.mu.Unlock()
	var response Raw
	err := s.Receive(&response) // fails as the first attempt did, and goes on from there
	if o := c.done(response.B, err); o != nil {
		o.Flush()
	}
}

// done tells the owner what came of the call.
func (c *RawCall) done(response []byte, err error) link.Output {
	if errors.Is(err, io.EOF) {
		err = c.call.ns.node.failed(connect.CodeUnimplemented, started, c.Procedure+" has one response, and gave none")
	}
	c.Response, c.Err = response, err
	var o Output
	_ = guard.Call(c.call.ns.node.log, "RawCall.Done", func() error {
		o = c.Done(c)
		return nil
	})
	return o
}
