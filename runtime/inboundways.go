package rpcmesh

import (
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// inboundWays is where calls go that come in over a link, as it was decided for others before them. Only the link's reader
// uses it.
type inboundWays struct {
	from wayState
	to   map[*link.Callee]link.Route
	// last and route are the newest of them.
	last  *link.Callee
	route link.Route
}

// wayState is what a way depends on, besides what is called and what the link carries, which stays as it is. A node that
// leaves, or passes nothing on any more, decides on every call.
type wayState struct {
	table    *mesh.Snapshot
	sessions *map[mesh.LinkID]*session
	changes  uint64 // of the functions here
}

// maxInboundWays bounds how many ways a link keeps.
const maxInboundWays = 512

// find returns the way to what is called, if it is known.
func (w *inboundWays) find(n *Node, to *link.Callee) (link.Route, bool) {
	now := wayState{table: n.table.Load(), sessions: n.sessions.Load(), changes: n.origins.changes.Load()}
	if now != w.from {
		*w = inboundWays{from: now}
	}
	if n.origins.draining.Load() || !n.passing.Load() {
		return link.Route{}, false
	}
	if to == w.last {
		return w.route, true
	}
	r, ok := w.to[to]
	if ok {
		w.last, w.route = to, r
	}
	return r, ok
}

// keep notes the way that was decided on since find has looked for it.
func (w *inboundWays) keep(to *link.Callee, r link.Route) {
	if !to.Cached {
		return
	}
	if w.to == nil || len(w.to) >= maxInboundWays {
		w.to = map[*link.Callee]link.Route{}
	}
	w.to[to] = r
	w.last, w.route = to, r
}
