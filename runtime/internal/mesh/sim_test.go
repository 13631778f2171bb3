package mesh

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// cluster is nodes and links simulated in one goroutine. Tables are delivered in the order that a
// test wants, or in a random one.
type cluster struct {
	t      testing.TB
	now    time.Time
	nodes  []*simNode // in order of making
	links  []*simLink // that are up
	nextID LinkID
	boots  uint64
	piece  int           // bytes of a table
	cost   func() uint32 // of a link, as one end has it
	lossy  int           // of a hundred tables so many are lost, for no reason
	lazy   int           // of a hundred times that a node could find routes anew, it lets so many pass
	trace  func(format string, args ...any)
	share  bool                 // hand tables over as they are, instead of encoding them
	old    func() bool          // whether a node has no key
	judge  bool                 // nodes compare schemas that differ: those fit that begin alike
	skew   func() time.Duration // by which a node's clocks are off
	acks   bool                 // nodes say when what they were told is in effect
	stats  stats
}

// stats counts what was delivered.
type stats struct {
	tables, bytes int
	records       int
}

type simNode struct {
	c       *cluster
	name    string
	core    *Core
	started uint64
	ahead   time.Duration // of the cluster's time, by both of its clocks
	jump    time.Duration // of its wall clock, besides
	old     bool          // it has no key
	strips  bool          // it neither tells nor passes on what came of functions after the first wire
	links   map[LinkID]*simLink
	events  []Event
}

// simLink is a link with both its ends' ids the same. What end i said is in wire[i].
type simLink struct {
	id    LinkID
	ends  [2]*simNode
	wire  [2][]*linkv1.Table
	ready [2]bool // end i may have something to pull
	down  [2]bool // end i has noticed that the link is down
}

func newCluster(t testing.TB) *cluster {
	return &cluster{t: t, now: time.Unix(1_700_000_000, 0), piece: 32 << 10}
}

func (c *cluster) add(name string) *simNode { return c.start(name, false) }

func (c *cluster) start(name string, observer bool) *simNode {
	n := &simNode{c: c, name: name, links: map[LinkID]*simLink{}}
	n.old = c.old != nil && c.old()
	c.nodes = append(c.nodes, n)
	n.boot(observer)
	return n
}

// now is the time by the node's clock that does not jump, wall by the other one.
func (n *simNode) now() time.Time { return n.c.now.Add(n.ahead) }

func (n *simNode) wall() time.Time { return n.now().Add(n.jump) }

// boot gives the node a fresh core, as a start of its process does.
func (n *simNode) boot(observer bool) { n.bootAs(n.name, observer) }

// bootAs does so with an id and name that another node may have, too.
func (n *simNode) bootAs(name string, observer bool) {
	n.c.boots++
	if n.c.skew != nil {
		n.ahead, n.jump = n.c.skew(), n.c.skew()
	}
	n.started = uint64(n.wall().UnixNano()) + n.c.boots // no two are at the same nanosecond
	var id nodeid.ID
	copy(id[:], name)
	n.core = New(Config{ID: id, Incarnation: n.started, Key: n.key(), Observer: observer, Info: &linkv1.NodeInfo{Name: name}})
}

// key stands for the public half of the key of this start, unless the node speaks the wire of old.
func (n *simNode) key() []byte {
	if n.old {
		return nil
	}
	return bytes.Repeat(binary.BigEndian.AppendUint64(nil, n.started), 4)
}

// exact makes made-up records name just the present starts of their neighbours, without which no link counts. Those
// that are not of the cluster have started at 1.
func (c *cluster) exact(records ...*linkv1.Record) {
	for _, r := range records {
		for _, to := range r.GetNeighbours() {
			to.Incarnation = 1
			for _, n := range c.nodes {
				if bytes.Equal(to.GetNode(), n.core.cfg.ID[:]) {
					to.Incarnation, to.Key = n.started, n.key()
				}
			}
		}
	}
}

func (c *cluster) node(name string) *simNode {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	c.t.Fatalf("no node %s", name)
	return nil
}

func (n *simNode) declare(names ...string) {
	for _, ns := range names {
		n.c.must(n.core.Declare(n.now(), ns))
	}
}

func (n *simNode) register(ns string, procedures ...string) error {
	fns := make([]Function, len(procedures))
	for i, p := range procedures {
		fns[i] = Function{Procedure: p, Registered: n.wall().UnixNano()}
	}
	return n.core.Register(n.now(), ns, fns)
}

func (c *cluster) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// link joins two nodes.
func (c *cluster) link(a, b *simNode, names ...string) *simLink {
	c.t.Helper()
	l, err := c.tryLink(a, b, names...)
	c.must(err)
	return l
}

// tryLink joins two nodes as Join would: a dials and asks for names, b answers.
func (c *cluster) tryLink(a, b *simNode, names ...string) (*simLink, error) {
	asked, err := a.core.Ask(names)
	if err != nil {
		return nil, err
	}
	answer, unknown, err := b.core.Answer(asked)
	if err != nil || len(unknown) > 0 {
		return nil, cmp.Or(err, fmt.Errorf("%s cannot carry %v", b.name, unknown))
	}
	c.nextID++
	l := &simLink{id: c.nextID, ends: [2]*simNode{a, b}}
	if err := b.core.LinkUp(b.now(), l.id, a.peer(answer, asked)); err != nil {
		return nil, err
	}
	if err := a.core.LinkUp(a.now(), l.id, b.peer(asked, answer)); err != nil {
		b.core.LinkDown(b.now(), l.id, Cause{Text: err.Error()})
		return nil, err
	}
	c.links = append(c.links, l)
	a.links[l.id], b.links[l.id] = l, l
	return l, nil
}

// peer is the node as the other end of a link sees it.
func (n *simNode) peer(local, remote []*linkv1.LinkNamespace) Peer {
	cost := uint32(0)
	if n.c.cost != nil {
		cost = n.c.cost()
	}
	return Peer{
		Cost: cost, ID: n.core.cfg.ID, Incarnation: n.started, Key: n.core.cfg.Key, Info: n.core.cfg.Info, Observer: n.core.cfg.Observer,
		Local: local, Remote: remote, Acknowledges: n.c.acks,
	}
}

// cut breaks a link. What is under way is lost.
func (c *cluster) cut(l *simLink, text string) {
	c.cutFor(l, Cause{Text: text})
}

func (c *cluster) cutFor(l *simLink, cause Cause) {
	c.notice(l, 0, cause)
	c.notice(l, 1, cause)
}

// notice breaks a link as one end sees it; the other end still believes that it is up.
func (c *cluster) notice(l *simLink, i int, cause Cause) {
	if l.down[i] {
		return
	}
	l.down[i] = true
	n := l.ends[i]
	delete(n.links, l.id)
	n.core.LinkDown(n.now(), l.id, cause)
	if l.down[1-i] {
		c.links = slices.DeleteFunc(c.links, func(o *simLink) bool { return o == l })
	}
}

// between returns the links between two nodes.
func (c *cluster) between(a, b *simNode) (links []*simLink) {
	for _, l := range c.links {
		if l.ends == [2]*simNode{a, b} || l.ends == [2]*simNode{b, a} {
			links = append(links, l)
		}
	}
	return links
}

// wake has all nodes find routes anew, and notes which links have something to pull.
func (c *cluster) wake() {
	for _, n := range c.nodes {
		n.wake()
	}
}

func (n *simNode) wake() {
	for _, id := range n.core.Pending() {
		if l := n.links[id]; l != nil {
			l.ready[l.end(n)] = true
		}
	}
}

// act is something that a cluster can do: a table is pulled at an end of a link, or what that end said delivered.
type act struct {
	l    *simLink
	end  int
	pull bool
}

// acts returns what can be done.
func (c *cluster) acts() (acts []act) {
	for _, l := range c.links {
		for i := range l.ends {
			if l.ready[i] && !l.down[i] && len(l.wire[i]) < 3 {
				acts = append(acts, act{l, i, true})
			}
			if len(l.wire[i]) > 0 {
				acts = append(acts, act{l, i, false})
			}
		}
	}
	return acts
}

func (l *simLink) end(n *simNode) int {
	if l.ends[0] == n {
		return 0
	}
	return 1
}

// pull puts the next table of end i on the wire, and reports whether there was one.
func (c *cluster) pull(l *simLink, i int) bool {
	t := l.ends[i].core.Pull(l.ends[i].now(), l.id, c.piece)
	if t == nil {
		l.ready[i] = false
		return false
	}
	c.stats.tables++
	if l.down[0] || l.down[1] {
		return true // it is lost
	}
	if c.share {
		c.stats.bytes += proto.Size(t)
		encoded := t.ProtoReflect().GetUnknown()
		t.ProtoReflect().SetUnknown(nil)
		c.must(proto.UnmarshalOptions{Merge: true}.Unmarshal(encoded, t))
	} else {
		t = c.encoded(t)
	}
	if l.ends[i].strips {
		strip(t)
	}
	c.stats.records += len(t.GetRecords())
	l.wire[i] = append(l.wire[i], t)
	return true
}

// strip takes out of a table what nodes of the first wire do not know.
func strip(t *linkv1.Table) {
	for _, r := range t.GetRecords() {
		for _, f := range r.GetFunctions() {
			f.Age, f.FirstRegistered, f.Level, f.Behind, f.BehindRegistered = 0, 0, 0, nil, 0
		}
	}
}

func (c *cluster) encoded(t *linkv1.Table) *linkv1.Table {
	b := c.bytesOf(t)
	c.stats.bytes += len(b)
	d := new(linkv1.Table)
	c.must(proto.Unmarshal(b, d))
	return d
}

// deliver hands the other end the first table that end i has on the wire.
func (c *cluster) deliver(l *simLink, i int) {
	t := l.wire[i][0]
	l.wire[i][0] = nil
	if c.trace != nil {
		c.trace("%s -> %s: %v", l.ends[i].name, l.ends[1-i].name, t)
	}
	l.wire[i] = l.wire[i][1:]
	if l.down[0] || l.down[1] {
		return
	}
	to := l.ends[1-i]
	if err := to.core.Receive(to.now(), l.id, t); err != nil {
		c.t.Fatalf("%s from %s: %v", to.name, l.ends[i].name, err)
	}
}

// settle delivers all there is, in rounds, and returns how many it took.
func (c *cluster) settle() int {
	for round := 0; ; round++ {
		if round > 10_000 {
			c.t.Fatal("the mesh does not settle")
		}
		c.wake()
		some := false
		for _, l := range slices.Clone(c.links) {
			for i := range l.ends {
				for l.ready[i] && !l.down[i] && c.pull(l, i) {
					some = true
				}
			}
		}
		for _, l := range slices.Clone(c.links) {
			for i := range l.ends {
				for len(l.wire[i]) > 0 {
					c.deliver(l, i)
				}
			}
		}
		c.collect()
		if !some {
			return round
		}
	}
}

// step does one thing of those that can be done, at random, and reports whether there was any.
func (c *cluster) step(rnd *rand.Rand) bool {
	for _, n := range c.nodes {
		if rnd.IntN(100) >= c.lazy {
			n.wake()
		}
	}
	acts := c.acts()
	if len(acts) == 0 {
		c.wake()
		if acts = c.acts(); len(acts) == 0 {
			return false
		}
	}
	a := acts[rnd.IntN(len(acts))]
	switch {
	case a.pull:
		c.pull(a.l, a.end)
	case rnd.IntN(100) < c.lossy:
		a.l.wire[a.end] = a.l.wire[a.end][1:]
	default:
		c.deliver(a.l, a.end)
	}
	return true
}

// rest does what can be done, at random, until there is nothing left. It reports false if that takes too long.
func (c *cluster) rest(rnd *rand.Rand) bool {
	n := 0
	for idle := 0; idle < 2 && n < 100_000; n++ {
		idle++
		if c.step(rnd) {
			idle = 0
		}
		if idle > 0 || rnd.IntN(100) >= c.lazy {
			c.collect()
		}
	}
	return n < 100_000
}

// collect gathers all events.
func (c *cluster) collect() {
	for _, n := range c.nodes {
		events := n.core.Events()
		n.events = append(n.events, events...)
		for _, e := range events {
			if own := n.schemaOf(e.Namespace, e.Procedure); c.judge && e.Kind == FunctionDiffers && alike(own, e.Schema) {
				n.core.Fit(n.now(), e.Namespace, e.Procedure, own, e.Schema)
			}
		}
	}
}

// alike reports whether two schemas of simulated nodes fit each other, or are not known.
func alike(a, b []byte) bool { return len(a) == 0 || len(b) == 0 || a[0] == b[0] }

// schemaOf returns the schema of a function as the node has registered it.
func (n *simNode) schemaOf(ns, procedure string) []byte {
	s := n.core.namespaces[ns]
	if s == nil || s.record == nil || s.record.functions[procedure] == nil {
		return nil
	}
	return s.record.functions[procedure].fn.Schema
}

// advance lets time pass, in which all nodes do what is due.
func (c *cluster) advance(d time.Duration) {
	c.now = c.now.Add(d)
	for _, n := range c.nodes {
		n.core.Tick(n.now())
	}
}

// calm lets origins settle where they stand.
func (c *cluster) calm() {
	for range 6 {
		c.advance(holdFor)
		c.settle()
	}
}

// call follows a call hop by hop, and returns the nodes it comes by and where it ends.
func (c *cluster) call(from *simNode, ns, procedure string) (path []string, origin *simNode, in string, err error) {
	choice, ok := from.core.Snapshot().Find(ns, procedure)
	if !ok {
		return nil, nil, "", fmt.Errorf("%s does not find %s in %s", from.name, procedure, ns)
	}
	return c.follow(from, choice.Targets[0], procedure)
}

func (c *cluster) follow(n *simNode, t Target, procedure string) (path []string, origin *simNode, in string, err error) {
	return c.followBy((*Snapshot).Route, n, t, procedure)
}

// followBy follows a call that nodes route in that way.
func (c *cluster) followBy(
	route func(*Snapshot, string, nodeid.ID, string, string) Decision, n *simNode, t Target, procedure string,
) (path []string, origin *simNode, in string, err error) {
	path = []string{n.name}
	for range 200 {
		if t.Local {
			return path, n, t.Namespace, nil
		}
		l := n.links[t.Link]
		if l == nil || l.down[0] || l.down[1] {
			return path, nil, "", fmt.Errorf("%s sends %s over a link that is down", n.name, procedure)
		}
		n = l.ends[1-l.end(n)]
		path = append(path, n.name)
		d := route(n.core.Snapshot(), t.LinkNamespace, t.Node, t.Namespace, procedure)
		switch d.Action {
		case Local:
			return path, n, d.Namespace, nil
		case Forward:
			t = d.Target
		default:
			return path, nil, "", fmt.Errorf("%s has no way for %s to %s/%s in %s", n.name, procedure, t.Node, t.Namespace, t.LinkNamespace)
		}
	}
	return path, nil, "", fmt.Errorf("%s loops: %v", procedure, path)
}

// bytesOf encodes a table.
func (c *cluster) bytesOf(t *linkv1.Table) []byte {
	b, err := proto.Marshal(t)
	c.must(err)
	return b
}
