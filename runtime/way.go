package rpcmesh

import (
	"maps"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// ways are where the unary calls of a namespace go while neither the table nor the node's links change. They never
// change themselves.
type ways struct {
	table       *mesh.Snapshot
	sessions    *map[mesh.LinkID]*session
	byProcedure map[string]*way
}

// maxWays bounds for how many functions the way is kept: each one more copies the others.
const maxWays = 512

// way is where calls of one function go. It never changes.
type way struct {
	policy  mesh.Policy
	targets []mesh.Target        // none where calls have to find their own way: to this node, say
	routes  []route              // to the targets
	links   []*link.PreparedCall // likewise
}

// way returns where calls of a unary function of that name go, or nil where they have to find out by themselves.
func (ns *Namespace) way(procedure string) *way {
	n := ns.node
	table, sessions, known := n.table.Load(), n.sessions.Load(), ns.ways.Load()
	var byProcedure map[string]*way
	if known != nil && known.table == table && known.sessions == sessions {
		byProcedure = known.byProcedure
	}
	w, ok := byProcedure[procedure]
	if !ok && len(byProcedure) < maxWays {
		w = ns.findWay(table, *sessions, procedure)
		ns.keepWay(known, &ways{table, sessions, byProcedure}, procedure, w)
	}
	if w == nil || len(w.targets) == 0 {
		return nil
	}
	return w
}

// keepWay puts now, with one way more, in the place of known. Of several at a time one does; the others come again.
func (ns *Namespace) keepWay(known, now *ways, procedure string, w *way) {
	if w == nil {
		return
	}
	now.byProcedure = maps.Clone(now.byProcedure)
	if now.byProcedure == nil {
		now.byProcedure = map[string]*way{}
	}
	now.byProcedure[procedure] = w
	n := ns.node
	if ns.ways.CompareAndSwap(known, now) && (n.table.Load() != now.table || n.sessions.Load() != now.sessions) {
		ns.ways.CompareAndSwap(now, nil) // forgetWays may have come too early for it
	}
}

// forgetWays lets go of ways that are none any more, and of the table and the links that they would keep. The caller
// holds n.mu.
func (n *Node) forgetWays() {
	for _, ns := range n.namespaces {
		ns.ways.Store(nil)
	}
}

// findWay returns where calls of a unary function go by the table, and nil where there is no such function.
func (ns *Namespace) findWay(table *mesh.Snapshot, sessions map[mesh.LinkID]*session, procedure string) *way {
	choice, ok := table.Find(ns.name, procedure)
	if !ok || connect.StreamType(choice.Function.StreamType) != connect.StreamTypeUnary {
		return nil
	}
	w := &way{policy: choice.Policy, targets: choice.Targets}
	for _, t := range choice.Targets {
		session := sessions[t.Link]
		if t.Local || session == nil {
			return new(way)
		}
		to, err := session.link.Prepare(ns.node.openOf(&t, procedure))
		if err != nil {
			return new(way)
		}
		r := route{table: table, target: t}
		if Policy(choice.Policy) == LeastPending {
			r.pending = ns.node.balance.count(t.Node)
		}
		w.routes, w.links = append(w.routes, r), append(w.links, to)
	}
	return w
}

// openOf is what calls of this node's have in common that go to a target over a link.
func (n *Node) openOf(t *mesh.Target, procedure string) *link.Open {
	o := &link.Open{
		Namespace: t.LinkNamespace, Procedure: procedure, Origin: link.NodeID(t.Node), OriginNamespace: t.Namespace,
		Hops: link.MaxHops,
	}
	if !n.proxy {
		o.Caller = &n.self
	}
	return o
}
