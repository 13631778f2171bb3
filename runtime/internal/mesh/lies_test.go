package mesh

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

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
	return n.core.namespaces["default"].domain.byVertex[vertex{of.core.cfg.ID, "default"}]
}

// forge is a record of a node as a liar copies it: later, with its key, and without what it offers.
func forge(of *simNode, inc uint64) *linkv1.Record {
	return &linkv1.Record{Node: id(of.name), Incarnation: inc, Start: of.started, Version: 1, Key: of.core.cfg.Key}
}

func (c *cluster) tell(l *simLink, to *simNode, records ...*linkv1.Record) {
	c.t.Helper()
	l.ends[1-l.end(to)].core.links[l.id].domains[0].tablesSent++ // as far as the other end can tell
	c.must(to.core.Receive(c.now, l.id, &linkv1.Table{Namespace: "default", Records: records}))
}

// TestLastWord tells a neighbour of a node that the node has restarted, again and again: it answers each time, and
// stays.
func TestLastWord(t *testing.T) {
	c := chainOf(t, "victim", "b", "c", "liar")
	victim, b, far, liar := c.nodes[0], c.nodes[1], c.nodes[2], c.nodes[3]
	l := c.between(liar, far)[0]
	for i := range uint64(10) {
		// Twice is what once made it stand back: what it has superseded is superseded, by one that started earlier.
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
	if answers != supersedeBurst {
		t.Errorf("%d answers to 1,000 lies at once", answers)
	}
	due := victim.core.Tick(c.now)
	if due.Sub(c.now) > supersedeInterval {
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
// superseded.
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
		b.core.recompute()
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
