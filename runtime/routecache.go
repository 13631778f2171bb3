package rpcmesh

import (
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// routeCache is the decisions of [router.routeIncoming] that last, for the calls of one link. Only the link's reader
// uses it.
type routeCache struct {
	version routeVersion
	routes  map[*link.Callee]link.Route
	// lastCallee and lastRoute are the entry that was used last.
	lastCallee *link.Callee
	lastRoute  link.Route
}

// routeVersion is what a decision depends on, besides the callee and what the link carries, which does not change.
// While the node leaves, or relays no more, nothing is cached.
type routeVersion struct {
	table    *mesh.Snapshot
	sessions *map[mesh.LinkID]*session
	changes  uint64 // of the functions here
}

// maxCachedRoutes bounds the entries of a cache.
const maxCachedRoutes = 512

// lookup returns the cached route to a callee.
func (c *routeCache) lookup(rt *router, to *link.Callee) (link.Route, bool) {
	now := routeVersion{table: rt.table.snapshot.Load(), sessions: rt.table.sessions.Load(), changes: rt.origins.changes.Load()}
	if now != c.version {
		*c = routeCache{version: now}
	}
	if rt.origins.draining.Load() || !rt.relaying.Load() {
		return link.Route{}, false
	}
	if to == c.lastCallee {
		return c.lastRoute, true
	}
	r, ok := c.routes[to]
	if ok {
		c.lastCallee, c.lastRoute = to, r
	}
	return r, ok
}

// store caches the route that was decided on after lookup had found none.
func (c *routeCache) store(to *link.Callee, r link.Route) {
	if !to.Cached {
		return
	}
	if c.routes == nil || len(c.routes) >= maxCachedRoutes {
		c.routes = map[*link.Callee]link.Route{}
	}
	c.routes[to] = r
	c.lastCallee, c.lastRoute = to, r
}
