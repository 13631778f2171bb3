package mesh

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	seedFlag = flag.Uint64("mesh.seed", 0, "replay the random cluster with this seed")
	runsFlag = flag.Int("mesh.runs", 150, "how many random clusters to try")
)

// TestRandom does random things to random clusters, delivers tables in random order, and compares
// what comes of it with what must. A failure prints the seed that replays it.
func TestRandom(t *testing.T) {
	if *seedFlag != 0 {
		for _, p := range runRandom(t, *seedFlag) {
			t.Error(p)
		}
		return
	}
	for seed := uint64(1); seed <= uint64(*runsFlag); seed++ {
		if problems := runRandom(t, seed); len(problems) > 0 {
			t.Fatalf("replay with -run %s -mesh.seed %d:\n%s", t.Name(), seed, strings.Join(problems[:min(5, len(problems))], "\n"))
		}
	}
}

// chaos does random things to a world.
type chaos struct {
	*world
	rnd *rand.Rand
	log func(format string, args ...any)
	fns []string
	nss []string
}

// newChaos builds a random cluster.
func newChaos(t *testing.T, seed uint64) *chaos {
	rnd := rand.New(rand.NewPCG(seed, 0))
	c := newCluster(t)
	c.piece, c.judge = 100+rnd.IntN(2000), true
	x := &chaos{world: &world{c: c, origins: map[place3]mark{}}, rnd: rnd, log: func(string, ...any) {}}
	if *seedFlag != 0 {
		x.log = t.Logf
	}
	if rnd.IntN(4) == 0 {
		c.lossy = 3
	}
	c.lazy = []int{0, 50, 90, 99}[rnd.IntN(4)]
	if rnd.IntN(2) == 0 {
		c.cost = func() uint32 { return rnd.Uint32N(4) }
	}
	if rnd.IntN(4) == 0 {
		c.old = func() bool { return rnd.IntN(3) == 0 }
	}
	if rnd.IntN(2) == 0 {
		c.skew = func() time.Duration { return time.Duration(rnd.IntN(6*3600)-3*3600) * time.Second }
	}
	x.build()
	return x
}

func runRandom(t *testing.T, seed uint64) []string {
	x := newChaos(t, seed)
	c, rnd := x.c, x.rnd
	for range 20 + rnd.IntN(100) {
		x.disturb()
		for range rnd.IntN(60) {
			if !c.step(rnd) {
				break
			}
		}
		c.collect()
		if what := x.lacking(); what != "" {
			return []string{what}
		}
	}
	for _, l := range slices.Clone(c.links) {
		if l.down[0] || l.down[1] {
			c.cut(l, "noticed")
		}
	}
	if !c.rest(rnd) {
		return []string{"the mesh does not come to rest"}
	}
	c.calm()
	return x.conclude()
}

// conclude checks a cluster at rest.
func (x *chaos) conclude() []string {
	c := x.c
	if c.lossy > 0 {
		for range 6 {
			c.advance(DigestInterval)
			c.settle()
		}
	}
	if problems := x.verify(); problems != nil {
		return problems
	}
	c.stats = stats{}
	c.advance(DigestInterval)
	c.settle()
	if c.stats.records > 0 || c.stats.tables > 2*x.domains() {
		return []string{fmt.Sprintf("digests at rest took %d tables with %d records", c.stats.tables, c.stats.records)}
	}
	if problems := x.acknowledge(); problems != nil {
		return problems
	}
	c.advance(ForgetAfter + time.Second)
	c.settle()
	for _, n := range c.nodes {
		for _, d := range n.core.domains {
			for _, r := range d.byVertex {
				if !r.path.reached {
					return []string{fmt.Sprintf("%s has not forgotten %s", n.name, r.name())}
				}
			}
		}
	}
	return x.verify()
}

// domains counts those of all links.
func (x *chaos) domains() (n int) {
	for _, l := range x.c.links {
		n += len(l.ends[0].core.links[l.id].domains)
	}
	return n
}

// acknowledge waits at every node for all others to have seen what it tells.
func (x *chaos) acknowledge() (problems []string) {
	for _, n := range x.c.nodes {
		for _, s := range n.core.declared {
			token, err := n.core.WantVisible(n.now(), s.name)
			x.c.must(err)
			x.c.settle()
			if !n.core.Visible(token) {
				problems = append(problems, fmt.Sprintf("%s does not learn that all have seen %s", n.name, s.name))
			}
			n.core.Release(n.now(), token)
		}
	}
	x.c.settle()
	for _, n := range x.c.nodes {
		for _, d := range n.core.domains {
			for r := range d.ackRequests {
				if r.path.reached {
					problems = append(problems, fmt.Sprintf("%s still collects who has seen %s", n.name, r.name()))
				}
			}
		}
	}
	return problems
}

func (x *chaos) build() {
	size := 2 + x.rnd.IntN(8)
	if x.rnd.IntN(10) == 0 {
		size = 10 + x.rnd.IntN(41)
	}
	x.nss = []string{"one", "two", "three", "four"}[:1+x.rnd.IntN(4)]
	for i := range 3 + x.rnd.IntN(4) {
		x.fns = append(x.fns, fmt.Sprintf("/t.S/F%d", i))
	}
	for i := range size {
		n := x.c.add(fmt.Sprintf("n%d", i))
		x.furnish(n)
	}
	for i := range x.rnd.IntN(3) {
		p := x.c.start(fmt.Sprintf("p%d", i), true)
		p.declare(x.nss...)
		p.declare("all", "some")
	}
}

// furnish declares namespaces and groups at a node.
func (x *chaos) furnish(n *simNode) {
	n.core.keptRemovals = 1 + x.rnd.IntN(4)
	for _, ns := range x.nss {
		if x.rnd.IntN(4) > 0 {
			n.declare(ns)
		}
	}
	for _, group := range []string{"all", "some"} {
		var members []string
		for _, ns := range x.nss {
			if x.rnd.IntN(2) == 0 {
				members = append(members, ns)
			}
		}
		x.rnd.Shuffle(len(members), func(i, j int) { members[i], members[j] = members[j], members[i] })
		switch x.rnd.IntN(4) {
		case 0:
			n.declare(group)
		case 1:
			if len(members) > 0 {
				bridged := x.rnd.IntN(3) == 0
				x.log("%s: group %s %v bridged %v", n.name, group, members, bridged)
				x.c.must(n.core.DeclareGroup(n.now(), group, members, bridged))
				if bridged {
					x.bridges = append(x.bridges, members)
				}
			}
		}
	}
}

func (x *chaos) any() *simNode { return x.c.nodes[x.rnd.IntN(len(x.c.nodes))] }

func (x *chaos) disturb() {
	x.c.now = x.c.now.Add(time.Duration(x.rnd.IntN(1000)) * time.Millisecond)
	if x.c.skew != nil && x.rnd.IntN(10) == 0 {
		x.any().jump = x.c.skew()
	}
	switch x.rnd.IntN(21) {
	case 0, 1, 2, 3, 4, 5:
		x.connect(x.any(), x.any())
	case 6, 7, 8, 9:
		if len(x.c.links) > 0 {
			l := x.c.links[x.rnd.IntN(len(x.c.links))]
			x.log("cut %d %s-%s", l.id, l.ends[0].name, l.ends[1].name)
			x.c.notice(l, x.rnd.IntN(2), Cause{Text: "cut"})
		}
	case 10, 11, 12, 13, 14:
		x.register(x.any())
	case 15, 16, 17:
		x.unregister(x.any())
	case 18:
		if x.rnd.IntN(3) == 0 {
			x.restart(x.any())
		}
	case 19:
		x.furnishMore(x.any())
	case 20:
		x.leave(x.any())
	}
}

// connect links two nodes in some of the names that both hold.
func (x *chaos) connect(a, b *simNode) {
	if a == b || b.core.cfg.Observer || a.core.cfg.Observer && len(a.links) > 0 {
		return
	}
	var names []string
	for _, s := range a.core.declared {
		if b.core.namespaces[s.name] != nil && x.rnd.IntN(2) == 0 {
			names = append(names, s.name)
		}
	}
	asked, err := a.core.Ask(names)
	x.c.must(err)
	answer, _, err := b.core.Answer(asked)
	x.c.must(err)
	names = nil
	for _, n := range answer {
		names = append(names, n.Name)
	}
	if len(names) == 0 {
		return
	}
	l, err := x.c.tryLink(a, b, names...)
	if _, former := errors.AsType[*DuplicateError](err); former {
		return // it restarted, and its former life is in reach yet
	}
	x.c.must(err)
	x.log("link %d %s-%s %v", l.id, a.name, b.name, names)
}

func (x *chaos) register(n *simNode) {
	s := n.core.declared
	if len(s) == 0 {
		return
	}
	ns := s[x.rnd.IntN(len(s))].name
	i := x.rnd.IntN(len(x.fns))
	p, policy, schema := x.fns[i], PolicySingle, ""
	switch i {
	case 0:
		policy = PolicyRoundRobin
	case 1:
		policy = Policy(x.rnd.IntN(3))
	case 2:
		policy, schema = PolicyRandom, x.schema()
	}
	f := Function{Procedure: p, Policy: policy, Registered: n.wall().UnixNano(), Schema: []byte(schema)}
	if err := n.core.Register(n.now(), ns, []Function{f}); err != nil {
		x.log("%s: register %s in %s: %v", n.name, p, ns, err)
		return
	}
	x.log("%s: register %s %s in %s", n.name, p, schema, ns)
	for _, m := range n.core.members(ns) {
		x.origins[place3{n.name, m.name, p}] = mark{node: n.name, policy: policy, schema: schema}
	}
}

// schema returns one of a few, of two sorts, or none.
func (x *chaos) schema() string { return []string{"", "a1", "a2", "a3", "b1", "b2"}[x.rnd.IntN(6)] }

func (x *chaos) unregister(n *simNode) {
	var held []place3
	for at := range x.origins {
		if at.node == n.name {
			held = append(held, at)
		}
	}
	if len(held) == 0 {
		return
	}
	slices.SortFunc(held, func(a, b place3) int { return strings.Compare(a.ns+a.procedure, b.ns+b.procedure) })
	at := held[x.rnd.IntN(len(held))]
	x.log("%s: unregister %s in %s", n.name, at.procedure, at.ns)
	n.core.Unregister(n.now(), at.ns, []string{at.procedure})
	delete(x.origins, at)
}

// restart ends a node and starts it again: its links are lost.
func (x *chaos) restart(n *simNode) {
	x.log("restart %s", n.name)
	for _, l := range slices.Clone(x.c.links) {
		if l.ends[0] == n || l.ends[1] == n {
			x.c.cut(l, "restart")
		}
	}
	if n.core.cfg.Observer {
		return
	}
	maps.DeleteFunc(x.origins, func(at place3, _ mark) bool { return at.node == n.name })
	back := time.Duration(0)
	if x.rnd.IntN(2) == 0 {
		back = time.Duration(x.rnd.IntN(3600)) * time.Second // its clock is wrong now
	}
	x.c.now = x.c.now.Add(-back)
	n.boot(false)
	x.c.now = x.c.now.Add(back)
	x.furnish(n)
}

// leave makes a node say goodbye. It goes on as a relay until its links are cut.
func (x *chaos) leave(n *simNode) {
	if x.rnd.IntN(3) > 0 {
		return
	}
	x.log("%s leaves", n.name)
	n.core.Leave(n.now())
	maps.DeleteFunc(x.origins, func(at place3, _ mark) bool { return at.node == n.name })
}

// furnishMore declares a bridged group late.
func (x *chaos) furnishMore(n *simNode) {
	if len(x.nss) < 2 || x.rnd.IntN(4) > 0 || n.core.cfg.Observer {
		return
	}
	i := x.rnd.IntN(len(x.nss) - 1)
	err := n.core.DeclareGroup(n.now(), "late", x.nss[i:i+2], true)
	x.bridges = append(x.bridges, x.nss[i:i+2])
	x.log("%s: late group %v: %v", n.name, x.nss[i:i+2], err)
}
