package mesh

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// TestBehind holds what can be behind a neighbour, in random graphs, to what can be reached from it without the
// node that asks.
func TestBehind(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		c, nodes := newCluster(t), 2+rnd.IntN(9)
		for i := range nodes {
			c.add(string(rune('a' + i))).declare("default")
		}
		edges := map[int][]int{}
		for i := 1; i < nodes; i++ { // a tree, and a few more
			for range 1 + rnd.IntN(4)/3 {
				j := rnd.IntN(i)
				c.link(c.nodes[i], c.nodes[j], "default")
				edges[i], edges[j] = append(edges[i], j), append(edges[j], i)
			}
		}
		c.settle()
		for i, n := range c.nodes {
			s := n.core.Snapshot()
			for _, p := range edges[i] {
				reached := without(edges, i, p)
				for j, o := range c.nodes {
					name, can := s.Behind("default", c.nodes[p].core.cfg.ID, o.core.cfg.ID)
					if can != reached[j] || name != o.name {
						t.Fatalf("at %s, is %s behind %s: %v by the name %q, want %v", n.name, o.name, c.nodes[p].name, can, name, reached[j])
					}
				}
			}
		}
	}
}

// without returns what can be reached from p without i.
func without(edges map[int][]int, i, p int) map[int]bool {
	reached := map[int]bool{p: true}
	for queue := []int{p}; len(queue) > 0; queue = queue[1:] {
		for _, next := range edges[queue[0]] {
			if next != i && !reached[next] {
				reached[next] = true
				queue = append(queue, next)
			}
		}
	}
	return reached
}

// TestBehindBridge: of one that is seen only across another node's bridge nothing is known.
func TestBehindBridge(t *testing.T) {
	c := newCluster(t)
	n, b, far, side := c.add("n"), c.add("b"), c.add("far"), c.add("side")
	for _, o := range c.nodes {
		o.declare("one")
	}
	b.declare("two")
	far.declare("two")
	c.must(b.core.DeclareGroup(c.now, "all", []string{"one", "two"}, true))
	c.link(b, n, "one")
	c.link(far, b, "two")
	c.link(side, n, "one")
	c.settle()
	s := n.core.Snapshot()
	for _, test := range []struct {
		peer, node *simNode
		can        bool
	}{{b, far, true}, {b, b, true}, {side, far, true}, {b, side, false}, {b, n, false}} {
		if _, can := s.Behind("one", test.peer.core.cfg.ID, test.node.core.cfg.ID); can != test.can {
			t.Errorf("%s behind %s: %v", test.node.name, test.peer.name, can)
		}
	}
	if name, can := s.Behind("one", b.core.cfg.ID, nodeid.ID{1}); !can || name != "" {
		t.Errorf("one that is not known: %q, %v", name, can)
	}
	if n := testing.AllocsPerRun(100, func() { s.Behind("one", b.core.cfg.ID, far.core.cfg.ID) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
