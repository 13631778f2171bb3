package mesh

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// BenchmarkOrigins takes in n made-up origins of one function, in tables of a thousand each, and then tables
// that change the cost of one link: what a node does with its lock held.
func BenchmarkOrigins(b *testing.B) {
	for _, schemas := range []bool{false, true} {
		for _, n := range []int{1000, 2000, 4000} {
			name := fmt.Sprintf("schemas=%v/origins=%d", schemas, n)
			b.Run(name+"/all", func(b *testing.B) {
				for b.Loop() {
					c := newThrong(b)
					c.tell(throngOf(n, schemas)...)
					b.StopTimer()
					c.whole(n)
					b.StartTimer()
				}
			})
			b.Run(name+"/then", func(b *testing.B) {
				c := newThrong(b)
				c.tell(throngOf(n, schemas)...)
				for i := 0; b.Loop(); i++ {
					c.tell(c.recost(i))
				}
				c.whole(n)
			})
		}
	}
}

// TestOriginsCostInProportion lets four times as many origins of one function come: that does not cost sixteen
// times as much.
func TestOriginsCostInProportion(t *testing.T) {
	for _, schemas := range []bool{false, true} {
		cost := func(n int) uint64 {
			c := newThrong(t)
			tables := throngOf(n, schemas)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			c.tell(tables...)
			runtime.ReadMemStats(&after)
			c.whole(n)
			return after.TotalAlloc - before.TotalAlloc
		}
		if few, many := cost(500), cost(2000); many > 8*few {
			t.Errorf("with schemas %v: 500 origins cost %d bytes, 2000 %d", schemas, few, many)
		}
	}
}

// throng is a node that is told of many origins of one of its functions.
type throng struct {
	*cluster
	node, peer *simNode
	link       *simLink
}

func newThrong(t testing.TB) *throng {
	c := &throng{cluster: newCluster(t)}
	c.node, c.peer = c.add("node"), c.add("peer")
	c.node.declare("default")
	c.peer.declare("default")
	c.must(c.node.core.Register(c.now, "default", []Function{{Procedure: contestedFn, Policy: PolicyRandom, Schema: []byte("own")}}))
	c.link = c.cluster.link(c.node, c.peer, "default")
	c.settle()
	return c
}

// whole fails unless all n are within reach, and with them the node's own.
func (c *throng) whole(n int) {
	c.t.Helper()
	origins := 0
	for range c.node.core.Snapshot().Functions("default") {
		origins++
	}
	if origins != n+1 {
		c.t.Fatalf("%d origins, want %d", origins, n+1)
	}
}

func (c *throng) tell(tables ...*linkv1.Table) {
	for _, t := range tables {
		for _, r := range t.GetRecords() {
			if bytes.Equal(r.GetNode(), id("peer")) {
				r.Incarnation, r.Key = c.peer.started, c.peer.key()
			}
			c.exact(r)
		}
		c.must(c.node.core.Receive(c.now, c.link.id, t))
		c.node.core.Snapshot()
		c.node.core.Pending()
		c.node.core.Events()
	}
}

// recost changes what a link costs of the first origin.
func (c *throng) recost(i int) *linkv1.Table {
	return &linkv1.Table{Namespace: "default", Records: []*linkv1.Record{{
		Node: id("x0"), Incarnation: 1, Since: uint64(i + 1), Version: uint64(i + 2),
		Neighbours: []*linkv1.Neighbour{{At: 1, Node: id("peer"), Cost: uint32(i%5 + 2)}},
	}}}
}

// throngOf tells of n members with the function that hang off peer.
func throngOf(n int, schemas bool) (tables []*linkv1.Table) {
	const at = 100 // later than what peer has said itself
	peer := &linkv1.Record{Node: id("peer"), Version: at, About: &linkv1.About{At: at, Info: &linkv1.NodeInfo{Name: "peer"}}}
	peer.Neighbours = append(peer.Neighbours, &linkv1.Neighbour{At: at, Node: id("node"), Cost: 1})
	t := &linkv1.Table{Namespace: "default"}
	for i := range n {
		name := fmt.Sprintf("x%d", i)
		f := &linkv1.Function{At: 1, Procedure: contestedFn, Registered: 1, Policy: linkv1.Policy_POLICY_RANDOM}
		if schemas {
			f.Schema = []byte(name)
		}
		peer.Neighbours = append(peer.Neighbours, &linkv1.Neighbour{At: at, Node: id(name), Cost: 1})
		t.Records = append(t.Records, &linkv1.Record{
			Node: id(name), Incarnation: 1, Version: 1, Functions: []*linkv1.Function{f},
			Neighbours: []*linkv1.Neighbour{{At: 1, Node: id("peer"), Cost: 1}},
		})
		if len(t.Records) == 1000 {
			tables = append(tables, t)
			t = &linkv1.Table{Namespace: "default"}
		}
	}
	return append(tables, t, &linkv1.Table{Namespace: "default", Records: []*linkv1.Record{peer}})
}
