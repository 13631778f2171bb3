package mesh

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

func lonely(t *testing.T, procedures ...string) *Core {
	t.Helper()
	c := New(Config{ID: nodeid.ID{1}, Incarnation: 1})
	now := time.Unix(1, 0)
	if err := c.Declare(now, "public"); err != nil {
		t.Fatal(err)
	}
	for _, p := range procedures {
		if err := c.Register(now, "public", []Function{{Procedure: p}}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// TestNear: what is misspelled is found by what it was meant to be, and nothing else.
func TestNear(t *testing.T) {
	s := lonely(t, "/shop.v1.Cart/Add", "/shop.v1.Cart/Remove", "/shop.v2.Cart/Add", "/shop.v1.Orders/Place", "/a.B/C").Snapshot()
	for name, want := range map[string][]string{
		"/shop.v1.Cart/add":    {"/shop.v1.Cart/Add", "/shop.v2.Cart/Add"},
		"/shop.v1.Cart/Remvoe": {"/shop.v1.Cart/Remove"},
		"/Cart/Add":            {"/shop.v1.Cart/Add", "/shop.v2.Cart/Add"},
		"/shop.v1.Order/Place": {"/shop.v1.Orders/Place"},
		"/shop.v1.Wares/List":  nil,
		"/b.A/C":               nil, // short names are near to anything
		"":                     nil,
	} {
		if got := s.Near("public", name); !slices.Equal(got, want) {
			t.Errorf("%s: near are %v, not %v", name, got, want)
		}
	}
	if got := s.Near("other", "/shop.v1.Cart/add"); got != nil {
		t.Errorf("in a namespace that there is not: %v", got)
	}
}

// TestElsewhere: the other namespaces of the node that have a function.
func TestElsewhere(t *testing.T) {
	c := lonely(t, "/a.B/C")
	now := time.Unix(1, 0)
	for _, ns := range []string{"other", "empty"} {
		if err := c.Declare(now, ns); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.DeclareGroup(now, "all", []string{"public", "other"}, false); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Snapshot().Elsewhere("other", "/a.B/C"), []string{"all", "public"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// TestGraves: what became of every function is remembered, however many there were, up to a bound and for
// ForgetAfter.
func TestGraves(t *testing.T) {
	const many = 3000
	procedures := make([]string, many)
	for i := range procedures {
		procedures[i] = fmt.Sprintf("/pkg.Service%d/Method", i)
	}
	forgotten := func(c *Core) (n int) {
		s := c.Snapshot()
		for _, p := range procedures {
			if !s.Absent("public", p).Seen {
				n++
			}
		}
		return n
	}
	c := lonely(t, procedures...)
	now := time.Unix(2, 0)
	c.Unregister(now, "public", procedures)
	if n := forgotten(c); n > 0 {
		t.Errorf("of %d functions that were withdrawn %d are forgotten", many, n)
	}
	d := c.namespaces["public"].domain
	if d.tombstones == 0 || d.tombstones > maxTombstones {
		t.Errorf("there are %d graves", d.tombstones)
	}
	c.Tick(now.Add(ForgetAfter))
	if d.tombstones != 0 || len(d.ownRecords[0].tombstones) != 0 {
		t.Errorf("there are %d graves after %v", d.tombstones, ForgetAfter)
	}
	d.tombstones = maxTombstones // there is no more room
	if g := d.addTombstone(d.ownRecords[0], "/a.B/C", &extra{}); g != nil {
		t.Error("there is no bound")
	}
}

func BenchmarkNear(b *testing.B) {
	const many = 10_000
	c := New(Config{ID: nodeid.ID{1}, Incarnation: 1})
	_ = c.Declare(time.Unix(1, 0), "public")
	for i := range many {
		_ = c.Register(time.Unix(1, 0), "public", []Function{{Procedure: fmt.Sprintf("/company.product.v1.Service%d/Method", i)}})
	}
	s := c.Snapshot()
	for b.Loop() {
		s.Near("public", "/company.product.v1.Servic77/Method")
	}
}
