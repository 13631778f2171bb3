package rpcmesh

import (
	"maps"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// fastPaths are where the unary calls of a namespace go while neither the table nor the node's links change. They never
// change themselves.
type fastPaths struct {
	table       *mesh.Snapshot
	sessions    *map[mesh.LinkID]*session
	byProcedure map[string]*fastPath
}

// maxFastPaths bounds for how many functions the way is kept: each one more copies the others.
const maxFastPaths = 512

// fastPath is where calls of one function go. It never changes.
type fastPath struct {
	policy  mesh.Policy
	targets []mesh.Target        // none where calls have to find their own way: to this node, say
	routes  []route              // to the targets
	links   []*link.PreparedCall // likewise
}

// fastPath returns where calls of a unary function of that name go, or nil where they have to find out by themselves.
func (ns *Namespace) fastPath(procedure string) *fastPath {
	n := ns.node
	table, sessions, known := n.table.snapshot.Load(), n.table.sessions.Load(), ns.fastPaths.Load()
	var byProcedure map[string]*fastPath
	if known != nil && known.table == table && known.sessions == sessions {
		byProcedure = known.byProcedure
	}
	w, ok := byProcedure[procedure]
	if !ok && len(byProcedure) < maxFastPaths {
		w = ns.newFastPath(table, *sessions, procedure)
		ns.storeFastPath(known, &fastPaths{table, sessions, byProcedure}, procedure, w)
	}
	if w == nil || len(w.targets) == 0 {
		return nil
	}
	return w
}

// storeFastPath puts now, with one way more, in the place of known. Of several at a time one does; the others come again.
func (ns *Namespace) storeFastPath(known, now *fastPaths, procedure string, w *fastPath) {
	if w == nil {
		return
	}
	now.byProcedure = maps.Clone(now.byProcedure)
	if now.byProcedure == nil {
		now.byProcedure = map[string]*fastPath{}
	}
	now.byProcedure[procedure] = w
	n := ns.node
	if ns.fastPaths.CompareAndSwap(known, now) && (n.table.snapshot.Load() != now.table || n.table.sessions.Load() != now.sessions) {
		ns.fastPaths.CompareAndSwap(now, nil) // forgetWays may have come too early for it
	}
}

// forgetFastPathsLocked lets go of ways that are none any more, and of the table and the links that they would keep.
func (t *table) forgetFastPathsLocked() {
	for _, ns := range t.namespaces {
		ns.fastPaths.Store(nil)
	}
}

// newFastPath returns where calls of a unary function go by the table, and nil where there is no such function.
func (ns *Namespace) newFastPath(table *mesh.Snapshot, sessions map[mesh.LinkID]*session, procedure string) *fastPath {
	choice, ok := table.Find(ns.name, procedure)
	if !ok || connect.StreamType(choice.Function.StreamType) != connect.StreamTypeUnary {
		return nil
	}
	w := &fastPath{policy: choice.Policy, targets: choice.Targets}
	for _, t := range choice.Targets {
		session := sessions[t.Link]
		if t.Local || session == nil {
			return new(fastPath)
		}
		to, err := session.link.Prepare(ns.node.identity.openTemplate(&t, procedure))
		if err != nil {
			return new(fastPath)
		}
		r := route{table: table, target: t}
		if Policy(choice.Policy) == LeastPending {
			r.pending = ns.node.calls.balancer.pendingAt(t.Node)
		}
		w.routes, w.links = append(w.routes, r), append(w.links, to)
	}
	return w
}
