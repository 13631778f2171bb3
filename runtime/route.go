package rpcmesh

import (
	"sync/atomic"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// router decides where calls go that come in over links. See [session.Route].
type router struct {
	identity *identity
	life     *lifetime
	table    *table
	origins  *origins
	balancer balancer
	relaying atomic.Bool // calls are passed on
}

func newRouter(i *identity, life *lifetime, t *table, os *origins) *router {
	rt := &router{identity: i, life: life, table: t, origins: os}
	rt.relaying.Store(true)
	return rt
}

// routeIncoming decides where a call goes that came in over a link. It reports lasting where the decision holds for
// all calls of the same callee until the tables, the links or the functions here change, or the node leaves.
func (rt *router) routeIncoming(in *link.Incoming) (r link.Route, lasting bool) {
	if reserved(in.Procedure) {
		return rt.routeSchema(in), false
	}
	d := rt.table.snapshot.Load().Route(in.Namespace, in.Origin, in.OriginNamespace, in.Procedure)
	switch d.Action {
	case mesh.Local:
		if m := rt.origins.lookup(d.Namespace, in.Procedure); m != nil && !rt.origins.draining.Load() {
			return link.Route{Serve: m.serveFunc, NewHandler: m.newUnary}, true
		}
		return rt.refuseWithdrawn(in), false
	case mesh.Forward:
		if len(d.Targets) > 1 {
			d.Target = rt.balancer.pick(in.Procedure, d.Policy, d.Targets)
		}
		r = rt.forward(&d.Target)
		return r, r.Next != nil && len(d.Targets) <= 1
	case mesh.None:
	}
	return rt.identity.refuseRouteLost(), false
}

// forward passes a call on towards t.
func (rt *router) forward(t *mesh.Target) link.Route {
	if !rt.relaying.Load() {
		return refuseUnavailable(rt.identity.leavingInfo(), "the node on the way is leaving")
	}
	next := rt.table.session(t.Link)
	if next == nil {
		return rt.identity.refuseRouteLost()
	}
	return link.Route{
		Next: next.link, Namespace: t.LinkNamespace, Origin: t.Node, OriginNamespace: t.Namespace,
	}
}

// refuseRouteLost refuses a call that has no route from here.
func (i *identity) refuseRouteLost() link.Route {
	return refuseUnavailable(ErrorInfo{Reason: ReasonRouteLost, Metadata: map[string]string{"node": i.name}}, "the way to the function's node was lost")
}

// refuseWithdrawn refuses a call of a function that this node had.
func (rt *router) refuseWithdrawn(in *link.Incoming) link.Route {
	if rt.life.leaving.Load() {
		return refuseUnavailable(rt.identity.leavingInfo(), "the node is leaving")
	}
	return refuseUnavailable(rt.identity.withdrawnInfo(in.Namespace, in.Procedure), "the function was withdrawn")
}

func refuseUnavailable(info ErrorInfo, why string) link.Route {
	return refuseWith(info, connect.CodeUnavailable, why)
}
