package rpcmesh

import (
	"iter"
	"time"
)

// WithdrawnFunction is a function that could be called in a namespace and cannot now.
type WithdrawnFunction struct {
	// Procedure is "/pkg.Service/Method".
	Procedure string
	// Origin and OriginName are those of the node that held it last.
	Origin     NodeID
	OriginName string
	// Withdrawn is when it went, by this node's clock.
	Withdrawn time.Time
	// Cause says why, for people: which link fell, which node left.
	Cause string
}

// Withdrawn yields the functions that could be called here and cannot as things are when it is called, sorted
// by procedure. What has been gone for long is forgotten.
func (ns *Namespace) Withdrawn() iter.Seq[WithdrawnFunction] {
	table := ns.node.table.snapshot.Load()
	return func(yield func(WithdrawnFunction) bool) {
		for procedure, a := range table.Withdrawn(ns.name) {
			g := WithdrawnFunction{
				Procedure: procedure, Origin: a.Node, OriginName: a.Name, Withdrawn: a.Withdrawn, Cause: a.Cause,
			}
			if !yield(g) {
				return
			}
		}
	}
}
