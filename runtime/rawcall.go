package rpcmesh

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// rawCaller is a [rawcall.Caller].
type rawCaller struct{ unflushed []*link.Session }

// Begin implements [rawcall.Caller].
func (r *rawCaller) Begin(namespace connect.Transport, call *rawcall.Call) bool {
	ns, ok := namespace.(*Namespace)
	if !ok || ns.err != nil || ns.node.life.ctx.Err() != nil {
		return false
	}
	call.Info.Spec = connect.Spec{Procedure: call.Procedure, StreamType: connect.StreamTypeUnary, IdempotencyLevel: call.Idempotency}
	c := &rawCall{Call: call}
	a := &c.stream.attempts
	a.calls = ns.node.calls
	a.namespace = ns.name
	a.ctx = context.Background()
	a.spec = call.Info.Spec
	a.info = &call.Info
	a.completion = (*rawCompletion)(c)
	a.deadline.at = call.Deadline
	if call.Outside != nil {
		c.caller = ns.node.identity.externalCaller(call.Outside)
		a.caller = &c.caller
	}
	if call.Deadline.IsZero() {
		a.deadline = ns.node.calls.defaultDeadline()
	}
	return a.findRoute() == nil && r.start(c, ns.node.table)
}

// start opens the first attempt and sends the request, after which the call may be over at any time.
func (r *rawCaller) start(c *rawCall, t *table) bool {
	a := &c.stream.attempts
	via := a.route.target.Link
	b := c.request()
	a.start()
	call, err := a.openWith(b)
	if err == nil {
		if canceled := c.SetRun(c); canceled {
			c.Cancel()
		}
		err = call.Send(b.B)
	}
	if err != nil {
		a.release()
		return false
	}
	session := t.session(via)
	if session != nil {
		r.flushLater(session.link)
	}
	return true
}

func (r *rawCaller) flushLater(s *link.Session) {
	if !slices.Contains(r.unflushed, s) {
		r.unflushed = append(r.unflushed, s)
	}
}

// Flush implements [rawcall.Caller].
func (r *rawCaller) Flush() {
	for i, s := range r.unflushed {
		s.FlushNow()
		r.unflushed[i] = nil
	}
	r.unflushed = r.unflushed[:0]
}

// rawCall is what a [rawcall.Call] runs by.
type rawCall struct {
	*rawcall.Call

	stream      clientStream
	caller      link.Caller                        // where Outside is set
	cancelRetry atomic.Pointer[context.CancelFunc] // ends further attempts
}

// Cancel implements [rawcall.Canceler]: it is what the owner's Cancel comes to once there is an attempt.
func (c *rawCall) Cancel() {
	if cancel := c.cancelRetry.Load(); cancel != nil {
		(*cancel)()
	}
	_ = c.stream.attempts.first.Close() // always nil
}

// request returns the request for attempts to send.
func (c *rawCall) request() *link.Buffer {
	if c.Owned {
		return link.WrapBuffer(c.Request)
	}
	return link.CopyBuffer(c.Request)
}

// rawCompletion is a rawCall as its first attempt sees it.
type rawCompletion rawCall

// CallDone implements [link.Completion].
func (r *rawCompletion) CallDone() link.Output {
	c := (*rawCall)(r)
	a := &c.stream.attempts
	b, err := a.first.Result()
	if err == nil {
		a.release()
		o := c.done(b.B, nil)
		if !c.Kept() {
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
func (c *rawCall) retry() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.cancelRetry.Store(&cancel)
	if c.Canceled() {
		cancel()
	}
	c.stream.attempts.blockIn(ctx)
	var response rawcall.Message
	err := c.stream.Receive(&response) // fails as the first attempt did, and goes on from there
	o := c.done(response.B, err)
	if o != nil {
		o.Flush()
	}
}

// done tells the owner what came of the call.
func (c *rawCall) done(response []byte, err error) link.Output {
	if errors.Is(err, io.EOF) {
		err = c.stream.attempts.calls.identity.failed(connect.CodeUnimplemented, started, c.Procedure+" has one response, and gave none")
	}
	c.Response, c.Err = response, err
	var o rawcall.Output
	_ = guard.Call(c.stream.attempts.calls.log.Logger, "Owner.Done", func() error {
		o = c.Owner.Done(c.Call)
		return nil
	})
	return o
}
