package rpcmesh

import (
	"context"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// pooledUnary is the memory of a unary call on the fast path: one with a short request, over a link, that only its
// stub sees. The node uses it again.
type pooledUnary struct {
	call    *link.Unary
	request []byte
}

// getUnary returns one from the node's pool. A pool shared by all nodes would not work: a pooledUnary has channels,
// which belong to their synctest bubble where nodes run in bubbles.
func (c *calls) getUnary() *pooledUnary {
	if u, ok := c.unaryPool.Get().(*pooledUnary); ok {
		return u
	}
	return &pooledUnary{call: link.NewUnary()}
}

// maxFastRequest is the longest request, in bytes, on the fast path.
const maxFastRequest = 8 << 10

// stubTransport is a namespace as generated clients call it.
type stubTransport Namespace

func stubTransportOf(t connect.Transport) (rawcall.StubTransport, bool) {
	switch t := t.(type) {
	case *Namespace:
		if t != nil {
			return (*stubTransport)(t), true
		}
	case *Proxy:
		if t != nil {
			return (*stubTransport)(t.ns), true
		}
	}
	return nil, false
}

// NewClientStream implements [rawcall.StubTransport].
func (t *stubTransport) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	return (*Namespace)(t).newClientStream(ctx, spec, spec.StreamType == connect.StreamTypeUnary)
}

// CallUnary implements [rawcall.StubTransport]: it makes a call on the fast path. What is unusual about the call's end
// is handled as for any other call.
func (t *stubTransport) CallUnary(ctx context.Context, spec connect.Spec, req, res any) (done bool, err error) {
	ns := (*Namespace)(t)
	m, ok := req.(proto.Message)
	if !ok || !isPlain(ctx) || ns.node.life.ctx.Err() != nil {
		return false, nil
	}
	p := ns.fastPath(spec.Procedure)
	if p == nil || proto.Size(m) > maxFastRequest {
		return false, nil
	}
	u := ns.node.calls.getUnary()
	defer ns.node.calls.unaryPool.Put(u)
	u.request, err = marshalOptions.MarshalAppend(u.request[:0], m)
	if err != nil {
		return false, nil
	}
	c := fastCall{calls: ns.node.calls, namespace: ns.name, ctx: ctx, spec: spec, unary: u}
	if !c.setDeadline() {
		return false, nil
	}
	i := ns.node.calls.balancer.pickIndex(spec.Procedure, p.policy, p.targets)
	return c.do(p.links[i], &p.routes[i], res)
}

// isPlain reports whether ctx has not ended and has nothing that the fast path cannot do.
func isPlain(ctx context.Context) bool {
	if _, asked := connect.CallInfoForClientContext(ctx); asked {
		return false
	}
	return rawcall.OutsideOf(ctx) == nil && ctx.Err() == nil
}

// fastCall is one call on the fast path. It stays on its caller's stack.
type fastCall struct {
	calls     *calls
	namespace string
	ctx       context.Context //nolint:containedctx // it lives as long as the call
	spec      connect.Spec
	unary     *pooledUnary
	deadline  callDeadline
	timeout   time.Duration // until the deadline; zero: none
}

// setDeadline computes the call's deadline, and reports whether it is still to come.
func (c *fastCall) setDeadline() bool {
	deadline, limited := c.ctx.Deadline()
	if limited {
		c.deadline.at = deadline
		c.timeout = time.Until(deadline)
		return c.timeout > 0
	}
	c.deadline = c.calls.defaultDeadline()
	if c.deadline.byDefault {
		c.timeout = c.calls.cfg.CallTimeout
	}
	return true
}

// do makes the call by a route that is known, and reports whether it began.
func (c *fastCall) do(by *link.PreparedCall, r *route, res any) (done bool, err error) {
	u := c.unary.call
	c.calls.origins.beginCall()
	if r.pending != nil {
		r.pending.Add(1)
	}
	progress := u.Do(c.ctx, by, c.deadline.at, c.timeout, c.unary.request)
	if progress != link.Unsent {
		c.calls.retries.deposit()
	}
	if progress == link.Unfinished {
		return true, c.fallBack(r, res)
	}
	if r.pending != nil {
		r.pending.Add(-1)
	}
	c.calls.origins.endCall()
	if progress == link.Unsent {
		return false, nil
	}
	if err := unmarshal(u.Answer(), res); err != nil {
		return true, c.calls.identity.invalidResponse(u.Answer(), res, err)
	}
	return true, nil
}

// fallBack turns a call that needs more than the fast path into a [clientStream], which can be retried, and waits for
// its response.
func (c *fastCall) fallBack(r *route, res any) error {
	s := &clientStream{attempts: attempts{
		calls: c.calls, namespace: c.namespace, ctx: c.ctx, deadline: c.deadline, spec: c.spec, info: new(connect.CallInfo), callerBlocks: true,
		caller: c.calls.identity.callerFor(c.ctx), route: *r, pending: pendingCount{r.pending}, number: 1,
		state: callState{requests: requestsSent},
	}}
	a := &s.attempts
	defer a.close()
	c.unary.call.ToClientCall(c.ctx, a.openParams(&r.target), &a.first)
	a.adoptFirst(link.CopyBuffer(c.unary.request))
	return s.Receive(res)
}
