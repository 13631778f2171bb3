package mesh

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// TestLookUpsDoNotAllocate counts allocations of look-ups of all sorts.
func TestLookUpsDoNotAllocate(t *testing.T) {
	c := newCluster(t)
	a, b, d := c.add("a"), c.add("b"), c.add("d")
	c.must(a.core.DeclareGroup(c.now, "all", []string{"one", "two"}, false))
	b.declare("one", "two")
	d.declare("all")
	c.link(b, a, "one", "two")
	c.link(d, a, "all")
	c.must(b.register("one", "/t.B/One"))
	c.must(d.register("all", "/t.D/Get"))
	for _, n := range []*simNode{a, b} {
		c.settle()
		c.must(n.core.Register(c.now, "two", []Function{{Procedure: "/t.S/Spread", Policy: PolicyRandom}}))
	}
	c.must(b.core.Register(c.now, "one", []Function{{Procedure: "/t.S/Kept", Policy: PolicyRandom, Schema: []byte("b")}}))
	c.now = c.now.Add(time.Second)
	c.must(a.core.Register(c.now, "one", []Function{{Procedure: "/t.S/Kept", Policy: PolicyRandom, Schema: []byte("a")}}))
	c.settle()
	s, node, far := a.core.Snapshot(), a.core.cfg.ID, b.core.cfg.ID
	for name, do := range map[string]func() bool{
		"single":    func() bool { _, ok := s.Find("one", "/t.B/One"); return ok },
		"group":     func() bool { _, ok := s.Find("all", "/t.S/Spread"); return ok },
		"replicas":  func() bool { c, _ := s.Find("two", "/t.S/Spread"); return len(c.Targets) == 2 },
		"offered":   func() bool { c, ok := s.Find("one", "/t.D/Get"); return ok && c.Targets[0].LinkNamespace == "all" },
		"relay":     func() bool { return s.Route("one", far, "", "/t.B/One").Action == Forward },
		"local":     func() bool { return s.Route("two", node, "", "/t.S/Spread").Action == Local },
		"into all":  func() bool { return s.Route("one", node, "", "/t.D/Get").Action == Forward },
		"out of it": func() bool { return s.Route("all", node, "", "/t.B/One").Action == Forward },
		"spread":    func() bool { return len(s.Route("all", node, "", "/t.S/Spread").Targets) == 2 },
		"kept out":  func() bool { c, _ := s.Find("one", "/t.S/Kept"); return len(c.Targets) == 1 },
		"lead":      func() bool { _, t, _ := s.Lead("all", "/t.S/Kept"); return t.Node == far },
		"lead of it": func() bool {
			d := s.RouteLead("all", node, "", "/t.S/Kept")
			return d.Action == Forward && d.Target.Node == far
		},
		"unknown": func() bool { _, ok := s.Find("one", "/t.S/None"); return !ok },
	} {
		if !do() {
			t.Errorf("%s: not as expected", name)
		}
		if n := testing.AllocsPerRun(100, func() { do() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// BenchmarkFind looks procedures up among a million functions of a thousand nodes: the same thousand
// again and again, as a busy node does, and any of them, which mostly waits for memory.
func BenchmarkFind(b *testing.B) {
	c := newCluster(b)
	n, hub := c.add("node"), c.add("node0000")
	n.declare("default")
	hub.declare("default")
	c.link(n, hub, "default")
	d := n.core.namespaces["default"].domain
	link := func(r *record, to string, start uint64) {
		r.version++
		d.putItem(r, &item{version: r.version, kind: kindNeighbour, extra: &extra{neighbour: nodeid.ID(id(to)), cost: 1, inc: start}})
	}
	var all []string
	for i := range 1000 {
		r := d.addRecord(vertex{nodeid.ID(id(fmt.Sprintf("node%04d", i))), "default"}, hub.started, process{start: hub.started})
		link(r, "node0000", hub.started)
		link(r, "node", n.started)
		if i > 0 {
			link(d.byVertex[vertex{hub.core.cfg.ID, "default"}], fmt.Sprintf("node%04d", i), hub.started)
		}
		for _, p := range procedures(i, 1000) {
			r.version++
			d.putItem(r, &item{version: r.version, fn: Function{Procedure: p}})
			all = append(all, p)
		}
	}
	s := n.core.Snapshot()
	rnd := rand.New(rand.NewPCG(1, 1))
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, test := range []struct {
		name string
		set  []string
	}{{"one", all[:1]}, {"thousand", all[:1000]}, {"million", all}} {
		for i, p := range test.set[:min(1000, len(test.set))] {
			test.set[i] = string([]byte(p)) // a caller has a string of its own
		}
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, ok := s.Find("default", test.set[i]); !ok {
					b.Fatal("not found")
				}
				i++
				if i == len(test.set) {
					i = 0
				}
			}
		})
	}
}

// BenchmarkRoute resolves a call at a relay.
func BenchmarkRoute(b *testing.B) {
	c := graph(b, 100, rand.New(rand.NewPCG(1, 1)))
	s, far := c.nodes[0].core.Snapshot(), c.nodes[99].core.cfg.ID
	b.ReportAllocs()
	for b.Loop() {
		if s.Route("default", far, "", "/t.N99/Get").Action != Forward {
			b.Fatal("no way")
		}
	}
}
