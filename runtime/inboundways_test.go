package rpcmesh

import (
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// TestWays: a way is known as long as all holds that it was decided by, and only then.
func TestWays(t *testing.T) {
	var n Node
	var w inboundWays
	change := map[string]func(){
		"the table":     func() { n.table.Store(new(mesh.Snapshot)) },
		"the links":     func() { n.sessions.Store(&map[mesh.LinkID]*session{}) },
		"the functions": func() { n.origins.changes.Add(1) },
		"draining":      func() { n.origins.draining.Store(true) },
		"passing":       func() { n.passing.Store(false) },
	}
	a, b := &link.Callee{Cached: true}, &link.Callee{Cached: true}
	toA, toB := link.Route{Namespace: "a"}, link.Route{Namespace: "b"}
	for what, f := range change {
		n.origins.draining.Store(false)
		n.passing.Store(true)
		if _, ok := w.find(&n, a); ok {
			t.Fatalf("before %s: a way that nobody has found", what)
		}
		w.keep(a, toA)
		w.keep(b, toB)
		for range 2 {
			gotA, okA := w.find(&n, a)
			gotB, okB := w.find(&n, b)
			if !okA || !okB || gotA.Namespace != "a" || gotB.Namespace != "b" {
				t.Errorf("before %s: %v, %v and %v, %v", what, gotA, okA, gotB, okB)
			}
		}
		f()
		for _, to := range []*link.Callee{b, a} {
			if _, ok := w.find(&n, to); ok {
				t.Errorf("a way is known though it depends on %s", what)
			}
		}
		change["the links"]()
	}
}

// TestWaysAreBounded: neither what is called once nor ever new functions fill a link's ways.
func TestWaysAreBounded(t *testing.T) {
	var n Node
	n.passing.Store(true)
	var w inboundWays
	for range 2 * maxInboundWays {
		once, to := new(link.Callee), &link.Callee{Cached: true}
		w.find(&n, once)
		w.keep(once, link.Route{})
		if _, ok := w.find(&n, once); ok {
			t.Fatal("what is called once is kept")
		}
		w.keep(to, link.Route{})
		if _, ok := w.find(&n, to); !ok || len(w.to) > maxInboundWays {
			t.Fatalf("kept: %v, among %d", ok, len(w.to))
		}
	}
}
