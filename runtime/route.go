package rpcmesh

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// route is where a call goes, and the table that said so.
type route struct {
	table   *mesh.Snapshot
	target  mesh.Target
	pending *atomic.Int64 // the target's, where the policy goes by it
}

// resolve picks the origin for a call of spec, other than at the nodes in but. It fails with errAbsent where there is
// none.
func (ns *Namespace) resolve(spec connect.Spec, but ...mesh.NodeID) (route, error) {
	table := ns.node.table.Load()
	choice, ok := table.Find(ns.name, spec.Procedure)
	if !ok {
		return route{}, errAbsent
	}
	if kind := connect.StreamType(choice.Function.StreamType); kind != spec.StreamType {
		return route{}, ns.kindMismatch(spec, kind, choice.Targets[0].Name)
	}
	targets := choice.Targets
	if len(but) > 0 {
		targets = slices.DeleteFunc(slices.Clone(targets), func(t mesh.Target) bool { return slices.Contains(but, t.Node) })
		if len(targets) == 0 {
			return route{}, errNoOtherOrigin
		}
	}
	b := &ns.node.balancer
	r := route{table: table, target: b.pick(spec.Procedure, choice.Policy, targets)}
	if Policy(choice.Policy) == LeastPending {
		r.pending = b.pendingAt(r.target.Node)
	}
	return r, nil
}

// kindMismatch is the error of a call of a function as another kind.
func (ns *Namespace) kindMismatch(spec connect.Spec, kind connect.StreamType, origin string) error {
	info := ErrorInfo{Reason: ReasonKindMismatch, Metadata: map[string]string{
		"namespace": ns.name, "procedure": spec.Procedure, "origin": origin,
	}}
	return info.with(ns.node.failed(connect.CodeUnimplemented, notStarted, fmt.Sprintf(
		"%s is a %s function at node %q, and was called as a %s one: use code generated from its .proto file", spec.Procedure, kind, origin, spec.StreamType)))
}

// errNoOtherOrigin tells a retry to look elsewhere; no caller sees it.
var errNoOtherOrigin = errors.New("the function has no other origin")

// balancer spreads a node's calls over the origins of replicated functions.
type balancer struct {
	turns   sync.Map // procedure to *atomic.Uint64
	pending sync.Map // mesh.NodeID to *atomic.Int64: calls under way
}

func (b *balancer) pick(procedure string, policy mesh.Policy, targets []mesh.Target) mesh.Target {
	return targets[b.pickIndex(procedure, policy, targets)]
}

// pickIndex is pick by the target's index.
func (b *balancer) pickIndex(procedure string, policy mesh.Policy, targets []mesh.Target) int {
	if len(targets) == 1 {
		return 0
	}
	switch Policy(policy) {
	case Random:
		return rand.IntN(len(targets))
	case LeastPending:
		i := rand.IntN(len(targets))
		j := rand.IntN(len(targets) - 1)
		if j >= i {
			j++
		}
		if b.pendingAt(targets[j].Node).Load() < b.pendingAt(targets[i].Node).Load() {
			i = j
		}
		return i
	case Nearest:
		near := 1
		for near < len(targets) && targets[near].Hops == targets[0].Hops {
			near++
		}
		return b.nextTurn(procedure, near)
	case Single, RoundRobin:
	}
	return b.nextTurn(procedure, len(targets))
}

// nextTurn counts the calls of procedure around n.
func (b *balancer) nextTurn(procedure string, n int) int {
	v, ok := b.turns.Load(procedure)
	if !ok {
		v, _ = b.turns.LoadOrStore(procedure, new(atomic.Uint64))
	}
	return int((v.(*atomic.Uint64).Add(1) - 1) % uint64(n))
}

func (b *balancer) pendingAt(node mesh.NodeID) *atomic.Int64 {
	v, ok := b.pending.Load(node)
	if !ok {
		v, _ = b.pending.LoadOrStore(node, new(atomic.Int64))
	}
	return v.(*atomic.Int64)
}

// routeIncoming decides what becomes of a call that came in over a link. It reports lasting where that goes for all calls of
// what is called until the tables, the links or the functions here change, or the node leaves.
func (n *Node) routeIncoming(in *link.Incoming) (r link.Route, lasting bool) {
	if reserved(in.Procedure) {
		return n.routeSchema(in), false
	}
	d := n.table.Load().Route(in.Namespace, mesh.NodeID(in.Origin), in.OriginNamespace, in.Procedure)
	switch d.Action {
	case mesh.Local:
		if m := n.origins.lookup(d.Namespace, in.Procedure); m != nil && !n.origins.draining.Load() {
			return link.Route{Serve: m.serveFunc, NewHandler: m.newUnary}, true
		}
		return n.refuseWithdrawn(in), false
	case mesh.Forward:
		if len(d.Targets) > 1 {
			d.Target = n.balancer.pick(in.Procedure, d.Policy, d.Targets)
		}
		r = n.forward(&d.Target)
		return r, r.Next != nil && len(d.Targets) <= 1
	case mesh.None:
	}
	return n.refuseRouteLost(), false
}

// forward sends a call on towards t.
func (n *Node) forward(t *mesh.Target) link.Route {
	if !n.relaying.Load() {
		return refuseUnavailable(n.leavingInfo(), "the node on the way is leaving")
	}
	next := n.session(t.Link)
	if next == nil {
		return n.refuseRouteLost()
	}
	return link.Route{
		Next: next.link, Namespace: t.LinkNamespace, Origin: link.NodeID(t.Node), OriginNamespace: t.Namespace,
	}
}

// refuseRouteLost refuses a call that has no way on from here.
func (n *Node) refuseRouteLost() link.Route {
	return refuseUnavailable(ErrorInfo{Reason: ReasonRouteLost, Metadata: map[string]string{"node": n.name}}, "the way to the function's node was lost")
}

// refuseWithdrawn refuses a call of a function that this node had.
func (n *Node) refuseWithdrawn(in *link.Incoming) link.Route {
	if n.leaving.Load() {
		return refuseUnavailable(n.leavingInfo(), "the node is leaving")
	}
	return refuseUnavailable(n.withdrawnInfo(in.Namespace, in.Procedure), "the function was withdrawn")
}

// withdrawnInfo is of a function that this node had a moment ago.
func (n *Node) withdrawnInfo(namespace, procedure string) ErrorInfo {
	return ErrorInfo{Reason: ReasonFunctionGone, Metadata: map[string]string{
		"namespace": namespace, "procedure": procedure, "origin": n.name, "origin_id": n.id.String(),
		"gone": time.Now().UTC().Format(time.RFC3339Nano), "cause": n.name + " withdrew it",
	}}
}

func refuseUnavailable(info ErrorInfo, why string) link.Route {
	return refuseWith(info, connect.CodeUnavailable, why)
}
