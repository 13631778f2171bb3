package mesh

import (
	"errors"
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
	truth := about.core.spaces["default"].own
	if p.n(8) == 0 {
		w.Node = id(fmt.Sprintf("made-up %d", p.n(4)))
	}
	soon := uint64(x.now.UnixNano())
	w.Incarnation = []uint64{
		truth.inc, truth.inc + 1, soon, soon + uint64(time.Second), soon + uint64(maxAhead), 1<<62 - 1, 1 << 62, 1, truth.inc + 2*outdoWithin,
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
	x.liar.core.links[l.id].domains[0].sent++ // as far as the other end can tell
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
			_ = n.register("default", fmt.Sprintf("/t.%s/F%d", n.name, n.core.spaces["default"].own.version)) // up to the limit
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
			truth := to.core.spaces["default"].own
			if r := from.core.spaces["default"].db.byVertex[truth.vertex]; r.String() != truth.String() {
				problems = append(problems, fmt.Sprintf("%s has %v, it is %v", from.name, r, truth))
			}
		}
		if what := from.core.spaces["default"].db.unsound(); what != "" {
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
		if known := len(n.core.spaces["default"].db.byVertex); known != len(x.honest) {
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

// chainOf is nodes in a row, each with a function, at rest.
func chainOf(t testing.TB, names ...string) *cluster {
	c := newCluster(t)
	for i, name := range names {
		n := c.add(name)
		n.declare("default")
		c.must(n.register("default", "/t."+name+"/Get"))
		if i > 0 {
			c.link(n, c.nodes[i-1], "default")
		}
	}
	c.settle()
	return c
}

func (n *simNode) record(of *simNode) *record {
	return n.core.spaces["default"].db.byVertex[vertex{of.core.cfg.ID, "default"}]
}

// forge is a record of a node as a liar copies it: later, with its key, and without what it offers.
func forge(of *simNode, inc uint64) *linkv1.Record {
	return &linkv1.Record{Node: id(of.name), Incarnation: inc, Start: of.started, Version: 1, Key: of.core.cfg.Key}
}

func (c *cluster) tell(l *simLink, to *simNode, records ...*linkv1.Record) {
	c.t.Helper()
	l.ends[1-l.end(to)].core.links[l.id].domains[0].sent++ // as far as the other end can tell
	c.must(to.core.Receive(c.now, l.id, &linkv1.Table{Namespace: "default", Records: records}))
}

// TestLastWord tells a neighbour of a node that the node has restarted, again and again: it answers each time, and
// stays.
func TestLastWord(t *testing.T) {
	c := chainOf(t, "victim", "b", "c", "liar")
	victim, b, far, liar := c.nodes[0], c.nodes[1], c.nodes[2], c.nodes[3]
	l := c.between(liar, far)[0]
	for i := range uint64(10) {
		// Twice is what once made it stand back: what it has outdone is outdone, by one that started earlier.
		w := forge(victim, victim.core.inc+1)
		w.Start = i % 2
		c.tell(l, far, w)
		c.settle()
		if _, at, _, err := c.call(b, "default", "/t.victim/Get"); err != nil || at != victim {
			t.Fatalf("%d: its neighbour: %v", i, err)
		}
		c.advance(DigestInterval)
		c.settle()
		for _, from := range c.nodes {
			if _, at, _, err := c.call(from, "default", "/t.victim/Get"); err != nil || at != victim {
				t.Errorf("%d: from %s: %v", i, from.name, err)
			}
		}
	}
	disputed := 0
	for _, e := range victim.events {
		if e.Kind == NodeDisputed {
			disputed += e.Count
		}
	}
	if disputed < 5 {
		t.Errorf("%d of 10 lies were told of", disputed)
	}
}

// TestAnswersAreBounded floods a node with records of itself: it tells its own anew a few times, and again when
// time has passed.
func TestAnswersAreBounded(t *testing.T) {
	c := chainOf(t, "victim", "b", "liar")
	victim, b, liar := c.nodes[0], c.nodes[1], c.nodes[2]
	l := c.between(liar, b)[0]
	answers := 0
	last := victim.core.inc
	for range 1000 {
		c.tell(l, b, forge(victim, victim.core.inc+1000))
		c.settle()
		if victim.core.inc != last {
			answers++
			last = victim.core.inc
		}
	}
	if answers != outdoAtOnce {
		t.Errorf("%d answers to 1,000 lies at once", answers)
	}
	due := victim.core.Tick(c.now)
	if due.Sub(c.now) > outdoInterval {
		t.Errorf("the next answer is due in %v", due.Sub(c.now))
	}
	c.advance(due.Sub(c.now))
	c.settle()
	for range 3 {
		c.advance(DigestInterval)
		c.settle()
	}
	for _, from := range c.nodes {
		if r := from.record(victim); r.String() != victim.record(victim).String() {
			t.Errorf("%s has %v", from.name, r)
		}
	}
}

// TestFuture tells of incarnations that lie ahead: those far ahead are not believed, and one at the edge can be
// outdone.
func TestFuture(t *testing.T) {
	for _, ahead := range []time.Duration{maxAhead - time.Nanosecond, maxAhead, maxAhead + time.Hour, 80 * 365 * 24 * time.Hour} {
		t.Run(ahead.String(), func(t *testing.T) {
			c := chainOf(t, "liar", "b", "c", "victim")
			liar, b, victim := c.nodes[0], c.nodes[1], c.nodes[3]
			inc := uint64(c.now.Add(ahead).UnixNano())
			l := c.between(liar, b)[0]
			c.tell(l, b, forge(victim, inc))
			if ahead > maxAhead && b.record(victim).inc >= inc {
				t.Error("it was believed")
			}
			c.settle()
			for _, from := range c.nodes[1:] {
				if _, at, _, err := c.call(from, "default", "/t.victim/Get"); err != nil || at != victim {
					t.Errorf("from %s: %v", from.name, err)
				}
			}
			// It restarts, and knows nothing of all that.
			c.cut(c.between(victim, c.nodes[2])[0], "restart")
			c.now = c.now.Add(time.Second)
			victim.boot(false)
			victim.declare("default")
			c.must(victim.register("default", "/t.victim/Get"))
			c.link(victim, c.nodes[2], "default")
			c.settle()
			for _, from := range c.nodes[1:] {
				if _, at, _, err := c.call(from, "default", "/t.victim/Get"); err != nil || at != victim {
					t.Errorf("restarted: from %s: %v", from.name, err)
				}
			}
		})
	}
}

// TestClockAhead refuses a link with a node that started in the future, and says so.
func TestClockAhead(t *testing.T) {
	c := newCluster(t)
	a, b := c.add("a"), c.add("b")
	a.declare("default")
	c.now = c.now.Add(25 * time.Hour)
	b.boot(false)
	b.declare("default")
	c.now = c.now.Add(-25 * time.Hour)
	_, err := c.tryLink(a, b, "default")
	if e := new(ClockError); !errors.As(err, &e) || !strings.Contains(e.Error(), `"b" started 25h0m0s from now by the clock of node "a"`) &&
		!strings.Contains(e.Error(), `"a"`) {
		t.Errorf("error %v", err)
	}
	c.now = c.now.Add(2 * time.Hour)
	c.link(a, b, "default")
}

// TestFirstHand: of a node that it has a link with a node believes nobody else, and it is believed as soon as it
// has a link, whatever was told before.
func TestFirstHand(t *testing.T) {
	t.Run("while the link is up", func(t *testing.T) {
		c := chainOf(t, "victim", "b", "liar")
		victim, b, liar := c.nodes[0], c.nodes[1], c.nodes[2]
		truth := b.record(victim).String()
		for _, key := range [][]byte{victim.core.cfg.Key, nil, slices.Repeat([]byte{1}, keyBytes)} {
			w := forge(victim, victim.core.inc+1)
			w.Key = key
			c.tell(c.between(liar, b)[0], b, w)
			if got := b.record(victim).String(); got != truth {
				t.Errorf("b believes %s", got)
			}
		}
	})
	t.Run("when the link comes up", func(t *testing.T) {
		c := chainOf(t, "liar", "b", "c")
		liar, b := c.nodes[0], c.nodes[1]
		victim := c.add("victim")
		w := forge(victim, victim.started+1)
		w.Key = slices.Repeat([]byte{1}, keyBytes)
		w.Neighbours = []*linkv1.Neighbour{{At: 1, Node: id("liar"), Cost: 1, Incarnation: liar.started}}
		self := &linkv1.Record{
			Node: id("liar"), Incarnation: liar.core.inc, Key: liar.core.cfg.Key, Since: 3, Version: 4,
			Neighbours: []*linkv1.Neighbour{{At: 1, Node: id("victim"), Cost: 1, Incarnation: victim.started}},
		}
		c.tell(c.between(liar, b)[0], b, w, self)
		b.core.settle()
		if !b.record(victim).path.reached {
			t.Fatal("the lie is not in reach")
		}
		victim.declare("default")
		c.must(victim.register("default", "/t.victim/Get"))
		c.link(victim, b, "default")
		c.settle()
		if _, at, _, err := c.call(b, "default", "/t.victim/Get"); err != nil || at != victim {
			t.Error(err)
		}
	})
}

// TestOtherKey: with another's id and incarnation, but not its key, a process is another one.
func TestOtherKey(t *testing.T) {
	c := chainOf(t, "victim", "b", "c")
	victim, b := c.nodes[0], c.nodes[1]
	thief := c.add("thief")
	for _, key := range [][]byte{nil, slices.Repeat([]byte{1}, keyBytes)} {
		names := []*linkv1.LinkNamespace{{Name: "default"}}
		err := b.core.LinkUp(c.now, 1000, Peer{ID: victim.core.cfg.ID, Incarnation: victim.started, Key: key, Info: thief.core.cfg.Info, Local: names, Remote: names})
		if e := new(DuplicateError); !errors.As(err, &e) {
			t.Errorf("error %v", err)
		}
	}
	c.link(victim, b, "default") // the same process
	// A proxy's goodbye is its own, whatever it calls itself.
	names := []*linkv1.LinkNamespace{{Name: "default"}}
	c.must(b.core.LinkUp(c.now, 1001, Peer{ID: victim.core.cfg.ID, Observer: true, Local: names, Remote: names}))
	b.core.LinkDown(c.now, 1001, Cause{Text: "goodbye", Goodbye: true})
	c.settle()
	if _, at, _, err := c.call(c.nodes[2], "default", "/t.victim/Get"); err != nil || at != victim {
		t.Error(err)
	}
	if b.record(victim).leaving() {
		t.Error("b believes that it leaves")
	}
}

// TestLieBeforeTheLink: what was told of a node before it comes does not make its own word too much.
func TestLieBeforeTheLink(t *testing.T) {
	c := chainOf(t, "liar", "b")
	liar, b := c.nodes[0], c.nodes[1]
	b.core.cfg.Limits = Limits{Neighbours: 10, MemberFunctions: 10}.withDefaults()
	victim := c.add("victim")
	for i := range uint64(2) {
		w := forge(victim, victim.started)
		w.Since, w.Version = i, i+1
		for j := range 10 {
			w.Neighbours = append(w.Neighbours, &linkv1.Neighbour{At: 1, Node: id(fmt.Sprintf("%d of %d", j, i)), Cost: 1})
		}
		for j := range 5 {
			w.Functions = append(w.Functions, &linkv1.Function{At: 1, Procedure: fmt.Sprintf("/t.Lie%d/F%d", i, j)})
		}
		c.tell(c.between(liar, b)[0], b, w)
	}
	victim.declare("default")
	c.must(victim.register("default", "/t.victim/Get", "/t.victim/Put", "/t.victim/Do"))
	c.link(victim, b, "default")
	c.settle() // with an error no link would be left
	for range 2 {
		c.advance(DigestInterval)
		c.settle()
	}
	if _, at, _, err := c.call(b, "default", "/t.victim/Get"); err != nil || at != victim {
		t.Error(err)
	}
}

// TestLieComesFirst tells of a node before its own record comes, at just that incarnation. The truth comes through,
// and stays when the liar has gone.
func TestLieComesFirst(t *testing.T) {
	for name, lie := range map[string]func(w *linkv1.Record, c *simNode){
		"another key, and a link with an honest node": func(w *linkv1.Record, c *simNode) {
			w.Key, w.Version = slices.Repeat([]byte{1}, keyBytes), 100
			w.Neighbours = []*linkv1.Neighbour{{At: 100, Node: id("c"), Cost: 1, Incarnation: c.started, Key: c.core.cfg.Key}}
		},
		"its key and its version, without its links": func(w *linkv1.Record, _ *simNode) { w.Version = 3 },
		"another start": func(w *linkv1.Record, _ *simNode) { w.Start, w.Version = 1, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			x := chainOf(t, "liar", "b", "c")
			liar, b, c := x.nodes[0], x.nodes[1], x.nodes[2]
			victim := x.add("victim")
			victim.declare("default")
			x.must(victim.register("default", "/t.victim/Get"))
			x.link(victim, c, "default")
			w := forge(victim, victim.started)
			lie(w, c)
			l := x.between(liar, b)[0]
			x.tell(l, b, w)
			x.settle()
			x.cut(l, "the liar is gone")
			for range 3 {
				x.advance(DigestInterval)
				x.settle()
			}
			if _, at, _, err := x.call(b, "default", "/t.victim/Get"); err != nil || at != victim {
				t.Error(err)
			}
		})
	}
}
