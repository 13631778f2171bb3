package rpcmesh

import (
	"iter"
	"time"
)

// GoneFunction is a function that could be called in a namespace and cannot now.
type GoneFunction struct {
	// Procedure is "/pkg.Service/Method".
	Procedure string
	// Origin and OriginName are those of the node that held it last.
	Origin     NodeID
	OriginName string
	// Gone is when it went, by this node's clock.
	Gone time.Time
	// Cause says why, for people: which link fell, which node left.
	Cause string
}

// Gone yields the functions that could be called here and cannot as things are when it is called, sorted
// by procedure. What has been gone for long is forgotten.
func (ns *Namespace) Gone() iter.Seq[GoneFunction] {
	table := ns.node.table.snapshot.Load()
	return func(yield func(GoneFunction) bool) {
		for procedure, a := range table.Gone(ns.name) {
			g := GoneFunction{
				Procedure: procedure, Origin: NodeID(a.Node), OriginName: a.Name, Gone: a.Withdrawn, Cause: a.Cause,
			}
			if !yield(g) {
				return
			}
		}
	}
}
