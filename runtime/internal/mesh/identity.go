package mesh

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// What a node can rely on, as long as records are not signed: of itself it is believed by those that it
// is linked to, whatever others tell of it (database.firstHand), and by all others as soon as they have
// heard from it again (Core.outdo). No record makes it stand back, and none costs it a link. Another
// process of its name does not get its place: at its neighbours while its link is up, elsewhere while it
// is in reach.
//
// What it cannot: whoever holds the secret may take a name that is free, and may say of a node that is
// farther away what it likes, until that has answered.

const (
	// outdoWithin is by how much a node outdoes an incarnation at most: a millisecond.
	outdoWithin = 1_000_000
	// maxAhead is how far in the future an incarnation may lie. What is believed has to be outdone, so it
	// must leave room; a day is more than clocks differ that are set to a wrong time zone.
	maxAhead = 24 * time.Hour
	// outdoAhead is how much farther it may lie when it outdoes one that was believed.
	outdoAhead = time.Minute
	// A node tells its records anew so many times in a row, and then once an interval, whatever is told of it.
	outdoAtOnce   = 4
	outdoInterval = DigestInterval
	// holdPlace is how long a node keeps its place at a neighbour after their link broke, if it is in reach
	// on another way. So a process of the same name that waits for that place does not get it by chance.
	holdPlace = DigestInterval
	// maxClaims bounds how many wait to be passed on in one domain.
	maxClaims = 256
	// tellInterval is how often events tell of what goes on.
	tellInterval = time.Minute
)

// process is one start of a node.
type process struct {
	start uint64
	key   []byte // the public half of its key; empty: not known
}

func processOf(w *linkv1.Record) process {
	p := process{start: w.GetStart(), key: w.GetKey()}
	if p.start == 0 {
		p.start = w.GetIncarnation()
	}
	return p
}

// is reports whether two are the same, as far as is known of both.
func (p process) is(o process) bool {
	return p.start == o.start && (len(p.key) == 0 || len(o.key) == 0 || bytes.Equal(p.key, o.key))
}

// claim is a record that goes round, without what it tells.
type claim struct {
	process
	inc, version uint64
}

func claimOf(w *linkv1.Record) claim {
	return claim{processOf(w), w.GetIncarnation(), w.GetVersion()}
}

// future reports whether an incarnation lies too far ahead to be believed.
func (c *Core) future(inc uint64) bool {
	return inc > uint64(max(0, c.now.Add(maxAhead).UnixNano())) && !c.cfg.Observer
}

// farFuture is future for one that may outdo another: r, or one that only others believed.
func (c *Core) farFuture(inc uint64, r *record, firstHand bool) bool {
	if firstHand || r != nil && inc > r.inc && inc-r.inc <= 2*outdoWithin {
		inc -= min(inc, uint64(outdoAhead))
	}
	return c.future(inc)
}

// takeOwn takes in what others tell of this very node. It reports whether that is all there is to do
// with it. This node knows better, always: what is older is answered, what is newer is outdone.
func (c *Core) takeOwn(ld *linkDomain, v vertex, w *linkv1.Record) bool {
	if c.cfg.Observer {
		return false
	}
	s := c.spaces[v.ns]
	mine := s != nil && s.own != nil
	here := mine && s.db == ld.db
	if here {
		ld.of(s.own).has(w.GetIncarnation(), w.GetVersion(), w.GetFloor())
	}
	if c.hear(v, claimOf(w)) {
		return true
	}
	if here {
		ld.enqueue(s.own)
	}
	return here || !mine && w.GetIncarnation() == c.inc // else this node is no such member, and was one
}

// hear looks at what is told of this node in a namespace, and reports whether it is later than the truth.
func (c *Core) hear(v vertex, told claim) bool {
	s := c.spaces[v.ns]
	same := told.is(process{c.cfg.Incarnation, c.cfg.Key})
	switch {
	case told.inc > c.inc, told.inc == c.inc && !same:
	case told.inc == c.inc && s != nil && s.own != nil && told.version > s.own.version:
	default:
		return false
	}
	if same || c.rebutted { // else it may be of an earlier life: clocks go back
		c.dispute(same)
	}
	c.rebutted = true
	c.doubted = max(c.doubted, told.inc)
	c.outdo()
	return true
}

// outdo makes this node's records later than what was told of it, if that is due.
func (c *Core) outdo() {
	if c.doubted < c.inc || c.now.Before(c.outdoDue()) {
		return
	}
	if c.outdone.Before(c.now) {
		c.outdone = c.now
	}
	c.outdone = c.outdone.Add(outdoInterval)
	c.inc = c.doubted + 1 + c.cfg.Incarnation%outdoWithin // another life of this node does not choose the same
	for _, s := range c.declared {
		if s.own != nil {
			c.restate(s, 0)
		}
	}
}

// outdoDue returns when this node may tell its records anew.
func (c *Core) outdoDue() time.Time { return c.outdone.Add(-(outdoAtOnce - 1) * outdoInterval) }

// dispute tells of records of this node that are not its own; same says that this one bears its key.
func (c *Core) dispute(same bool) {
	c.disputes.add(1)
	n := c.disputes.due(c.now)
	if n == 0 {
		return
	}
	cause := "another node of this name is alive, or a member of the mesh tells wrong of this one"
	if same {
		cause = "a member of the mesh tells wrong of this node"
	}
	c.events = append(c.events, Event{
		Kind: NodeDisputed, Node: c.cfg.ID, Name: c.cfg.Info.GetName(), Count: n, Cause: cause,
	})
}

// tally counts what events tell of, at most once a tellInterval.
type tally struct {
	n    int
	told time.Time
}

func (t *tally) add(n int) { t.n += n }

// due returns what is to be told now, if anything is.
func (t *tally) due(now time.Time) (n int) {
	if t.n == 0 || now.Before(t.told.Add(tellInterval)) {
		return 0
	}
	n, t.n, t.told = t.n, 0, now
	return n
}

// firstHand reports whether this node has a link with the very node that a record is of. Then that one
// knows better than whoever else tells of it.
func (d *database) firstHand(r *record) bool {
	for _, own := range d.own {
		if own.ns == r.ns {
			it := own.neighbours[r.node]
			return it != nil && !it.removed && len(it.extra.key) > 0
		}
	}
	return false
}

// refuse notes that another record was told.
func (r *record) refuse(told claim) {
	if r.refused.before(told) {
		r.refused = told
	}
}

// leads reports whether the node at the other end is the one that holds a record.
func (ld *linkDomain) leads(v vertex) bool { return v == vertex{ld.link.peer.ID, ld.name} }

// refuses reports whether a record is not to be taken in: the node itself tells otherwise here, or it is
// of another process than one that is in reach.
func (ld *linkDomain) refuses(r *record, w *linkv1.Record) bool {
	d, told := ld.db, claimOf(w)
	if d.core.cfg.Observer || ld.leads(r.vertex) {
		return false
	}
	against := r.doubtedBy(told)
	switch {
	case d.firstHand(r):
		if !against && !w.GetMore() {
			return false // it is answered
		}
	case !r.path.reached || r.is(told.process):
		return false
	}
	if r.stage != nil && r.stage.from == ld {
		d.unstage(r) // its next piece is among what is refused
	}
	r.refuse(told)
	ld.enqueue(r)
	if against {
		d.pass(r, told)
	}
	return true
}

func (k claim) before(o claim) bool {
	return k.inc < o.inc || k.inc == o.inc && k.version < o.version
}

// doubtedBy reports whether the node of a record has to outdo another that is told, or to have more told.
func (r *record) doubtedBy(told claim) bool {
	return claim{r.process, r.inc, r.version}.before(told) || r.inc == told.inc && !r.is(told.process)
}

// passing is a claim on its way to the node that it is about, until that has outdone it.
type passing struct {
	claim
	told *linkDomain // where it was told last; nil: not yet
}

// pass lets the node that a record is of know of another one.
func (d *database) pass(r *record, told claim) {
	had := d.claims[r]
	switch {
	case d.core.cfg.Observer:
		return // it tells nothing
	case had != nil && !had.before(told), had == nil && !d.roomForClaim():
		return // digests find it again
	}
	d.claims[r] = &passing{claim: told}
	if ld := d.toward(r); ld != nil {
		ld.link.pending = true
	}
}

// roomForClaim reports whether one more claim may be passed on, in the place of one that was told at least
// once.
func (d *database) roomForClaim() bool {
	if len(d.claims) < maxClaims {
		return true
	}
	for _, r := range d.claimed() {
		if d.claims[r].told != nil {
			delete(d.claims, r)
			return true
		}
	}
	return false
}

// claimed returns the records that others are claimed of, in order.
func (d *database) claimed() []*record {
	return slices.SortedFunc(maps.Keys(d.claims), func(a, b *record) int { return cmp.Compare(a.idx, b.idx) })
}

// toward returns the link by which a record is reached, nil if there is none.
func (d *database) toward(r *record) *linkDomain {
	if int(r.idx) >= len(d.routes) || !d.reached[r.idx] {
		return nil
	}
	t := &d.routes[r.idx].targets[0]
	if l := d.core.links[t.Link]; l != nil && !t.Local {
		return l.domain(t.LinkNamespace)
	}
	return nil
}

// wakeClaims lets the links look where claims go now.
func (d *database) wakeClaims() {
	for r, k := range d.claims {
		if ld := d.toward(r); ld != nil && ld != k.told {
			ld.link.pending = true
		}
	}
}

// takeClaim passes on what is told towards the node that it is about, or hears it.
func (ld *linkDomain) takeClaim(w *linkv1.Claim) {
	d := ld.db
	if d.core.cfg.Observer {
		return
	}
	v := ld.vertex(w.GetNode(), w.GetNamespace())
	told := claim{process{w.GetStart(), w.GetKey()}, w.GetIncarnation(), w.GetVersion()}
	if v.node == d.core.cfg.ID {
		d.core.hear(v, told)
		return
	}
	if r := d.byVertex[v]; r != nil && r.doubtedBy(told) {
		d.pass(r, told)
	}
}

// pullClaims passes on what is claimed towards the nodes that it is about, and again where the way there has
// changed.
func (ld *linkDomain) pullClaims(t *linkv1.Table) bool {
	d := ld.db
	for _, r := range d.claimed() {
		switch k := d.claims[r]; {
		case !r.doubtedBy(k.claim):
			delete(d.claims, r)
		case d.toward(r) == ld && k.told != ld:
			k.told = ld
			w := &linkv1.Claim{Node: r.node[:], Incarnation: k.inc, Start: k.start, Version: k.version, Key: k.key}
			if r.ns != ld.name {
				w.Namespace = r.ns
			}
			t.Claims = append(t.Claims, w)
		}
	}
	return len(t.Claims) > 0
}

// askAround asks all for a record again of which something was refused that may be right now.
func (d *database) askAround(r *record) {
	refused := r.refused
	r.refused = claim{}
	if refused.inc == 0 || !r.doubtedBy(refused) && r.is(refused.process) {
		return
	}
	for _, ld := range d.links {
		ld.ask(r.vertex)
	}
}
