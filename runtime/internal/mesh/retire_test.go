package mesh

import "testing"

// TestRetire: calls go by another link to the same process once the one that they went by is retired, and by that
// again where there is no other.
func TestRetire(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.declare("public")
	b.declare("public")
	c.must(b.register("public", "/t.Retired/Get"))
	check := func(want *simLink, when string) {
		t.Helper()
		c.settle()
		choice, ok := a.core.Snapshot().Find("public", "/t.Retired/Get")
		if !ok || choice.Targets[0].Link != want.id {
			t.Errorf("%s: got %+v, want link %d", when, choice.Targets, want.id)
		}
	}
	first := c.link(a, b, "public")
	check(first, "one link")
	second := c.link(b, a, "public")
	check(first, "two links")
	a.core.Retire(a.now(), first.id)
	a.wake()
	check(second, "the first is retired")
	c.cut(second, "cut")
	check(first, "the second is cut")
	a.core.Retire(a.now(), second.id) // which is not there
}
