package rpcmesh

import (
	"context"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// pooledUnary is what a unary call takes that is made in one go: short, over a link, and seen by nobody but its stub. Its
// node uses it again.
type pooledUnary struct {
	call    *link.Unary
	request []byte
}

// getUnary returns one to use. A pool of all nodes would not do: there are channels in it, which belong to the
// bubble that they were made in where nodes run in those of package synctest.
func (c *calls) getUnary() *pooledUnary {
	if u, ok := c.unaryPool.Get().(*pooledUnary); ok {
		return u
	}
	return &pooledUnary{call: link.NewUnary()}
}

// maxFastRequest is the longest request of a call that is made in one go.
const maxFastRequest = 8 << 10

// callFast makes a unary call in one go, and reports whether it was one for that: otherwise nothing has been done. On
// what is out of the ordinary it goes on as any other.
func (ns *Namespace) callFast(ctx context.Context, spec connect.Spec, req, res any) (done bool, err error) {
	m, ok := req.(proto.Message)
	if !ok || !isPlain(ctx) || ns.node.life.ctx.Err() != nil {
		return false, nil
	}
	w := ns.fastPath(spec.Procedure)
	if w == nil || proto.Size(m) > maxFastRequest {
		return false, nil
	}
	u := ns.node.calls.getUnary()
	defer ns.node.calls.unaryPool.Put(u)
	if u.request, err = marshalOptions.MarshalAppend(u.request[:0], m); err != nil {
		return false, nil
	}
	c := fastCall{calls: ns.node.calls, namespace: ns.name, ctx: ctx, spec: spec, unary: u}
	if !c.setDeadline() {
		return false, nil
	}
	i := ns.node.calls.balancer.pickIndex(spec.Procedure, w.policy, w.targets)
	return c.do(w.links[i], &w.routes[i], res)
}

// isPlain reports whether nothing is asked of a call in ctx, which has not ended, but to be made.
func isPlain(ctx context.Context) bool {
	if _, asked := connect.CallInfoForClientContext(ctx); asked {
		return false
	}
	return ctx.Value(outsideKey{}) == nil && ctx.Err() == nil
}

// fastCall is one call that is made in one go. It stays on its caller's stack.
type fastCall struct {
	calls     *calls
	namespace string
	ctx       context.Context //nolint:containedctx // it is the call's, for as long
	spec      connect.Spec
	unary     *pooledUnary
	deadline  callDeadline
	timeout   time.Duration // until the deadline; zero: none
}

// setDeadline finds out when the call's time is up, and reports whether it is not yet.
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

// do makes the call by a way, and reports whether it began.
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

// fallBack makes what is left of the call a [clientStream], as which it can be tried again, and waits for its response.
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
