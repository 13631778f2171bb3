package rpcmesh

import (
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// TestRouteCache: a route is cached as long as all that it depends on stays the same, and only then.
func TestRouteCache(t *testing.T) {
	rt := newRouter(new(identity), newLifetime(), new(table), new(origins))
	var w routeCache
	change := map[string]func(){
		"the table":     func() { rt.table.snapshot.Store(new(mesh.Snapshot)) },
		"the links":     func() { rt.table.sessions.Store(&map[mesh.LinkID]*session{}) },
		"the functions": func() { rt.origins.changes.Add(1) },
		"draining":      func() { rt.origins.draining.Store(true) },
		"passing":       func() { rt.relaying.Store(false) },
	}
	a, b := &link.Callee{Cached: true}, &link.Callee{Cached: true}
	toA, toB := link.Route{Namespace: "a"}, link.Route{Namespace: "b"}
	for what, f := range change {
		rt.origins.draining.Store(false)
		rt.relaying.Store(true)
		if _, ok := w.lookup(rt, a); ok {
			t.Fatalf("before %s: a route that nobody stored", what)
		}
		w.store(a, toA)
		w.store(b, toB)
		for range 2 {
			gotA, okA := w.lookup(rt, a)
			gotB, okB := w.lookup(rt, b)
			if !okA || !okB || gotA.Namespace != "a" || gotB.Namespace != "b" {
				t.Errorf("before %s: %v, %v and %v, %v", what, gotA, okA, gotB, okB)
			}
		}
		f()
		for _, to := range []*link.Callee{b, a} {
			if _, ok := w.lookup(rt, to); ok {
				t.Errorf("a route is cached though it depends on %s", what)
			}
		}
		change["the links"]()
	}
}

// TestRouteCacheIsBounded: neither callees that are called once nor ever new ones fill a link's cache.
func TestRouteCacheIsBounded(t *testing.T) {
	rt := newRouter(new(identity), newLifetime(), new(table), new(origins))
	rt.relaying.Store(true)
	var w routeCache
	for range 2 * maxCachedRoutes {
		once, to := new(link.Callee), &link.Callee{Cached: true}
		w.lookup(rt, once)
		w.store(once, link.Route{})
		if _, ok := w.lookup(rt, once); ok {
			t.Fatal("a callee that is called once is cached")
		}
		w.store(to, link.Route{})
		if _, ok := w.lookup(rt, to); !ok || len(w.routes) > maxCachedRoutes {
			t.Fatalf("kept: %v, among %d", ok, len(w.routes))
		}
	}
}
