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
// is linked to, whatever others say of it (domain.firstHand), and by all others as soon as they have
// heard from it again (Core.supersede). No record makes it stand back, and none costs it a link. Another
// process of its name does not get its place: at its neighbours while its link is up, elsewhere while it
// is in reach.
//
// What it cannot: whoever holds the secret may take a name that is free, and may say of a node that is
// farther away what it likes, until that has answered.

const (
	// supersedeStep is by how much a node supersedes an incarnation at most: a millisecond.
	supersedeStep = 1_000_000
	// maxAhead is how far in the future an incarnation may lie. What is believed has to be superseded, so it
	// must leave room; a day is more than clocks differ that are set to a wrong time zone.
	maxAhead = 24 * time.Hour
	// supersedeAhead is how much farther it may lie when it supersedes one that was believed.
	supersedeAhead = time.Minute
	// A node originates its records anew so many times in a row, and then once an interval, whatever is said of it.
	supersedeBurst    = 4
	supersedeInterval = DigestInterval
	// holdPlace is how long a node keeps its place at a neighbour after their link broke, if it is in reach
	// on another way. So a process of the same name that waits for that place does not get it by chance.
	holdPlace = DigestInterval
	// maxClaims bounds how many wait to be passed on in one domain.
	maxClaims = 256
	// reportInterval is how often an event reports what goes on.
	reportInterval = time.Minute
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

// claim is the head of a record that goes round, without its items.
type claim struct {
	process
	inc, version uint64
}

func claimOf(w *linkv1.Record) claim {
	return claim{processOf(w), w.GetIncarnation(), w.GetVersion()}
}

// tooFarAhead reports whether an incarnation lies too far ahead to be believed.
func (c *Core) tooFarAhead(inc uint64) bool {
	return inc > uint64(max(0, c.now.Add(maxAhead).UnixNano())) && !c.cfg.Observer
}

// implausible is future for one that may supersede another: r, or one that only others believed.
func (c *Core) implausible(inc uint64, r *record, firstHand bool) bool {
	if firstHand || r != nil && inc > r.inc && inc-r.inc <= 2*supersedeStep {
		inc -= min(inc, uint64(supersedeAhead))
	}
	return c.tooFarAhead(inc)
}

// receiveOwn takes in what others send of this very node. It reports whether that is all there is to do
// with it. This node knows better, always: what is older is answered, what is newer is superseded.
func (c *Core) receiveOwn(ld *linkDomain, v vertex, w *linkv1.Record) bool {
	if c.cfg.Observer {
		return false
	}
	s := c.namespaces[v.ns]
	mine := s != nil && s.record != nil
	here := mine && s.domain == ld.domain
	if here {
		ld.peerVersion(s.record).update(w.GetIncarnation(), w.GetVersion(), w.GetFloor())
	}
	if c.contradicted(v, claimOf(w)) {
		return true
	}
	if here {
		ld.enqueue(s.record)
	}
	return here || !mine && w.GetIncarnation() == c.inc // else this node is no such member, and was one
}

// contradicted reports whether what is claimed of this node in a namespace is later than its own record.
func (c *Core) contradicted(v vertex, told claim) bool {
	s := c.namespaces[v.ns]
	same := told.is(process{c.cfg.Incarnation, c.cfg.Key})
	switch {
	case told.inc > c.inc, told.inc == c.inc && !same:
	case told.inc == c.inc && s != nil && s.record != nil && told.version > s.record.version:
	default:
		return false
	}
	if same || c.foreignSeen { // else it may be of an earlier life: clocks go back
		c.dispute(same)
	}
	c.foreignSeen = true
	c.foreignIncarnation = max(c.foreignIncarnation, told.inc)
	c.supersede()
	return true
}

// supersede makes this node's records later than what was claimed of it, if that is due.
func (c *Core) supersede() {
	if c.foreignIncarnation < c.inc || c.now.Before(c.supersedeDue()) {
		return
	}
	if c.supersedeTime.Before(c.now) {
		c.supersedeTime = c.now
	}
	c.supersedeTime = c.supersedeTime.Add(supersedeInterval)
	c.inc = c.foreignIncarnation + 1 + c.cfg.Incarnation%supersedeStep // another life of this node does not choose the same
	for _, s := range c.declared {
		if s.record != nil {
			c.reoriginate(s, 0)
		}
	}
}

// supersedeDue returns when this node may originate its records anew.
func (c *Core) supersedeDue() time.Time {
	return c.supersedeTime.Add(-(supersedeBurst - 1) * supersedeInterval)
}

// dispute reports records of this node that are not its own; same says that this one bears its key.
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

// tally counts what an event reports at most once a reportInterval.
type tally struct {
	n          int
	lastReport time.Time
}

func (t *tally) add(n int) { t.n += n }

// due returns the count that is to be reported now, 0 if none is.
func (t *tally) due(now time.Time) (n int) {
	if t.n == 0 || now.Before(t.lastReport.Add(reportInterval)) {
		return 0
	}
	n, t.n, t.lastReport = t.n, 0, now
	return n
}

// firstHand reports whether this node has a link with the very node that a record is of. Then that one
// knows better than anyone else.
func (d *domain) firstHand(r *record) bool {
	for _, own := range d.ownRecords {
		if own.ns == r.ns {
			it := own.neighbours[r.node]
			return it != nil && !it.removed && len(it.extra.key) > 0
		}
	}
	return false
}

// noteRejected notes that another record was received.
func (r *record) noteRejected(told claim) {
	if r.rejected.before(told) {
		r.rejected = told
	}
}

// isPeer reports whether the node at the other end is the one that holds a record.
func (ld *linkDomain) isPeer(v vertex) bool { return v == vertex{ld.link.peer.ID, ld.name} }

// rejects reports whether a record is not to be taken in: the node itself says otherwise here, or it is
// of another process than one that is in reach.
func (ld *linkDomain) rejects(r *record, w *linkv1.Record) bool {
	d, told := ld.domain, claimOf(w)
	if d.core.cfg.Observer || ld.isPeer(r.vertex) {
		return false
	}
	against := r.contradictedBy(told)
	switch {
	case d.firstHand(r):
		if !against && !w.GetMore() {
			return false // it is answered
		}
	case !r.path.reached || r.is(told.process):
		return false
	}
	if r.stage != nil && r.stage.from == ld {
		d.dropStage(r) // its next piece is among what is refused
	}
	r.noteRejected(told)
	ld.enqueue(r)
	if against {
		d.relayClaim(r, told)
	}
	return true
}

func (k claim) before(o claim) bool {
	return k.inc < o.inc || k.inc == o.inc && k.version < o.version
}

// contradictedBy reports whether a claim is later than the record, or of another process.
func (r *record) contradictedBy(told claim) bool {
	return claim{r.process, r.inc, r.version}.before(told) || r.inc == told.inc && !r.is(told.process)
}

// relayedClaim is a claim on its way to the node that it is about, until that has superseded it.
type relayedClaim struct {
	claim
	sentTo *linkDomain // where it was sent last; nil: not yet
}

// relayClaim lets the node that a record is of know of another one.
func (d *domain) relayClaim(r *record, told claim) {
	had := d.relayedClaims[r]
	switch {
	case d.core.cfg.Observer:
		return // it sends nothing
	case had != nil && !had.before(told), had == nil && !d.roomForClaim():
		return // digests find it again
	}
	d.relayedClaims[r] = &relayedClaim{claim: told}
	if ld := d.nextHop(r); ld != nil {
		ld.link.pending = true
	}
}

// roomForClaim reports whether one more claim may be passed on, in the place of one that was sent at least
// once.
func (d *domain) roomForClaim() bool {
	if len(d.relayedClaims) < maxClaims {
		return true
	}
	for _, r := range d.claimedRecords() {
		if d.relayedClaims[r].sentTo != nil {
			delete(d.relayedClaims, r)
			return true
		}
	}
	return false
}

// claimedRecords returns the records that others are claimed of, in order.
func (d *domain) claimedRecords() []*record {
	return slices.SortedFunc(maps.Keys(d.relayedClaims), func(a, b *record) int { return cmp.Compare(a.idx, b.idx) })
}

// nextHop returns the link by which a record is reached, nil if there is none.
func (d *domain) nextHop(r *record) *linkDomain {
	if int(r.idx) >= len(d.routes) || !d.reached[r.idx] {
		return nil
	}
	t := &d.routes[r.idx].targets[0]
	if l := d.core.links[t.Link]; l != nil && !t.Local {
		return l.domain(t.LinkNamespace)
	}
	return nil
}

// markClaimsPending lets the links look where claims go now.
func (d *domain) markClaimsPending() {
	for r, k := range d.relayedClaims {
		if ld := d.nextHop(r); ld != nil && ld != k.sentTo {
			ld.link.pending = true
		}
	}
}

// receiveClaim passes a claim on towards the node that it is about, unless that is this one.
func (ld *linkDomain) receiveClaim(w *linkv1.Claim) {
	d := ld.domain
	if d.core.cfg.Observer {
		return
	}
	v := ld.vertex(w.GetNode(), w.GetNamespace())
	told := claim{process{w.GetStart(), w.GetKey()}, w.GetIncarnation(), w.GetVersion()}
	if v.node == d.core.cfg.ID {
		d.core.contradicted(v, told)
		return
	}
	if r := d.byVertex[v]; r != nil && r.contradictedBy(told) {
		d.relayClaim(r, told)
	}
}

// pullClaims passes on what is claimed towards the nodes that it is about, and again where the way there has
// changed.
func (ld *linkDomain) pullClaims(t *linkv1.Table) bool {
	d := ld.domain
	for _, r := range d.claimedRecords() {
		switch k := d.relayedClaims[r]; {
		case !r.contradictedBy(k.claim):
			delete(d.relayedClaims, r)
		case d.nextHop(r) == ld && k.sentTo != ld:
			k.sentTo = ld
			w := &linkv1.Claim{Node: r.node[:], Incarnation: k.inc, Start: k.start, Version: k.version, Key: k.key}
			if r.ns != ld.name {
				w.Namespace = r.ns
			}
			t.Claims = append(t.Claims, w)
		}
	}
	return len(t.Claims) > 0
}

// requestFromAll asks all for a record again of which something was refused that may be right now.
func (d *domain) requestFromAll(r *record) {
	refused := r.rejected
	r.rejected = claim{}
	if refused.inc == 0 || !r.contradictedBy(refused) && r.is(refused.process) {
		return
	}
	for _, ld := range d.links {
		ld.requestRecord(r.vertex)
	}
}
