package rpcmesh

import (
	"maps"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// fastPaths are the routes of a namespace's unary calls, as long as neither the table nor the node's links change. It
// is immutable.
type fastPaths struct {
	table       *mesh.Snapshot
	sessions    *map[mesh.LinkID]*session
	byProcedure map[string]*fastPath
}

// maxFastPaths bounds how many functions have one: adding one copies the others.
const maxFastPaths = 512

// fastPath is the routes of one function. It is immutable.
type fastPath struct {
	policy  mesh.Policy
	targets []mesh.Target        // empty: the function has no fast path
	routes  []route              // to the targets
	links   []*link.PreparedCall // likewise
}

// fastPath returns the routes of a unary function, or nil where it has no fast path.
func (ns *Namespace) fastPath(procedure string) *fastPath {
	n := ns.node
	table := n.table.snapshot.Load()
	sessions := n.table.sessions.Load()
	known := ns.fastPaths.Load()
	var byProcedure map[string]*fastPath
	if known != nil && known.table == table && known.sessions == sessions {
		byProcedure = known.byProcedure
	}
	p, ok := byProcedure[procedure]
	if !ok && len(byProcedure) < maxFastPaths {
		p = ns.newFastPath(table, *sessions, procedure)
		ns.storeFastPath(known, &fastPaths{table, sessions, byProcedure}, procedure, p)
	}
	if p == nil || len(p.targets) == 0 {
		return nil
	}
	return p
}

// storeFastPath replaces known by now, with one more fast path. Of several concurrent updates one wins; the others
// are repeated by later calls.
func (ns *Namespace) storeFastPath(known, now *fastPaths, procedure string, p *fastPath) {
	if p == nil {
		return
	}
	now.byProcedure = maps.Clone(now.byProcedure)
	if now.byProcedure == nil {
		now.byProcedure = map[string]*fastPath{}
	}
	now.byProcedure[procedure] = p
	n := ns.node
	if ns.fastPaths.CompareAndSwap(known, now) && (n.table.snapshot.Load() != now.table || n.table.sessions.Load() != now.sessions) {
		ns.fastPaths.CompareAndSwap(now, nil) // forgetFastPathsLocked may have come too early
	}
}

// forgetFastPathsLocked drops all fast paths, which are outdated and would keep the old snapshot and links in memory.
func (t *table) forgetFastPathsLocked() {
	for _, ns := range t.namespaces {
		ns.fastPaths.Store(nil)
	}
}

// newFastPath computes the routes of a unary function. It returns nil where there is no such function.
func (ns *Namespace) newFastPath(table *mesh.Snapshot, sessions map[mesh.LinkID]*session, procedure string) *fastPath {
	choice, ok := table.Find(ns.name, procedure)
	if !ok || connect.StreamType(choice.Function.StreamType) != connect.StreamTypeUnary {
		return nil
	}
	p := &fastPath{policy: choice.Policy, targets: choice.Targets}
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
		if choice.Policy == PolicyLeastPending {
			r.pending = ns.node.calls.balancer.pendingAt(t.Node)
		}
		p.routes, p.links = append(p.routes, r), append(p.links, to)
	}
	return p
}
