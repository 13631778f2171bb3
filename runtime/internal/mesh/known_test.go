package mesh

import (
	"slices"
	"testing"
)

// TestLinkKnown: a peer that acknowledges does so once what it was told is in a snapshot of its, and not before.
// One that does not is taken at its word that it has told all.
func TestLinkKnown(t *testing.T) {
	for _, acks := range []bool{true, false} {
		c := newCluster(t)
		c.acks = acks
		a, b := c.add("a"), c.add("b")
		a.declare("public", "second")
		b.declare("public", "second")
		c.must(a.register("public", "/a.B/C"))
		l := c.link(a, b, "public", "second")
		exchange := func() {
			for c.pull(l, 0) || c.pull(l, 1) || len(l.wire[0])+len(l.wire[1]) > 0 {
				for i := range l.wire {
					if len(l.wire[i]) > 0 {
						c.deliver(l, i)
					}
				}
				a.core.Pending()
				b.core.Pending()
			}
		}
		known := func(n *simNode) bool {
			return slices.ContainsFunc(n.core.Events(), func(e Event) bool { return e.Kind == LinkKnown && e.Link == l.id })
		}
		a.core.Pending()
		b.core.Pending()
		exchange()
		if !a.core.links[l.id].synced || !b.core.links[l.id].synced {
			t.Fatal("the exchange is not over")
		}
		if got := known(a); got == acks {
			t.Errorf("acknowledging %v: known before it is in effect: %v", acks, got)
		}
		if _, ok := b.core.Snapshot().Find("public", "/a.B/C"); !ok {
			t.Error("it is not in effect")
		}
		b.core.Pending()
		exchange()
		if got := known(a); got != acks {
			t.Errorf("acknowledging %v: known once it is in effect: %v", acks, got)
		}
		a.core.Snapshot()
		exchange()
		if c.pull(l, 0) || c.pull(l, 1) {
			t.Error("it is acknowledged again")
		}
	}
}
