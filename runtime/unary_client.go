package rpcmesh

import (
	"context"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// shortUnary is what a unary call takes that is made in one go: short, over a link, and seen by nobody but its stub. Its
// node uses it again.
type shortUnary struct {
	call    *link.Unary
	request []byte
}

// shortUnary returns one to use. A pool of all nodes would not do: there are channels in it, which belong to the
// bubble that they were made in where nodes run in those of package synctest.
func (n *Node) shortUnary() *shortUnary {
	if u, ok := n.shorts.Get().(*shortUnary); ok {
		return u
	}
	return &shortUnary{call: link.NewUnary()}
}

// maxShort is the longest request of a call that is made in one go.
const maxShort = 8 << 10

// callShort makes a unary call in one go, and reports whether it was one for that: otherwise nothing has been done. On
// what is out of the ordinary it goes on as any other.
func (ns *Namespace) callShort(ctx context.Context, spec connect.Spec, req, res any) (done bool, err error) {
	m, ok := req.(proto.Message)
	if !ok || !plain(ctx) || ns.node.ctx.Err() != nil {
		return false, nil
	}
	w := ns.way(spec.Procedure)
	if w == nil || proto.Size(m) > maxShort {
		return false, nil
	}
	u := ns.node.shortUnary()
	defer ns.node.shorts.Put(u)
	if u.request, err = marshalOptions.MarshalAppend(u.request[:0], m); err != nil {
		return false, nil
	}
	c := shortCall{ns: ns, ctx: ctx, spec: spec, u: u}
	if !c.limit() {
		return false, nil
	}
	i := ns.node.balance.choose(spec.Procedure, w.policy, w.targets)
	return c.make(w.links[i], &w.routes[i], res)
}

// plain reports whether nothing is asked of a call in ctx, which has not ended, but to be made.
func plain(ctx context.Context) bool {
	if _, asked := connect.CallInfoForClientContext(ctx); asked {
		return false
	}
	return ctx.Value(outsideKey{}) == nil && ctx.Err() == nil
}

// shortCall is one call that is made in one go. It stays on its caller's stack.
type shortCall struct {
	ns       *Namespace
	ctx      context.Context //nolint:containedctx // it is the call's, for as long
	spec     connect.Spec
	u        *shortUnary
	deadline time.Time // as outgoing has it
	limited  bool
	timeout  time.Duration // until then
}

// limit finds out when the call's time is up, and reports whether it is not yet.
func (c *shortCall) limit() bool {
	if deadline, limited := c.ctx.Deadline(); limited {
		c.deadline, c.timeout = deadline, time.Until(deadline)
		return c.timeout > 0
	}
	if c.timeout = c.ns.node.cfg.CallTimeout; c.timeout > 0 {
		c.deadline, c.limited = time.Now().Add(c.timeout), true
	}
	return true
}

// make makes the call by a way, and reports whether it began.
func (c *shortCall) make(by *link.PreparedCall, r *route, res any) (done bool, err error) {
	n, u := c.ns.node, c.u.call
	n.origins.begin()
	if r.pending != nil {
		r.pending.Add(1)
	}
	progress := u.Do(c.ctx, by, c.deadline, c.timeout, c.u.request)
	if progress != link.Unsent {
		n.retries.call()
	}
	if progress == link.Unfinished {
		return true, c.goOn(r, res)
	}
	if r.pending != nil {
		r.pending.Add(-1)
	}
	n.origins.end()
	if progress == link.Unsent {
		return false, nil
	}
	if err := unmarshal(u.Answer(), res); err != nil {
		return true, n.invalidResponse(u.Answer(), res, err)
	}
	return true, nil
}

// goOn makes what is left of the call an [outgoing], as which it can be tried again, and waits for its response.
func (c *shortCall) goOn(r *route, res any) error {
	s := &outgoing{
		ns: c.ns, ctx: c.ctx, deadline: c.deadline, limited: c.limited, spec: c.spec, info: new(connect.CallInfo),
		prompt: true, caller: c.ns.node.callerFor(c.ctx), route: *r, pending: r.pending, attempts: 1, closed: true,
	}
	defer func() { _ = s.Close() }() // always nil
	c.u.call.ToClientCall(c.ctx, s.wire(&r.target), &s.first)
	s.call = &s.first
	s.keep(link.CopyBuffer(c.u.request))
	return s.Receive(res)
}
