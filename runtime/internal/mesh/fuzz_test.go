package mesh

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// FuzzRecovery lets a peer tell anything. The node must not panic, must stay sound and bounded, and
// once the link is cut must be one with its honest peer. FuzzReceive is many times as quick.
func FuzzRecovery(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(conversation(f, seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newCluster(t)
		node, honest, evil := c.add("node"), c.add("honest"), c.add("evil")
		node.core.cfg.Limits = Limits{Members: 20, MemberFunctions: 50, Functions: 100, Neighbours: 20}.withDefaults()
		node.core.keptRemovals = 3
		c.must(node.core.DeclareGroup(c.now, "group", []string{"default", "other"}, false))
		honest.declare("default", "group")
		evil.declare("default", "group")
		c.must(honest.register("default", "/t.Honest/Get"))
		c.link(node, honest, "default", "group")
		c.settle()
		l := c.link(evil, node, "default", "group")
		for table := range tablesOf(data) {
			if ns := table.GetNamespace(); ns != "default" && ns != "group" {
				table.Namespace = "default"
			}
			table.Seen = min(table.GetSeen(), node.core.links[l.id].domain(table.GetNamespace()).tablesSent)
			if node.core.Receive(c.now, l.id, table) != nil {
				break
			}
			sound(t, node)
			drain(t, node, l)
		}
		c.cut(l, "cut")
		c.settle()
		for range 3 {
			c.advance(DigestInterval)
			c.settle()
		}
		sound(t, node)
		if _, at, _, err := c.call(node, "default", "/t.Honest/Get"); err == nil && at != honest {
			t.Errorf("a call of the honest node ends at %s", at.name)
		}
		for v, r := range honest.core.namespaces["default"].domain.byVertex {
			if o := node.core.namespaces["default"].domain.byVertex[v]; r.path.reached && (o == nil || o.String() != r.String()) {
				t.Errorf("the node has %v, its honest peer %v", o, r)
			}
		}
	})
}

// conversation is what a peer says in a random cluster, as FuzzRecovery reads it.
func conversation(t testing.TB, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	c := newCluster(t)
	c.piece = 300
	for _, name := range []string{"evil", "listener", "far", "honest"} {
		n := c.add(name)
		n.declare("default")
		c.must(n.core.DeclareGroup(c.now, "group", []string{"default", "other"}, seed%2 == 0))
		for i := range 3 {
			c.must(n.core.Register(c.now, "group", []Function{{Procedure: fmt.Sprintf("/t.S/%s%d", name, i), Policy: Policy(i), Schema: []byte("hash")}}))
		}
		c.must(n.core.Register(c.now, "group", []Function{{Procedure: "/t.S/All", Policy: PolicyRandom, Schema: []byte("hash of " + name)}}))
		n.core.Fit(c.now, "default", "/t.S/All", []byte("hash of "+name), []byte("hash of evil"))
	}
	var said bytes.Buffer
	c.trace = func(_ string, args ...any) {
		if args[0] == "evil" {
			if _, err := protodelim.MarshalTo(&said, args[2].(*linkv1.Table)); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.link(c.nodes[0], c.nodes[1], "default")
	c.link(c.nodes[0], c.nodes[2], "default", "group")
	c.link(c.nodes[2], c.nodes[3], "default")
	for range 5 {
		for range 20 {
			c.step(rnd)
		}
		c.nodes[2].core.Unregister(c.now, "default", []string{fmt.Sprintf("/t.S/far%d", rnd.IntN(3))})
		if _, err := c.nodes[3].core.WantVisible(c.now, "default"); err != nil {
			t.Fatal(err)
		}
		c.advance(DigestInterval)
	}
	c.nodes[3].core.Leave(c.now)
	c.settle()
	return said.Bytes()
}

// tablesOf reads as many tables as there are.
func tablesOf(data []byte) func(func(*linkv1.Table) bool) {
	return func(yield func(*linkv1.Table) bool) {
		r := bytes.NewReader(data)
		for {
			t := new(linkv1.Table)
			err := protodelim.UnmarshalOptions{MaxSize: 1 << 16}.UnmarshalFrom(r, t)
			if err != nil || !yield(t) {
				return
			}
		}
	}
}

// drain pulls all that a node has for a link, and throws it away.
func drain(t testing.TB, n *simNode, l *simLink) {
	for range 10_000 {
		if n.core.Pull(n.c.now, l.id, 1000) == nil {
			return
		}
	}
	t.Fatal("pulling does not come to an end")
}

// sound checks that a node's tables agree with each other, and looks at all that it shows.
func sound(t testing.TB, n *simNode) { soundCore(t, n.name, n.core) }

func soundCore(t testing.TB, name string, core *Core) {
	s := core.Snapshot()
	for m := range s.Members() {
		_ = m.Info.GetName()
	}
	for _, space := range core.declared {
		for f := range s.Functions(space.name) {
			choice, ok := s.Find(space.name, f.Function.Procedure)
			if !ok || len(choice.Targets) == 0 {
				t.Fatalf("%s shows %s in %s, but does not find it", name, f.Function.Procedure, space.name)
			}
			for _, target := range choice.Targets {
				s.Path(target)
				s.Route(space.name, target.Node, target.Namespace, f.Function.Procedure)
			}
		}
	}
	for _, d := range core.domains {
		if what := d.unsound(); what != "" {
			t.Fatalf("%s %v: %s", name, d.namespaces, what)
		}
	}
	core.Events()
}

// unsound compares what a domain keeps twice.
func (d *domain) unsound() string {
	size, staged, indexed := 0, 0, 0
	for _, r := range d.byVertex {
		live := 0
		for _, e := range r.changes {
			if e.it.superseded {
				continue
			}
			if e.it.kind == kindFunction && !e.it.removed {
				live++
			}
			if e.it.kind == kindFunction && !slices.Contains(d.itemsOf(e.it.fn.Procedure), e.it) {
				return "the index lacks " + e.it.fn.Procedure
			}
		}
		for _, g := range r.tombstones {
			if !slices.Contains(d.itemsOf(g.fn.Procedure), g) {
				return "the index lacks the grave of " + g.fn.Procedure
			}
		}
		if live != r.liveFunctions || !slices.IsSortedFunc(r.changes, func(a, b change) int { return int(int64(a.version) - int64(b.version)) }) {
			return fmt.Sprintf("%v has %d functions, not %d, or they are not in order", r, live, r.liveFunctions)
		}
		indexed += len(r.functions) + len(r.derived) + len(r.tombstones)
		size += live
		if r.stage != nil {
			staged += r.stage.rec.liveFunctions
		}
	}
	for it := range d.functions.all {
		indexed -= len(d.itemsOf(it.fn.Procedure))
	}
	if size != d.liveFunctions || staged != d.stagedFunctions || indexed != 0 {
		return fmt.Sprintf("%d functions, %d staged, not %d and %d; %d not in the index", size, staged, d.liveFunctions, d.stagedFunctions, indexed)
	}
	limits := d.core.cfg.Limits
	if len(d.byVertex) > limits.Members || size > limits.Functions {
		return fmt.Sprintf("%d members with %d functions", len(d.byVertex), size)
	}
	return ""
}

func (d *domain) itemsOf(procedure string) []*item {
	v := d.current()
	return v.items(procedure)
}
