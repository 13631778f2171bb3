package mesh

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// hijack is a mesh in which victim has a function, and evil is linked to it.
type hijack struct {
	*cluster
	t            *testing.T
	b, c, victim *simNode
	evil         *simNode
	link         *simLink // of b and evil
	version      uint64
}

func newHijack(t *testing.T, evil string, policy Policy, age time.Duration) *hijack {
	c := newCluster(t)
	h := &hijack{cluster: c, t: t, b: c.add("b"), c: c.add("c"), victim: c.add("m"), evil: c.add(evil), version: 100}
	for _, n := range c.nodes {
		n.declare("default")
	}
	c.link(h.b, h.c, "default")
	c.link(h.b, h.victim, "default")
	c.settle()
	c.calm()
	c.must(h.victim.core.Register(c.now, "default", []Function{{Procedure: contestedFn, Policy: policy, Schema: []byte("own")}}))
	c.settle()
	for range 10 {
		c.advance(age / 10)
		c.settle()
	}
	h.link = c.link(h.b, h.evil, "default")
	c.settle()
	c.links = c.links[:2] // what evil says is up to the test
	return h
}

// say tells b of evil's record, with items that are new.
func (h *hijack) say(fns ...*linkv1.Function) {
	h.version++
	for _, f := range fns {
		f.At = h.version
	}
	b := h.b.core.cfg.ID
	h.must(h.b.core.Receive(h.b.now(), h.link.id, &linkv1.Table{Namespace: "default", Records: []*linkv1.Record{{
		Node: h.evil.core.cfg.ID[:], Incarnation: h.evil.started, Key: h.evil.key(), Version: h.version,
		About:      &linkv1.About{At: h.version, Info: &linkv1.NodeInfo{Name: "evil"}},
		Neighbours: []*linkv1.Neighbour{{At: h.version, Node: b[:], Cost: 1, Incarnation: h.b.started, Key: h.b.key()}},
		Functions:  fns,
	}}}))
}

// origins is how many of the function a node has within reach.
func (h *hijack) origins(n *simNode) (count int) {
	for range n.core.Snapshot().Functions("default") {
		count++
	}
	return count
}

// serves checks for some time that the function is served by the victim, everywhere.
func (h *hijack) serves(nodes ...*simNode) {
	h.t.Helper()
	for i := range 100 {
		for _, n := range nodes {
			choice, ok := n.core.Snapshot().Find("default", contestedFn)
			if !ok || choice.Targets[0].Node != h.victim.core.cfg.ID || string(choice.Function.Schema) != "own" {
				h.t.Fatalf("after %d steps of 100 ms %s finds %v of %v", i, n.name, choice.Targets, choice.Function)
			}
		}
		h.advance(100 * time.Millisecond)
		h.settle()
	}
}

// TestClaimDoesNotHijack lets a member that comes later claim to have registered a function first: it does not
// get a call, whatever its id, nor does its schema count.
func TestClaimDoesNotHijack(t *testing.T) {
	claims := map[string]*linkv1.Function{
		"long ago":         {Registered: 1},
		"before 1970":      {Registered: 1 << 63},
		"with an age":      {Registered: 1, Age: 1},
		"of another time":  {Registered: 1, FirstRegistered: 1 << 62, Age: 1},
		"behind itself":    {Registered: 1, Age: 1, Behind: id("evil"), BehindRegistered: 1},
		"of a high level":  {Registered: 1, Age: 1, Level: 3},
		"behind nobody":    {Registered: 1, Behind: make([]byte, 3)},
		"in the future":    {Registered: 1 << 62, Age: 1},
		"beyond the clock": {Registered: 1<<64 - 1, Age: 1},
	}
	for name, claim := range claims {
		for _, evil := range []string{"a-evil", "z-evil"} {
			for i, policy := range []Policy{PolicySingle, PolicyRandom, PolicySingle, PolicyRandom} {
				age := []time.Duration{10 * time.Second, 600 * time.Millisecond}[i/2] // more than what is taken for the same
				t.Run(fmt.Sprintf("%s/%s/%v/%v", name, evil, policy, age), func(t *testing.T) {
					h := newHijack(t, evil, policy, age)
					f := proto.CloneOf(claim)
					f.Procedure, f.Policy, f.Schema = contestedFn, linkv1.Policy(policy), []byte("evil")
					h.say(f)
					h.serves(h.b, h.c, h.victim)
					late := h.add("d")
					late.declare("default")
					h.cluster.link(late, h.c, "default")
					h.settle()
					h.serves(h.b, h.c, h.victim, late)
					for f := range h.c.core.Snapshot().Functions("default") {
						if uint64(f.Registered) < h.evil.started && f.Node == h.evil.core.cfg.ID {
							t.Errorf("it is shown as registered at %d, before its node's start", f.Registered)
						}
					}
				})
			}
		}
	}
}

// TestWitnessedLateness lets a member claim, of a function that it was seen without, that it is old.
func TestWitnessedLateness(t *testing.T) {
	h := newHijack(t, "a-evil", PolicySingle, 10*time.Second)
	h.say()
	for range 10 {
		h.advance(time.Second)
		h.settle()
	}
	h.say(&linkv1.Function{Procedure: contestedFn, Registered: 1, Schema: []byte("evil"), Age: 1 << 60})
	h.serves(h.b, h.c, h.victim)
}

// TestOldWire has an origin at a node that does not tell ages meet another one: who was there first stays.
func TestOldWire(t *testing.T) {
	for _, incumbent := range []string{"old", "new"} {
		t.Run(incumbent, func(t *testing.T) {
			c := newCluster(t)
			hub, caller, old, fresh := c.add("hub"), c.add("caller"), c.add("old"), c.add("fresh")
			old.old, old.strips = true, true
			for _, n := range c.nodes {
				n.declare("default")
			}
			c.link(hub, caller, "default")
			first, late := old, fresh
			if incumbent == "new" {
				first, late = fresh, old
			}
			late.jump = -time.Hour
			for _, n := range []*simNode{first, late} {
				c.must(n.register("default", contestedFn))
				c.link(n, hub, "default")
				for range 10 {
					c.settle()
					for _, from := range []*simNode{hub, caller} {
						if _, at, _, err := c.call(from, "default", contestedFn); err != nil || at != first {
							t.Fatalf("%s is served by %v: %v", from.name, at, err)
						}
					}
					c.advance(time.Second)
				}
			}
		})
	}
}

// TestLoserSaysWhy has a node whose clock is an hour behind meet an older origin: it says once why it does not
// serve.
func TestLoserSaysWhy(t *testing.T) {
	c := newCluster(t)
	first, late := c.add("first"), c.add("late")
	late.ahead = -time.Hour
	for _, n := range c.nodes {
		n.declare("default")
		c.must(n.register("default", contestedFn))
		c.advance(time.Minute)
	}
	c.link(late, first, "default")
	for range 60 {
		c.settle()
		c.advance(time.Second)
	}
	var causes []string
	for _, e := range late.events {
		if e.Kind == FunctionShadowed {
			causes = append(causes, e.Name+" "+e.OwnerName+": "+e.Cause)
		}
	}
	want := "late first: this node has had it for 1m0s, since 2023-11-14T21:14:20Z by its clock; " +
		"first for 2m0s, since 2023-11-14T22:13:20Z by its clock, which is 1h0m0s ahead of this node's"
	if len(causes) != 1 || causes[0] != want {
		t.Errorf("%q, want %q", causes, want)
	}
}

// TestManyOriginsOfOneFunction tells a node of more origins than count: all nodes take the same ones, and those
// that did not count take over when others go.
func TestManyOriginsOfOneFunction(t *testing.T) {
	const limit, members = 8, 20
	c := newCluster(t)
	hub := c.add("hub")
	for i := range members {
		c.add(fmt.Sprintf("n%02d", i))
	}
	for i, n := range c.nodes {
		n.core.cfg.Limits.Origins = limit
		n.declare("default")
		if i == 0 {
			continue
		}
		c.must(n.core.Register(c.now, "default", []Function{{Procedure: contestedFn, Policy: PolicyRandom, Registered: int64(i)}}))
		c.link(n, hub, "default")
	}
	c.settle()
	c.calm()
	spread := func(from, to int) {
		t.Helper()
		want := map[nodeid.ID]bool{}
		for _, n := range c.nodes[from:to] {
			want[n.core.cfg.ID] = true
		}
		for _, n := range append(c.nodes[to:], hub) {
			choice, _ := n.core.Snapshot().Find("default", contestedFn)
			for _, target := range choice.Targets {
				if !want[target.Node] || len(choice.Targets) != limit {
					t.Fatalf("%s spreads calls over %d, among them %v", n.name, len(choice.Targets), target)
				}
			}
		}
	}
	spread(1, 1+limit)
	crowded := 0
	for _, e := range hub.events {
		if e.Kind == FunctionCrowded {
			crowded++
		}
	}
	if crowded != 1 {
		t.Errorf("it says %d times that not all count", crowded)
	}
	for _, l := range c.between(c.nodes[1], hub) {
		c.cut(l, "lost")
	}
	c.nodes[2].core.Unregister(c.now, "default", []string{contestedFn})
	c.settle()
	c.calm()
	spread(3, 3+limit)
}

// TestOriginsTellLittle has made-up origins come one by one: the one that is there answers them now and then.
func TestOriginsTellLittle(t *testing.T) {
	h := newHijack(t, "a-evil", PolicySingle, 10*time.Second)
	h.say()
	before := h.victim.core.namespaces["default"].record.version
	for i := range 300 {
		name := fmt.Sprintf("x%d", i)
		h.version++
		b := h.b.core.cfg.ID
		records := []*linkv1.Record{
			{
				Node: id(name), Incarnation: 1, Version: 1, Neighbours: []*linkv1.Neighbour{{At: 1, Node: h.evil.core.cfg.ID[:], Cost: 1}},
				Functions: []*linkv1.Function{{At: 1, Procedure: contestedFn, Registered: 1}},
			},
			{
				Node: h.evil.core.cfg.ID[:], Incarnation: h.evil.started, Key: h.evil.key(), Since: h.version - 1, Version: h.version,
				About:      &linkv1.About{At: 1, Info: &linkv1.NodeInfo{Name: "evil"}},
				Neighbours: []*linkv1.Neighbour{{At: 1, Node: id(name), Cost: 1}, {At: 1, Node: b[:], Cost: 1}},
			},
		}
		h.exact(records...)
		h.must(h.b.core.Receive(h.b.now(), h.link.id, &linkv1.Table{Namespace: "default", Records: records}))
		h.advance(10 * time.Millisecond)
		h.settle()
	}
	if n := h.origins(h.victim); n < 200 {
		t.Fatalf("only %d origins came", n)
	}
	h.serves(h.b, h.c, h.victim)
	if told := h.victim.core.namespaces["default"].record.version - before; told > 20 {
		t.Errorf("it told its record anew %d times", told)
	}
}

// TestCrowdDoesNotPushOut has more origins come than count, which claim to be the first: the one that was there
// goes on serving.
func TestCrowdDoesNotPushOut(t *testing.T) {
	const limit = 5
	h := newHijack(t, "a-evil", PolicyRoundRobin, 10*time.Second)
	for _, n := range h.nodes {
		n.core.cfg.Limits.Origins = limit
	}
	b := h.b.core.cfg.ID
	evil := &linkv1.Record{
		Node: h.evil.core.cfg.ID[:], Incarnation: h.evil.started, Key: h.evil.key(), Version: 200, About: &linkv1.About{At: 200, Info: &linkv1.NodeInfo{Name: "evil"}},
		Neighbours: []*linkv1.Neighbour{{At: 200, Node: b[:], Cost: 1}},
	}
	records := []*linkv1.Record{evil}
	for i := range 3 * limit {
		name := fmt.Sprintf("x%d", i)
		evil.Neighbours = append(evil.Neighbours, &linkv1.Neighbour{At: 200, Node: id(name), Cost: 1})
		records = append(records, &linkv1.Record{
			Node: id(name), Incarnation: 1, Version: 1, Neighbours: []*linkv1.Neighbour{{At: 1, Node: evil.Node, Cost: 1}},
			Functions: []*linkv1.Function{{At: 1, Procedure: contestedFn, Policy: linkv1.Policy_POLICY_ROUND_ROBIN, Schema: []byte("own"), Registered: 1}},
		})
	}
	h.exact(records...)
	h.must(h.b.core.Receive(h.b.now(), h.link.id, &linkv1.Table{Namespace: "default", Records: records}))
	h.settle()
	for _, n := range []*simNode{h.b, h.c, h.victim} {
		if n := h.origins(n); n < limit {
			t.Fatalf("only %d origins came", n)
		}
	}
	for range 100 {
		for _, n := range []*simNode{h.b, h.c, h.victim} {
			choice, _ := n.core.Snapshot().Find("default", contestedFn)
			there := false
			for _, target := range choice.Targets {
				there = there || target.Node == h.victim.core.cfg.ID
			}
			if !there || len(choice.Targets) > limit {
				t.Fatalf("%s spreads calls over %v", n.name, choice.Targets)
			}
		}
		h.advance(100 * time.Millisecond)
		h.settle()
	}
}
