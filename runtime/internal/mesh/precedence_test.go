package mesh

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

const contestedFn = "/t.S/Contested"

// incumbency is a random cluster with clocks that are hours off, of which every node's view of one function
// is followed.
type incumbency struct {
	*cluster
	rnd   *rand.Rand
	mesh  []*simNode // all that are joined
	born  map[string]time.Time
	seen  map[string][]string // by node: who served, as it changed
	fault string
}

func newIncumbency(t testing.TB, seed uint64) *incumbency {
	c := newCluster(t)
	x := &incumbency{cluster: c, rnd: rand.New(rand.NewPCG(seed, 9)), born: map[string]time.Time{}, seen: map[string][]string{}}
	c.piece = 60 + x.rnd.IntN(1000)
	c.skew = func() time.Duration { return time.Duration(x.rnd.IntN(6*3600)-3*3600) * time.Second }
	x.mesh = x.island("n", 2+x.rnd.IntN(6))
	return x
}

// island is some nodes of a connected graph.
func (x *incumbency) island(prefix string, n int) (nodes []*simNode) {
	for i := range n {
		node := x.add(fmt.Sprintf("%s%d", prefix, i))
		node.declare("default")
		for k, to := range nodes {
			if k == i-1 || x.rnd.IntN(4) == 0 {
				x.link(node, to, "default")
			}
		}
		nodes = append(nodes, node)
	}
	x.settle()
	return nodes
}

// offer makes a node an origin, by what its wall clock says just then.
func (x *incumbency) offer(n *simNode) {
	n.jump = x.skew()
	x.must(n.register("default", contestedFn))
	x.born[n.name] = x.cluster.now
	x.settle()
}

// pass lets time go by.
func (x *incumbency) pass(d time.Duration) {
	for ; d > 0; d -= min(d, time.Second) {
		x.advance(min(d, time.Second))
		x.settle()
	}
}

// run lets all messages arrive in random order, within a fraction of a second, and looks at each moment
// at who serves at nodes; then until the origins have settled.
func (x *incumbency) run(nodes []*simNode) {
	for n := 0; x.step(x.rnd); n++ {
		if x.cluster.now = x.cluster.now.Add(time.Duration(x.rnd.IntN(200)) * time.Microsecond); n > 50_000 {
			x.t.Fatal("it does not come to rest")
		}
		x.look(nodes)
	}
	for range 10 {
		x.advance(time.Second)
		for x.step(x.rnd) {
			x.look(nodes)
		}
		x.look(nodes)
	}
}

func (x *incumbency) look(nodes []*simNode) {
	for _, n := range nodes {
		n.core.Events()
		choice, ok := n.core.Snapshot().Find("default", contestedFn)
		if !ok {
			continue
		}
		at := x.name(choice.Targets[0].Node)
		if s := x.seen[n.name]; len(s) == 0 || s[len(s)-1] != at {
			x.seen[n.name] = append(s, at)
		}
	}
}

func (x *incumbency) name(id nodeid.ID) string { return strings.TrimRight(string(id[:]), "\x00") }

// want checks what nodes saw since the last time: each of them one of these accounts.
func (x *incumbency) want(what string, nodes []*simNode, accounts ...string) {
	for _, n := range nodes {
		if got := strings.Join(x.seen[n.name], " "); !slices.Contains(accounts, got) && x.fault == "" {
			x.fault = fmt.Sprintf("%s: %s is served by %q, want one of %q", what, n.name, got, accounts)
		}
	}
	clear(x.seen)
}

// TestIncumbentStays lets nodes join that have a function which is served already, with whatever clock, alone
// or with others, in random orders of what they tell: nobody is served by them until the incumbent goes, and
// then it does not displace who took over. A failure prints the seed that replays it.
func TestIncumbentStays(t *testing.T) {
	seeds(t, func(seed uint64) string {
		x := newIncumbency(t, seed)
		first := x.mesh[x.rnd.IntN(len(x.mesh))]
		x.offer(first)
		x.pass(time.Duration(2+x.rnd.IntN(20)) * time.Second)

		guests := x.island("g", 1+x.rnd.IntN(3))
		late := guests[x.rnd.IntN(len(guests))]
		x.offer(late)
		x.pass(time.Duration(x.rnd.IntN(20)) * time.Second)
		hosts := slices.Clone(x.mesh)
		x.look(hosts)
		for range 1 + x.rnd.IntN(2) {
			x.link(guests[x.rnd.IntN(len(guests))], hosts[x.rnd.IntN(len(hosts))], "default")
		}
		x.run(slices.Concat(hosts, guests))
		x.want("joined", hosts, first.name)
		x.seen = map[string][]string{}
		x.look(x.nodes)
		x.want("at rest", x.nodes, first.name)

		x.look(x.nodes)
		first.core.Unregister(first.now(), "default", []string{contestedFn})
		x.run(x.nodes)
		x.want("gone", x.nodes, first.name+" "+late.name)

		x.isolate(first)
		x.pass(time.Duration(x.rnd.IntN(20)) * time.Second)
		first.boot(false)
		first.declare("default")
		x.offer(first)
		x.pass(time.Duration(x.rnd.IntN(20)) * time.Second)
		others := slices.DeleteFunc(slices.Clone(x.nodes), func(n *simNode) bool { return n == first })
		x.look(others)
		x.link(first, late, "default")
		x.run(x.nodes)
		x.want("back", slices.DeleteFunc(others, func(n *simNode) bool { return !x.reaches(n, late) }), late.name)
		return x.fault
	})
}

// isolate cuts all links of a node.
func (x *incumbency) isolate(n *simNode) {
	for _, l := range slices.Clone(x.links) {
		if l.ends[0] == n || l.ends[1] == n {
			x.cut(l, "cut")
		}
	}
	x.settle()
}

func (x *incumbency) reaches(a, b *simNode) bool {
	r := a.core.namespaces["default"].domain.byVertex[vertex{b.core.cfg.ID, "default"}]
	return r != nil && r.path.reached
}

// TestPartitionHeals joins two meshes with an origin each, or more: all agree on the oldest, whatever the
// clocks say, and those whom it does not serve yet change over once.
func TestPartitionHeals(t *testing.T) {
	seeds(t, func(seed uint64) string {
		x := newIncumbency(t, seed)
		islands := [][]*simNode{x.mesh}
		for i := range 1 + x.rnd.IntN(2) {
			islands = append(islands, x.island(string(rune('a'+i)), 1+x.rnd.IntN(5)))
		}
		x.rnd.Shuffle(len(islands), func(i, j int) { islands[i], islands[j] = islands[j], islands[i] })
		var origins []*simNode
		for _, is := range islands {
			n := is[x.rnd.IntN(len(is))]
			x.offer(n)
			origins = append(origins, n)
			x.pass(time.Second + time.Duration(x.rnd.IntN(60))*time.Second)
		}
		x.look(x.nodes)
		order := slices.Clone(islands)
		x.rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for i := range order[1:] {
			for range 1 + x.rnd.IntN(2) {
				x.link(order[i][x.rnd.IntN(len(order[i]))], order[i+1][x.rnd.IntN(len(order[i+1]))], "default")
			}
		}
		x.run(x.nodes)
		for i, is := range islands {
			accounts := []string{origins[0].name}
			if i > 0 {
				accounts = []string{origins[i].name + " " + origins[0].name}
			}
			if i > 1 { // it may hear of the second oldest first
				accounts = append(accounts, origins[i].name+" "+origins[1].name+" "+origins[0].name)
			}
			for _, n := range is {
				if got := strings.Join(x.seen[n.name], " "); !slices.Contains(accounts, got) {
					return fmt.Sprintf("%s is served by %q, want one of %q", n.name, got, accounts)
				}
			}
		}
		return ""
	})
}

// seeds runs a test with many seeds, or with the one that is asked for.
func seeds(t *testing.T, run func(seed uint64) string) {
	from, to := uint64(1), uint64(*runsFlag)
	if *seedFlag != 0 {
		from, to = *seedFlag, *seedFlag
	}
	for seed := from; seed <= to; seed++ {
		if fault := run(seed); fault != "" {
			t.Fatalf("replay with -run %s -mesh.seed %d: %s", t.Name(), seed, fault)
		}
	}
}
