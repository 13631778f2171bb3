package mesh

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// graph is a random connected cluster in one namespace, at rest.
func graph(t testing.TB, nodes int, rnd *rand.Rand) *cluster {
	c := newCluster(t)
	for i := range nodes {
		n := c.add(fmt.Sprintf("n%d", i))
		n.declare("default")
		c.must(n.register("default", fmt.Sprintf("/t.N%d/Get", i)))
	}
	for _, e := range edgesOf("random", nodes, rnd) {
		c.link(c.nodes[e[0]], c.nodes[e[1]], "default")
	}
	c.settle()
	return c
}

// watched delivers all in random order and returns the tables by link and end, and the records'
// members.
func (c *cluster) watched(rnd *rand.Rand) (tables map[[2]string]int, members map[string]bool, longest int) {
	tables, members = map[[2]string]int{}, map[string]bool{}
	c.trace = func(_ string, args ...any) {
		from, to, t := args[0].(string), args[1].(string), args[2].(*linkv1.Table)
		tables[[2]string{from, to}]++
		for _, r := range t.GetRecords() {
			members[string(r.GetNode())] = true
		}
		longest = max(longest, len(c.bytesOf(t)))
	}
	for c.step(rnd) {
	}
	c.trace = nil
	return tables, members, longest
}

// TestOneFunctionCostsOneTableALink registers one function at a node that has many.
func TestOneFunctionCostsOneTableALink(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		c := graph(t, 20, rnd)
		n := c.nodes[rnd.IntN(20)]
		c.must(n.register("default", procedures(0, 2000)...))
		c.settle()
		c.must(n.register("default", "/t.S/One"))
		tables, members, longest := c.watched(rnd)
		for link, n := range tables {
			if n > len(c.between(c.node(link[0]), c.node(link[1]))) {
				t.Errorf("%d tables from and to %v", n, link)
			}
		}
		if len(members) != 1 || longest > 150 {
			t.Errorf("records of %d members, and up to %d bytes", len(members), longest)
		}
	}
}

// TestLostLinkCostsTwoRecords breaks a link: only its ends' records are told again.
func TestLostLinkCostsTwoRecords(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 10 {
		c := graph(t, 30, rnd)
		l := c.links[rnd.IntN(len(c.links))]
		c.cut(l, "lost")
		_, members, longest := c.watched(rnd)
		for _, n := range l.ends {
			delete(members, string(id(n.name)))
		}
		if len(members) != 0 || longest > 200 {
			t.Errorf("records of others, too: %v; up to %d bytes", members, longest)
		}
	}
}

// TestSlowLinkGetsTheLatest changes much while a link does not pull: it gets what is true then.
func TestSlowLinkGetsTheLatest(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.declare("default")
	b.declare("default")
	c.link(a, b, "default")
	c.settle()
	for range 1000 {
		c.must(a.register("default", "/t.S/Get"))
		a.core.Unregister(c.now, "default", []string{"/t.S/Get"})
	}
	c.must(a.register("default", "/t.S/Get"))
	c.stats = stats{}
	c.settle()
	if c.stats.tables != 1 || c.stats.bytes > 150 {
		t.Errorf("%d tables of %d bytes", c.stats.tables, c.stats.bytes)
	}
}

// TestLongRecordGoesOn breaks the link while a long record is being told: what was told is not told
// again.
func TestLongRecordGoesOn(t *testing.T) {
	c := newCluster(t)
	c.piece = 1000
	a, b := c.add("a"), c.add("b")
	a.declare("default")
	b.declare("default")
	c.must(a.register("default", procedures(0, 5000)...))
	l := c.link(a, b, "default")
	rnd := rand.New(rand.NewPCG(7, 8))
	for b.core.namespaces["default"].domain.liveFunctions < 2500 {
		c.step(rnd)
	}
	c.cut(l, "lost")
	had := b.core.namespaces["default"].domain.liveFunctions
	c.link(a, b, "default")
	told := 0
	c.trace = func(_ string, args ...any) {
		for _, r := range args[2].(*linkv1.Table).GetRecords() {
			told += len(r.GetFunctions())
		}
	}
	c.settle()
	if size := b.core.namespaces["default"].domain.liveFunctions; size != 5000 || told != 5000-had {
		t.Errorf("b has %d functions; it had %d and was told %d", size, had, told)
	}
}

// TestDigestRepairs spoils a node's table in several ways that cannot happen: a digest finds it, and
// the node that is nearer to the origin puts it right.
func TestDigestRepairs(t *testing.T) {
	spoil := map[string]func(d *domain, r *record){
		"a function is missing": func(d *domain, r *record) {
			it := r.functions["/t.N0/Get"]
			r.sum ^= it.sum()
			delete(r.functions, it.fn.Procedure)
			it.superseded = true
			d.replaceInIndex(it.fn.Procedure, it, nil, "")
			r.liveFunctions--
			d.liveFunctions--
		},
		"a record is missing": func(d *domain, r *record) { d.removeRecord(r) },
		"it is older": func(d *domain, r *record) {
			d.clearRecord(r, "")
			r.version = 1
		},
	}
	for name, do := range spoil {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			for i := range 5 {
				n := c.add(fmt.Sprintf("n%d", i))
				n.declare("default")
				c.must(n.register("default", fmt.Sprintf("/t.N%d/Get", i)))
				if i > 0 {
					c.link(n, c.nodes[i-1], "default")
				}
			}
			c.settle()
			for _, n := range c.nodes[2:4] {
				d := n.core.namespaces["default"].domain
				do(d, d.byVertex[vertex{nodeid.ID(id("n0")), "default"}])
				n.core.dirty = true
			}
			if _, ok := c.nodes[3].core.Snapshot().Find("default", "/t.N0/Get"); ok {
				t.Fatal("it is not spoiled")
			}
			for range 4 {
				c.advance(DigestInterval)
				c.settle()
			}
			for _, n := range c.nodes {
				if _, _, _, err := c.call(n, "default", "/t.N0/Get"); err != nil {
					t.Error(err)
				}
			}
			c.stats = stats{}
			c.advance(DigestInterval)
			c.settle()
			if c.stats.tables != 2*len(c.links) {
				t.Errorf("%d tables for digests on %d links", c.stats.tables, len(c.links))
			}
		})
	}
}

// TestTick returns when it is to be called again.
func TestTick(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.declare("default")
	b.declare("default")
	l := c.link(a, b, "default")
	start := c.now
	c.settle()
	for _, test := range []struct{ at, next time.Duration }{
		{0, 15 * time.Second}, {10 * time.Second, 15 * time.Second}, {16 * time.Second, 31 * time.Second},
	} {
		if next := a.core.Tick(start.Add(test.at)); next != start.Add(test.next) {
			t.Errorf("at %v: %v", test.at, next.Sub(start))
		}
	}
	c.settle()
	c.now = start.Add(time.Minute)
	c.cut(l, "lost")
	c.settle()
	if next := a.core.Tick(start.Add(10*time.Minute + 55*time.Second)); next != start.Add(11*time.Minute) {
		t.Errorf("b is forgotten after %v", next.Sub(start))
	}
}

// TestListThatComesFirst: a new member has listed what it has before the hub says anything on the link. It is
// told all the same, and at once.
func TestListThatComesFirst(t *testing.T) {
	c, hub := star(t, maxListed+10)
	late := c.add("late")
	late.declare("default")
	l := c.link(late, hub, "default")
	late.wake()
	for c.pull(l, 0) {
	}
	for len(l.wire[0]) > 0 {
		c.deliver(l, 0)
	}
	began := c.now
	c.settle()
	if known := len(late.core.namespaces["default"].domain.byVertex); known != maxListed+12 || c.now != began {
		t.Errorf("it knows %d members after %v, want %d at once", known, c.now.Sub(began), maxListed+12)
	}
}
