package rpcmesh

import (
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// routeCache is where calls go that come in over a link, as it was decided for others before them. Only the link's reader
// uses it.
type routeCache struct {
	version routeVersion
	routes  map[*link.Callee]link.Route
	// lastCallee and route are the newest of them.
	lastCallee *link.Callee
	lastRoute  link.Route
}

// routeVersion is what a way depends on, besides what is called and what the link carries, which stays as it is. A node that
// leaves, or passes nothing on any more, decides on every call.
type routeVersion struct {
	table    *mesh.Snapshot
	sessions *map[mesh.LinkID]*session
	changes  uint64 // of the functions here
}

// maxCachedRoutes bounds how many ways a link keeps.
const maxCachedRoutes = 512

// lookup returns the way to what is called, if it is known.
func (w *routeCache) lookup(rt *router, to *link.Callee) (link.Route, bool) {
	now := routeVersion{table: rt.table.snapshot.Load(), sessions: rt.table.sessions.Load(), changes: rt.origins.changes.Load()}
	if now != w.version {
		*w = routeCache{version: now}
	}
	if rt.origins.draining.Load() || !rt.relaying.Load() {
		return link.Route{}, false
	}
	if to == w.lastCallee {
		return w.lastRoute, true
	}
	r, ok := w.routes[to]
	if ok {
		w.lastCallee, w.lastRoute = to, r
	}
	return r, ok
}

// store notes the way that was decided on since find has looked for it.
func (w *routeCache) store(to *link.Callee, r link.Route) {
	if !to.Cached {
		return
	}
	if w.routes == nil || len(w.routes) >= maxCachedRoutes {
		w.routes = map[*link.Callee]link.Route{}
	}
	w.routes[to] = r
	w.lastCallee, w.lastRoute = to, r
}
