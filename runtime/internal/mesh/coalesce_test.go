package mesh

import (
	"fmt"
	"testing"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// star is a hub and leaves with a function each, at rest.
func star(t testing.TB, leaves int) (c *cluster, hub *simNode) {
	c = newCluster(t)
	hub = c.add("hub")
	hub.declare("default")
	for i := range leaves {
		leaf := c.add(fmt.Sprintf("leaf%d", i))
		leaf.declare("default")
		c.must(leaf.register("default", fmt.Sprintf("/t.Leaf%d/Get", i)))
		c.link(leaf, hub, "default")
	}
	c.settle()
	return c, hub
}

// TestRoutesWaitForTheirOwner: whatever a core is told, and whatever is pulled, it finds routes only when it is
// asked for what depends on them, and then once.
func TestRoutesWaitForTheirOwner(t *testing.T) {
	c, hub := star(t, 10)
	d := hub.core.spaces["default"].db
	before := &d.routes[0]
	for i, l := range c.links {
		leaf := l.ends[0]
		c.must(leaf.register("default", fmt.Sprintf("/t.Leaf%d/More", i)))
		leaf.wake()
		for c.pull(l, 0) {
		}
		for len(l.wire[0]) > 0 {
			c.deliver(l, 0)
		}
		digest := &linkv1.Digest{Sums: make([]uint64, 64)}
		c.must(hub.core.Receive(c.now, l.id, &linkv1.Table{Namespace: "default", Digest: digest}))
		hub.core.Pull(c.now, l.id, 1000)
	}
	late := c.add("late")
	late.declare("default")
	l := c.link(late, hub, "default")
	hub.core.LinkDown(c.now, c.links[0].id, Cause{Text: "lost"})
	if &d.routes[0] != before {
		t.Error("routes were found without being asked for")
	}
	if told := hub.core.Pull(c.now, l.id, 1000); told != nil {
		t.Errorf("a new link is told %v before its routes are known", told)
	}
	hub.core.Pending()
	after := &d.routes[0]
	if after == before {
		t.Error("no routes were found")
	}
	hub.core.Snapshot()
	hub.core.Events()
	if &d.routes[0] != after {
		t.Error("routes were found again, though nothing has changed")
	}
	if hub.core.Pull(c.now, l.id, 1000) == nil {
		t.Error("a new link is told nothing")
	}
}

// TestEncodedOnce: what many links are told of a record is one and the same.
func TestEncodedOnce(t *testing.T) {
	c, hub := star(t, 10)
	c.must(hub.register("default", "/t.Hub/Get"))
	hub.core.Pending()
	told := map[*linkv1.Record]int{}
	for _, l := range c.links {
		table := hub.core.Pull(c.now, l.id, 1000)
		for _, r := range table.GetRecords() {
			told[r]++
		}
	}
	if len(told) != 1 {
		t.Errorf("%d encodings for %d links", len(told), len(c.links))
	}
	hub.core.Tick(c.now.Add(DigestInterval))
	for _, r := range hub.core.spaces["default"].db.records {
		if r.encoded[0].record != nil || r.encoded[1].record != nil {
			t.Errorf("the encoding of %s is kept for good", r.name())
		}
	}
}
