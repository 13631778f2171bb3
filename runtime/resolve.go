package rpcmesh

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// route is the target of a call, and the snapshot that named it.
type route struct {
	table   *mesh.Snapshot
	target  mesh.Target
	pending *atomic.Int64 // the target's counter, for [PolicyLeastPending]
}

// resolve picks the origin for a call of spec, other than at the nodes in but. It fails with errAbsent where there is
// none.
func (c *calls) resolve(namespace string, spec connect.Spec, but ...NodeID) (route, error) {
	table := c.table.snapshot.Load()
	choice, ok := table.Find(namespace, spec.Procedure)
	if !ok {
		return route{}, errAbsent
	}
	if kind := connect.StreamType(choice.Function.StreamType); kind != spec.StreamType {
		return route{}, c.kindMismatch(namespace, spec, kind, choice.Targets[0].Name)
	}
	targets := choice.Targets
	if len(but) > 0 {
		targets = slices.DeleteFunc(slices.Clone(targets), func(t mesh.Target) bool { return slices.Contains(but, t.Node) })
		if len(targets) == 0 {
			return route{}, errNoOtherOrigin
		}
	}
	b := c.balancer
	r := route{table: table, target: b.pick(spec.Procedure, choice.Policy, targets)}
	if choice.Policy == PolicyLeastPending {
		r.pending = b.pendingAt(r.target.Node)
	}
	return r, nil
}

// kindMismatch is the error of a call whose stream type is not the function's.
func (c *calls) kindMismatch(namespace string, spec connect.Spec, kind connect.StreamType, origin string) error {
	info := ErrorInfo{Reason: ReasonKindMismatch, Metadata: map[string]string{
		"namespace": namespace, "procedure": spec.Procedure, "origin": origin,
	}}
	return info.with(c.identity.failed(connect.CodeUnimplemented, notStarted, fmt.Sprintf(
		"%s is a %s function at node %q, and was called as a %s one: use code generated from its .proto file", spec.Procedure, kind, origin, spec.StreamType)))
}

// errNoOtherOrigin tells a retry to look elsewhere. Callers never see it.
var errNoOtherOrigin = errors.New("the function has no other origin")
