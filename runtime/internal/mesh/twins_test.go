package mesh

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestTwins lets a second node of a name come in at random places. The neighbours of the first one refuse it; all
// others but its own keep to the first one, and nobody changes its mind. Once either goes the other has all.
func TestTwins(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { runTwins(t, rand.New(rand.NewPCG(seed, 2))) })
	}
}

// twins are two nodes of one name in a cluster.
type twins struct {
	*cluster
	first, twin *simNode
	wanted      []*simNode // whom the twin wants to be linked with
}

func runTwins(t *testing.T, rnd *rand.Rand) {
	x := &twins{cluster: graph(t, 3+rnd.IntN(10), rnd)}
	nodes := slices.Clone(x.nodes)
	x.first = nodes[rnd.IntN(len(nodes))]
	x.now = x.now.Add(time.Duration(1+rnd.IntN(5)) * time.Second)
	x.twin = x.add("twin")
	x.twin.bootAs(x.first.name, false)
	x.twin.declare("default")
	x.must(x.twin.register("default", "/t.Twin/Get"))
	for range 1 + rnd.IntN(2) {
		if at := nodes[rnd.IntN(len(nodes))]; at != x.first && !slices.Contains(x.wanted, at) {
			x.wanted = append(x.wanted, at)
		}
	}
	x.dial(t)
	for n := 0; x.step(rnd); n++ {
		x.collect()
		if n > 50_000 {
			t.Fatal("they do not come to an end")
		}
	}
	x.settle()
	links := len(x.links)
	minds := x.minds()
	for i := range 20 {
		x.advance(DigestInterval)
		for i < 3 && x.step(rnd) {
			if now := x.minds(); !slices.Equal(now, minds) {
				t.Fatalf("they take turns: %v, then %v", minds, now)
			}
		}
		x.settle()
		if now := x.minds(); !slices.Equal(now, minds) {
			t.Fatalf("they take turns: %v, then %v", minds, now)
		}
	}
	if len(x.links) != links {
		t.Errorf("%d links of %d are up", len(x.links), links)
	}
	gone, left := x.twin, x.first
	if rnd.IntN(2) == 0 {
		gone, left = left, gone
	}
	x.end(gone)
	if left == x.twin {
		x.dial(t)
	}
	for range 2 {
		x.advance(DigestInterval)
		x.settle()
	}
	x.wantOnly(t, gone, left)
}

// dial links the twin with those that it wants to be linked with, unless they have a link with the first one.
func (x *twins) dial(t *testing.T) {
	for _, at := range x.wanted {
		if len(x.between(x.twin, at)) > 0 {
			continue
		}
		taken := len(x.between(x.first, at)) > 0
		_, err := x.tryLink(x.twin, at, "default")
		if _, refused := errors.AsType[*DuplicateError](err); refused != taken || err != nil && !refused {
			t.Errorf("a link of the twin with %s, which has one with the first one %v: %v", at.name, taken, err)
		}
	}
}

// minds says which of the two each node takes for the one of the name.
func (x *twins) minds() (minds []string) {
	for _, n := range x.nodes {
		n.core.recompute()
		mind := "neither"
		if r := n.record(x.first); r != nil && r.path.reached {
			mind = "first"
			if r.start == x.twin.started {
				mind = "twin"
			}
		}
		if n == x.twin || len(x.between(n, x.twin)) > 0 || n == x.first {
			mind = "" // it knows it at first hand
		}
		minds = append(minds, mind)
	}
	return minds
}

// end takes a node away.
func (x *twins) end(n *simNode) {
	for _, l := range slices.Clone(x.cluster.links) {
		if l.ends[0] == n || l.ends[1] == n {
			x.cut(l, "it ended")
		}
	}
	x.nodes = slices.DeleteFunc(slices.Clone(x.nodes), func(o *simNode) bool { return o == n })
	x.settle()
}

// wantOnly checks that all that can be reached from the one that is left reach it, and not the other.
func (x *twins) wantOnly(t *testing.T, gone, left *simNode) {
	t.Helper()
	procedures := map[*simNode]string{x.twin: "/t.Twin/Get", x.first: fmt.Sprintf("/t.N%s/Get", x.first.name[1:])}
	near := map[*simNode]bool{left: true}
	for todo := []*simNode{left}; len(todo) > 0; todo = todo[1:] {
		for _, l := range todo[0].links {
			if o := l.ends[1-l.end(todo[0])]; !near[o] {
				near[o] = true
				todo = append(todo, o)
			}
		}
	}
	for _, n := range x.nodes {
		_, at, _, err := x.call(n, "default", procedures[left])
		if reaches := err == nil && at == left; reaches != near[n] {
			t.Errorf("%s reaches the one that is left: %v, want %v: %v", n.name, reaches, near[n], err)
		}
		if _, ok := n.core.Snapshot().Find("default", procedures[gone]); ok {
			t.Errorf("%s still finds the one that is gone", n.name)
		}
	}
}

// TestHeldPlace: a node whose link broke keeps its place there for a while, as long as it is in reach.
func TestHeldPlace(t *testing.T) {
	c := chainOf(t, "x", "a", "b")
	x, a, b := c.nodes[0], c.nodes[1], c.nodes[2]
	l := c.link(x, b, "default")
	c.settle()
	twin := c.add("twin")
	twin.bootAs("x", false)
	twin.declare("default")
	c.cut(l, "blip")
	c.settle()
	if _, err := c.tryLink(twin, b, "default"); err == nil {
		t.Error("the twin got the place")
	}
	l = c.link(x, b, "default")
	c.cut(l, "lost")
	c.now = c.now.Add(holdPlace)
	l = c.link(twin, b, "default") // the node itself did not come back
	c.cut(l, "lost")
	c.cut(c.between(x, a)[0], "it ended")
	c.settle()
	c.link(twin, a, "default")
}
