package mesh

import (
	"fmt"
	"testing"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// crowd is a liar's record, with links to made-up members, and theirs.
func crowd(liar *simNode, version uint64, from, to, functions int) []*linkv1.Record {
	self := &linkv1.Record{Node: id(liar.name), Incarnation: liar.core.inc, Key: liar.core.cfg.Key, Since: version, Version: version + 1}
	records := []*linkv1.Record{self}
	for i := from; i < to; i++ {
		name := fmt.Sprintf("crowd%d", i)
		self.Neighbours = append(self.Neighbours, &linkv1.Neighbour{At: 1, Node: id(name), Cost: 1, Incarnation: 1})
		r := hoard(name, functions)
		r.Version++
		r.Neighbours = []*linkv1.Neighbour{{At: r.Version, Node: id(liar.name), Cost: 1, Incarnation: liar.started}}
		records = append(records, r)
	}
	return records
}

// crowdedChain is a chain of honest nodes with a liar at one end, and bounds that are soon reached.
func crowdedChain(t *testing.T, limits Limits) (c *cluster, b *simNode, tell func(...*linkv1.Record)) {
	c = newCluster(t)
	for _, name := range []string{"liar", "b", "c", "d"} {
		n := c.add(name)
		n.core.cfg.Limits = limits.withDefaults()
		n.declare("default")
		c.must(n.register("default", "/t."+name+"/Get"))
	}
	l := c.link(c.nodes[0], c.nodes[1], "default")
	c.link(c.nodes[1], c.nodes[2], "default")
	c.link(c.nodes[2], c.nodes[3], "default")
	c.settle()
	return c, c.nodes[1], func(records ...*linkv1.Record) { c.tell(l, c.nodes[1], records...) }
}

// wantNewcomer lets a member come in at the far end of the chain: all see it.
func wantNewcomer(t *testing.T, c *cluster) {
	t.Helper()
	e := c.add("e")
	e.declare("default")
	c.must(e.register("default", "/t.e/Get"))
	c.link(e, c.node("d"), "default")
	c.settle()
	for range 3 {
		c.advance(DigestInterval)
		c.settle()
	}
	for _, from := range c.nodes[1:] {
		for _, to := range c.nodes[1:] {
			if _, at, _, err := c.call(from, "default", "/t."+to.name+"/Get"); err != nil || at != to {
				t.Errorf("from %s to %s: %v", from.name, to.name, err)
			}
		}
		if what := from.core.namespaces["default"].domain.unsound(); what != "" {
			t.Errorf("%s: %s", from.name, what)
		}
	}
	if len(c.links) != 4 {
		t.Errorf("%d links are up", len(c.links))
	}
}

// TestCrowd: made-up members fill the domain, and no honest node is cut off by another, nor is a new one left out.
func TestCrowd(t *testing.T) {
	c, b, tell := crowdedChain(t, Limits{Members: 20})
	b.core.Events()
	tell(crowd(c.nodes[0], b.record(c.nodes[0]).version, 0, 100, 0)...)
	dropped := 0
	for _, e := range b.core.Events() {
		if e.Kind == RecordsDropped {
			dropped += e.Count
		}
	}
	if dropped != 84 {
		t.Errorf("%d of 100 made-up members were dropped", dropped)
	}
	c.settle()
	wantNewcomer(t, c)
	if got := len(b.core.namespaces["default"].domain.byVertex); got != 20 {
		t.Errorf("b knows %d members", got)
	}
}

// TestCrowdOfFunctions is TestCrowd with functions.
func TestCrowdOfFunctions(t *testing.T) {
	c, b, tell := crowdedChain(t, Limits{Functions: 40})
	for i := range 30 {
		tell(crowd(c.nodes[0], b.record(c.nodes[0]).version, i, i+1, 5)...)
		c.settle()
	}
	wantNewcomer(t, c)
}

// TestTwoCrowds come over two links: they share what there is, and the members behind the links have a place.
func TestTwoCrowds(t *testing.T) {
	c := newCluster(t)
	limits := Limits{Members: 30}.withDefaults()
	for _, name := range []string{"hub", "liar1", "liar2", "honest"} {
		n := c.add(name)
		n.core.cfg.Limits = limits
		n.declare("default")
		c.must(n.register("default", "/t."+name+"/Get"))
	}
	hub := c.nodes[0]
	for i, liar := range c.nodes[1:3] {
		l := c.link(liar, hub, "default")
		c.settle()
		c.tell(l, hub, crowd(liar, hub.record(liar).version, 100*i, 100*i+50, 0)...)
		c.settle()
	}
	c.link(c.nodes[3], hub, "default")
	c.settle()
	for i := range 5 {
		n := c.add(fmt.Sprint("leaf", i))
		n.declare("default")
		c.must(n.register("default", fmt.Sprintf("/t.Leaf/Get%d", i)))
		c.link(n, c.nodes[3], "default")
		c.settle()
		if _, at, _, err := c.call(hub, "default", fmt.Sprintf("/t.Leaf/Get%d", i)); err != nil || at != n {
			t.Error(err)
		}
	}
	shares := map[string]int{}
	for l, s := range hub.core.namespaces["default"].domain.shares() {
		shares[l.peer.Info.GetName()] = s.members
	}
	if shares["honest"] != 5 || shares["liar1"] < 9 || shares["liar2"] < 9 {
		t.Errorf("shares %v", shares)
	}
}

// TestRefusedAtOnce: where there is no room, what is told again and again is not looked at again and again.
func TestRefusedAtOnce(t *testing.T) {
	c, b, tell := crowdedChain(t, Limits{Members: 20})
	records := crowd(c.nodes[0], b.record(c.nodes[0]).version, 0, 100, 0)
	tell(records...)
	c.settle()
	tell(records[50]) // finds that there is no room
	ld := b.core.links[c.links[0].id].domains[0]
	before := ld.shortage
	ck := check{core: b.core, ld: ld}
	c.must(ck.table(&linkv1.Table{Namespace: "default", Records: records[60:]}))
	if ck.shares != nil || before != ld.shortage {
		t.Error("it was looked at again")
	}
	if ck.dropped != 41 {
		t.Errorf("%d dropped", ck.dropped)
	}
}
