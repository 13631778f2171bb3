package mesh

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// choices are a program: each byte is one choice.
type choices []byte

// n returns the next choice of n, 0 at the end.
func (p *choices) n(n int) int {
	if len(*p) == 0 {
		return 0
	}
	c := int((*p)[0]) % n
	*p = (*p)[1:]
	return c
}

// liars is a cluster of honest nodes and a member that tells what it likes of others.
type liars struct {
	*cluster
	program *choices
	honest  []*simNode
	liar    *simNode
	links   []*simLink // of honest nodes
}

func newLiars(t testing.TB, program *choices) *liars {
	x := &liars{cluster: newCluster(t), program: program}
	size := 2 + program.n(5)
	for i := range size {
		n := x.add(fmt.Sprintf("n%d", i))
		n.declare("default")
		x.must(n.register("default", fmt.Sprintf("/t.N%d/Get", i)))
		if i > 0 {
			x.link(n, x.nodes[program.n(i)], "default")
		}
	}
	for range program.n(4) {
		a, b := program.n(size), program.n(size)
		if a != b {
			x.link(x.nodes[a], x.nodes[b], "default")
		}
	}
	if program.n(2) == 0 {
		for _, n := range x.nodes {
			n.core.cfg.Limits = Limits{Members: size + 3, Neighbours: 8, MemberFunctions: 30, Functions: 30 * size}.withDefaults()
		}
	}
	x.honest, x.links = slices.Clone(x.nodes), slices.Clone(x.cluster.links)
	x.liar = x.add("liar")
	x.liar.declare("default")
	x.settle()
	return x
}

// lie makes up a record.
func (x *liars) lie() *linkv1.Record {
	p := x.program
	about := append(slices.Clone(x.honest), x.liar)[p.n(len(x.honest)+1)]
	w := &linkv1.Record{Node: id(about.name), Version: 3}
	truth := about.core.namespaces["default"].record
	if p.n(8) == 0 {
		w.Node = id(fmt.Sprintf("made-up %d", p.n(4)))
	}
	soon := uint64(x.now.UnixNano())
	w.Incarnation = []uint64{
		truth.inc, truth.inc + 1, soon, soon + uint64(time.Second), soon + uint64(maxAhead), 1<<62 - 1, 1 << 62, 1, truth.inc + 2*supersedeStep,
	}[p.n(9)]
	w.Start = []uint64{0, truth.start, 1, soon}[p.n(4)]
	w.Key = [][]byte{truth.key, nil, slices.Repeat([]byte{byte(p.n(3))}, keyBytes)}[p.n(3)]
	w.Version = []uint64{3, truth.version, truth.version + 1, 1 << 62}[p.n(4)]
	if w.Version > 1 && p.n(4) == 0 {
		w.Since = w.Version - 1
	}
	span := w.Version - w.Since
	if p.n(2) == 0 {
		w.About = &linkv1.About{At: span, Info: &linkv1.NodeInfo{Name: "lie"}, Leaving: p.n(4) == 0}
	}
	for range p.n(4) {
		o := x.nodes[p.n(len(x.nodes))]
		w.Neighbours = append(w.Neighbours, &linkv1.Neighbour{
			At: span, Node: id(o.name), Cost: 1, Incarnation: o.started, Removed: p.n(4) == 0,
			Key: [][]byte{nil, o.core.cfg.Key}[p.n(2)],
		})
	}
	for range p.n(3) {
		w.Functions = append(w.Functions, &linkv1.Function{
			At: span, Procedure: fmt.Sprintf("/t.N%d/Get", p.n(len(x.honest))), Registered: uint64(p.n(3)), Removed: p.n(4) == 0,
		})
	}
	w.More = p.n(8) == 0
	return w
}

// tell has the liar tell an honest node something over one of its links.
func (x *liars) tell(l *simLink) {
	p := x.program
	to := l.ends[1-l.end(x.liar)]
	x.liar.core.links[l.id].domains[0].tablesSent++ // as far as the other end can tell
	t := &linkv1.Table{Namespace: "default"}
	for range 1 + p.n(3) {
		w := x.lie()
		switch p.n(6) {
		case 0:
			t.Claims = append(t.Claims, &linkv1.Claim{Node: w.Node, Incarnation: w.Incarnation, Start: w.Start, Version: w.Version, Key: w.Key})
		case 1:
			t.Summary = &linkv1.Summary{Buckets: allBuckets, Answer: p.n(2) == 0, Entries: []*linkv1.Entry{
				{Node: w.Node, Incarnation: w.Incarnation, Version: w.Version, Sum: uint64(p.n(2))},
			}}
		case 2:
			t.Digest = &linkv1.Digest{Sums: []uint64{uint64(p.n(3))}}
		default:
			t.Records = append(t.Records, w)
		}
	}
	if to.core.Receive(x.now, l.id, t) != nil {
		x.cut(l, "it told wrong of itself")
	}
}

// run lets the liar do its worst.
func (x *liars) run() {
	for len(*x.program) > 0 {
		mine := slices.Collect(func(yield func(*simLink) bool) {
			for _, l := range x.liar.links {
				if !yield(l) {
					return
				}
			}
		})
		slices.SortFunc(mine, func(a, b *simLink) int { return int(a.id) - int(b.id) })
		switch p := x.program; p.n(8) {
		case 0:
			x.link(x.liar, x.honest[p.n(len(x.honest))], "default")
		case 1:
			x.advance(time.Duration(p.n(20)) * time.Second)
		case 2:
			x.settle()
		case 3:
			n := x.honest[p.n(len(x.honest))]
			_ = n.register("default", fmt.Sprintf("/t.%s/F%d", n.name, n.core.namespaces["default"].record.version)) // up to the limit
		default:
			if len(mine) > 0 {
				x.tell(mine[p.n(len(mine))])
			}
		}
	}
}

// leave lets the liar go, and time for what it told to be put right.
func (x *liars) leave() {
	for _, l := range slices.Clone(x.cluster.links) {
		if l.ends[0] == x.liar || l.ends[1] == x.liar {
			x.cut(l, "the liar is gone")
		}
	}
	for range 12 {
		x.advance(DigestInterval)
		x.settle()
	}
}

// wrong says what the liar has done for good.
func (x *liars) wrong() (problems []string) {
	for _, l := range x.links {
		if l.down[0] || l.down[1] {
			problems = append(problems, fmt.Sprintf("the link of %s and %s is down", l.ends[0].name, l.ends[1].name))
		}
	}
	for _, from := range x.honest {
		for _, to := range x.honest {
			if _, at, _, err := x.call(from, "default", "/t.N"+to.name[1:]+"/Get"); err != nil || at != to {
				problems = append(problems, fmt.Sprintf("from %s to %s: %v", from.name, to.name, err))
			}
			truth := to.core.namespaces["default"].record
			if r := from.core.namespaces["default"].domain.byVertex[truth.vertex]; r.String() != truth.String() {
				problems = append(problems, fmt.Sprintf("%s has %v, it is %v", from.name, r, truth))
			}
		}
		if what := from.core.namespaces["default"].domain.unsound(); what != "" {
			problems = append(problems, from.name+": "+what)
		}
	}
	return problems
}

// outlast runs a program and checks that nothing is left of it.
func outlast(t testing.TB, program choices) {
	x := newLiars(t, &program)
	x.run()
	x.leave()
	if problems := x.wrong(); problems != nil {
		t.Fatal(strings.Join(problems[:min(5, len(problems))], "\n"))
	}
	x.stats = stats{}
	x.advance(DigestInterval)
	x.settle()
	if x.stats.records > 0 || x.stats.tables > 2*len(x.links) {
		t.Errorf("digests at rest took %d tables with %d records on %d links", x.stats.tables, x.stats.records, len(x.links))
	}
	x.advance(ForgetAfter)
	for _, n := range x.honest {
		if known := len(n.core.namespaces["default"].domain.byVertex); known != len(x.honest) {
			t.Errorf("%s knows %d members", n.name, known)
		}
	}
}

func program(seed uint64) choices {
	rnd := rand.New(rand.NewPCG(seed, 11))
	p := make(choices, 20+rnd.IntN(400))
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}

// TestLiar lets a member tell anything of others: no honest node takes itself out, no honest link is closed, and
// once the liar is gone all is as it was.
func TestLiar(t *testing.T) {
	for seed := uint64(1); seed <= uint64(*runsFlag); seed++ {
		if *seedFlag != 0 {
			seed = *seedFlag
		}
		if !t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { outlast(t, program(seed)) }) || *seedFlag != 0 {
			t.Fatalf("replay with -run %s -mesh.seed %d", t.Name(), seed)
		}
	}
}

// FuzzLiar is TestLiar with programs that get about.
func FuzzLiar(f *testing.F) {
	for seed := range uint64(8) {
		f.Add([]byte(program(seed)))
	}
	f.Fuzz(func(t *testing.T, data []byte) { outlast(t, data[:min(len(data), 1000)]) })
}
