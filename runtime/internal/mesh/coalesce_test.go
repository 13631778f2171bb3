package mesh

import (
	"fmt"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/proto"

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
	d := hub.core.namespaces["default"].domain
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
	r := hub.core.namespaces["default"].record
	var before *byte
	for i, l := range c.links {
		table := hub.core.Pull(c.now, l.id, 1000)
		told := new(linkv1.Table)
		c.must(proto.Unmarshal(c.bytesOf(table), told))
		if len(table.GetRecords()) > 0 || len(told.GetRecords()) != 1 || told.GetRecords()[0].GetFunctions()[0].GetProcedure() != "/t.Hub/Get" {
			t.Errorf("link %d is told %v, of which %v was encoded for it alone", i, told, table.GetRecords())
		}
		now := unsafe.SliceData(r.encoded[1].bytes)
		if i > 0 && now != before {
			t.Errorf("it was encoded again for link %d", i)
		}
		before = now
	}
	hub.core.Tick(c.now.Add(DigestInterval))
	for _, r := range hub.core.namespaces["default"].domain.records {
		if r.encoded[0].bytes != nil || r.encoded[1].bytes != nil {
			t.Errorf("the encoding of %s is kept for good", r.name())
		}
	}
}
