package rpcmesh

import (
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// TestWays: a way is known as long as all holds that it was decided by, and only then.
func TestWays(t *testing.T) {
	var n Node
	var w routeCache
	change := map[string]func(){
		"the table":     func() { n.table.Store(new(mesh.Snapshot)) },
		"the links":     func() { n.sessions.Store(&map[mesh.LinkID]*session{}) },
		"the functions": func() { n.origins.changes.Add(1) },
		"draining":      func() { n.origins.draining.Store(true) },
		"passing":       func() { n.relaying.Store(false) },
	}
	a, b := &link.Callee{Cached: true}, &link.Callee{Cached: true}
	toA, toB := link.Route{Namespace: "a"}, link.Route{Namespace: "b"}
	for what, f := range change {
		n.origins.draining.Store(false)
		n.relaying.Store(true)
		if _, ok := w.lookup(&n, a); ok {
			t.Fatalf("before %s: a way that nobody has found", what)
		}
		w.store(a, toA)
		w.store(b, toB)
		for range 2 {
			gotA, okA := w.lookup(&n, a)
			gotB, okB := w.lookup(&n, b)
			if !okA || !okB || gotA.Namespace != "a" || gotB.Namespace != "b" {
				t.Errorf("before %s: %v, %v and %v, %v", what, gotA, okA, gotB, okB)
			}
		}
		f()
		for _, to := range []*link.Callee{b, a} {
			if _, ok := w.lookup(&n, to); ok {
				t.Errorf("a way is known though it depends on %s", what)
			}
		}
		change["the links"]()
	}
}

// TestWaysAreBounded: neither what is called once nor ever new functions fill a link's ways.
func TestWaysAreBounded(t *testing.T) {
	var n Node
	n.relaying.Store(true)
	var w routeCache
	for range 2 * maxCachedRoutes {
		once, to := new(link.Callee), &link.Callee{Cached: true}
		w.lookup(&n, once)
		w.store(once, link.Route{})
		if _, ok := w.lookup(&n, once); ok {
			t.Fatal("what is called once is kept")
		}
		w.store(to, link.Route{})
		if _, ok := w.lookup(&n, to); !ok || len(w.routes) > maxCachedRoutes {
			t.Fatalf("kept: %v, among %d", ok, len(w.routes))
		}
	}
}
