package mesh

import (
	"slices"
	"testing"
)

func TestChain(t *testing.T) {
	c := newCluster(t)
	names := []string{"a", "b", "c", "d"}
	for i, name := range names {
		n := c.add(name)
		n.declare("default")
		c.must(n.register("default", "/t.S/"+name))
		if i > 0 {
			c.link(n, c.nodes[i-1], "default")
		}
	}
	c.settle()
	path, origin, _, err := c.call(c.node("d"), "default", "/t.S/a")
	c.must(err)
	if want := []string{"d", "c", "b", "a"}; origin.name != "a" || !slices.Equal(path, want) {
		t.Errorf("d calls a by %v", path)
	}
	c.must(c.node("a").register("default", "/t.S/more"))
	c.stats = stats{}
	c.settle()
	if _, _, _, err := c.call(c.node("d"), "default", "/t.S/more"); err != nil {
		t.Error(err)
	}
	if c.stats.tables != 3 || c.stats.bytes > 3*200 {
		t.Errorf("one function took %d tables of %d bytes", c.stats.tables, c.stats.bytes)
	}
	c.cut(c.between(c.node("b"), c.node("c"))[0], "cable cut")
	c.settle()
	if _, _, _, err := c.call(c.node("d"), "default", "/t.S/a"); err == nil {
		t.Error("d still calls a")
	}
	t.Log(c.node("d").core.Snapshot().Absent("default", "/t.S/a"))
	t.Log(c.node("c").core.Snapshot().Absent("default", "/t.S/a"))
	for _, e := range c.node("d").events {
		t.Logf("%+v", e)
	}
	c.link(c.node("c"), c.node("b"), "default")
	c.settle()
	if _, _, _, err := c.call(c.node("d"), "default", "/t.S/a"); err != nil {
		t.Error(err)
	}
}
