package mesh

import (
	"cmp"
	"maps"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// Receive takes in a table from a peer. Errors, upon which the link is to be closed: *ProtocolError, and
// *LimitError for the peer's own record. Nothing is taken in with an error. What is too much of
// what it sent of others is skipped, as is what cannot be believed.
func (c *Core) Receive(now time.Time, id LinkID, t *linkv1.Table) error {
	c.now = now
	l := c.links[id]
	if l == nil {
		return nil // it crossed LinkDown
	}
	ld := l.domain(t.GetNamespace())
	if ld == nil {
		return broken("a table of namespace %q, which the link does not carry", clip(t.GetNamespace()))
	}
	ck := check{core: c, ld: ld}
	if err := ck.table(t); err != nil {
		return err
	}
	c.dirty = true
	ld.tablesSeen++
	ck.makeRoom()
	for _, w := range ck.good {
		ld.receiveRecord(w)
	}
	for _, w := range ck.claims {
		ld.receiveClaim(w)
	}
	if s := t.GetSummary(); s != nil {
		ld.receiveSummary(s, t.GetSeen())
	}
	if d := t.GetDigest(); d != nil {
		ld.receiveDigest(d)
	}
	for _, a := range t.GetAcks() {
		ld.receiveAck(a)
	}
	if t.GetComplete() && !ld.peerComplete {
		ld.peerComplete = true
		c.newlyComplete = append(c.newlyComplete, ld)
		c.reportSynced(l)
	}
	if t.GetAcknowledged() && !ld.peerAcked {
		ld.peerAcked = true
		c.reportSynced(l)
	}
	return nil
}

// reportSynced looks whether the first exchange on a link is done, in either direction.
func (c *Core) reportSynced(l *link) {
	tell := func(done *bool, kind EventKind, lacks func(ld *linkDomain) bool) {
		if !*done && !slices.ContainsFunc(l.domains, lacks) {
			*done = true
			c.events = append(c.events, Event{Kind: kind, Link: l.id, Node: l.peer.ID, Name: l.peer.Info.GetName()})
		}
	}
	tell(&l.synced, LinkSynced, func(ld *linkDomain) bool { return !ld.peerComplete })
	acknowledges := l.peer.Acknowledges && !c.cfg.Observer // which sends nothing
	tell(&l.acknowledged, LinkKnown, func(ld *linkDomain) bool { return !ld.peerComplete || acknowledges && !ld.peerAcked })
}

// oweAcks acknowledges to the peers that what they sent first is in effect now: it is in the snapshot.
func (c *Core) oweAcks() {
	for _, ld := range c.newlyComplete {
		if ld.link.peer.Acknowledges && !ld.link.peer.Observer {
			ld.ackOwed, ld.link.pending = true, true
		}
	}
	c.newlyComplete = nil
}

func (l *link) domain(name string) *linkDomain {
	for _, ld := range l.domains {
		if ld.name == name {
			return ld
		}
	}
	return nil
}

func (ld *linkDomain) vertex(node []byte, ns string) vertex {
	if ns == "" {
		ns = ld.name
	}
	return vertex{nodeid.ID(node), ns}
}

// receiveRecord takes in a record, or a part of one.
func (ld *linkDomain) receiveRecord(w *linkv1.Record) {
	d := ld.domain
	v := ld.vertex(w.GetNode(), w.GetNamespace())
	if v.node == d.core.cfg.ID && d.core.receiveOwn(ld, v, w) {
		return
	}
	r := d.byVertex[v]
	inc := w.GetIncarnation()
	switch {
	case r == nil && w.GetSince() != 0:
		ld.requestRecord(v)
		return
	case r == nil:
		r = d.addRecord(v, inc, processOf(w))
	}
	ld.peerVersion(r).update(inc, w.GetVersion(), w.GetFloor())
	if ld.rejects(r, w) {
		return
	}
	if !d.core.isUp(r.firstLink) {
		r.firstLink = ld.link
	}
	if len(r.key) == 0 && inc == r.inc && len(w.GetKey()) > 0 {
		r.key, r.encoded = w.GetKey(), [2]encoded{}
		for id := range r.neighbours {
			d.markEdgeDirty(r, id)
		}
	}
	another := inc != r.inc || !r.is(processOf(w))
	switch {
	case inc < r.inc && !d.core.cfg.Observer:
		ld.enqueue(r)
	case another && w.GetSince() != 0:
		if inc == r.inc {
			ld.markResync(r)
			r.resyncFrom = ld // else it is sent what changed since a version that is another's
		}
		ld.requestRecord(v)
	case another:
		d.restartRecord(r, inc, processOf(w))
		ld.mergeRecord(r, w)
	default:
		ld.mergeRecord(r, w)
	}
}

// restartRecord empties a record, for a later incarnation.
func (d *domain) restartRecord(r *record, inc uint64, p process) {
	if len(p.key) == 0 && r.start == p.start {
		p.key = r.key // it came over a node that does not pass keys on
	}
	r.lastLifeSeen, r.wasComplete = r.lastSeen(d.core.now), false
	d.clearRecord(r, r.name()+" restarted without it")
	r.inc, r.process, r.goodbye, r.resyncFrom = inc, p, false, nil
}

// mergeRecord takes in a part of the same incarnation of a record.
func (ld *linkDomain) mergeRecord(r *record, w *linkv1.Record) {
	d := ld.domain
	since, follows := w.GetSince(), r.extendedBy(w.GetSince(), w.GetFloor())
	switch {
	case r.stage != nil && r.stage.from == ld && since == r.stage.rec.version && r.stage.rec.extendedBy(since, w.GetFloor()):
		ld.stage(r, w)
	case r.resyncFrom == ld && since == 0:
		ld.startStage(r, w)
	case w.GetVersion() <= r.version && (follows || !w.GetMore()):
		ld.enqueue(r) // if it is older there
	case follows:
		if r.stage != nil && r.stage.from == ld {
			d.dropStage(r)
		}
		d.applyDelta(r, w)
	case r.stage != nil && r.stage.from != ld:
		r.stage.alsoOffered = true // it is coming over another link
	case since == 0:
		ld.startStage(r, w)
	default:
		ld.requestRecord(r.vertex)
	}
}

// extendedBy reports whether what changed since a version brings the record up. Removals up to floor
// may be missing from it.
func (r *record) extendedBy(since, floor uint64) bool {
	return since <= r.version && (r.version == 0 || floor <= max(r.version, r.floor))
}

// applyItems takes in what follows, by put.
func (r *record) applyItems(w *linkv1.Record, items []*item, put func(*item)) {
	switch {
	case r.version == 0:
		r.floor = w.GetFloor()
	case r.floor > r.version:
		// It has come so far from one end that knew of all removals up to floor. This one may not.
		r.floor = max(r.version, w.GetFloor())
	}
	for _, it := range items {
		if it.version > r.version {
			put(it)
		}
	}
	r.version = w.GetVersion()
}

// applyDelta brings a record up by what changed.
func (d *domain) applyDelta(r *record, w *linkv1.Record) {
	r.applyItems(w, d.core.items(w), func(it *item) { d.putItem(r, it) })
	r.wasComplete = r.wasComplete || !w.GetMore()
	d.trimRecord(r)
	d.flood(r)
}

// startStage begins to take a record again that cannot be brought up.
func (ld *linkDomain) startStage(r *record, w *linkv1.Record) {
	ld.domain.dropStage(r)
	r.stage = &stage{rec: newRecord(r.vertex, r.inc, r.process), from: ld}
	ld.markResync(r)
	ld.stage(r, w)
}

// stage takes the next piece of a record that is taken again, and replaces the old one with the last.
func (ld *linkDomain) stage(r *record, w *linkv1.Record) {
	d, s := ld.domain, r.stage.rec
	d.stagedFunctions -= s.liveFunctions
	s.applyItems(w, d.core.items(w), func(it *item) { s.put(it) })
	s.trimRemovals(d.core.keptRemovals)
	d.stagedFunctions += s.liveFunctions
	if w.GetMore() {
		return
	}
	d.dropStage(r)
	if r.resyncFrom == ld {
		r.resyncFrom = nil
	} else if s.version <= r.version {
		return
	}
	d.replaceRecord(r, s)
	r.wasComplete = true
	d.flood(r)
}

// dropStage ends taking a record again. Those who sent it meanwhile believe that it was taken in.
func (d *domain) dropStage(r *record) {
	s := r.stage
	if s == nil {
		return
	}
	d.stagedFunctions -= s.rec.liveFunctions
	r.stage = nil
	if r.resyncFrom != s.from {
		delete(s.from.resyncing, r)
	}
	for _, ld := range d.links {
		if s.alsoOffered && ld != s.from {
			ld.requestRecord(r.vertex)
		}
	}
}

// replaceRecord gives a record the items of another. What both have alike is left alone.
func (d *domain) replaceRecord(r, by *record) {
	gone := r.changes
	was := *r
	r.version, r.floor = by.version, by.floor
	r.about, r.ackRequest, r.bridges, r.neighbours, r.functions, r.derived = by.about, by.ackRequest, by.bridges, by.neighbours, by.functions, by.derived
	r.liveFunctions, r.removals, r.changes, r.stale, r.sum = by.liveFunctions, by.removals, by.changes, by.stale, by.sum
	r.view, d.routesDirty = nil, true
	d.liveFunctions += by.liveFunctions - was.liveFunctions
	cause := r.name() + " withdrew it"
	if r.leaving() {
		cause = r.name() + " left"
	}
	for _, e := range gone {
		if it := e.it; !it.superseded && it.kind == kindFunction && r.functionsLike(it)[it.fn.Procedure] == nil {
			d.replaceInIndex(it.fn.Procedure, it, d.tombstone(r, it, cause), cause)
		}
	}
	for _, e := range r.changes {
		it := e.it
		it.rec = r.idx
		if !it.superseded && it.kind == kindFunction {
			d.installFunction(r, was.functionsLike(it)[it.fn.Procedure], it)
		}
	}
	for id := range was.neighbours {
		d.markEdgeDirty(r, id)
	}
	for id := range r.neighbours {
		d.markEdgeDirty(r, id)
	}
	d.updateAckRequest(r)
}

// markResync notes that a record is, or is to be, taken again over the link.
func (ld *linkDomain) markResync(r *record) {
	if ld.resyncing == nil {
		ld.resyncing = map[*record]struct{}{}
	}
	ld.resyncing[r] = struct{}{}
}

// resyncRecords returns the records that are, or are to be, taken again over a link, in order.
func (d *domain) resyncRecords(ld *linkDomain) []*record {
	records := slices.Collect(maps.Keys(ld.resyncing))
	slices.SortFunc(records, func(a, b *record) int { return cmp.Compare(a.idx, b.idx) })
	return records
}

// abandonResync forgets what was to come over a link that is gone.
func (d *domain) abandonResync(r *record, ld *linkDomain) {
	if r.resyncFrom == ld {
		r.resyncFrom = nil
	}
	if r.stage != nil && r.stage.from == ld {
		d.dropStage(r)
	}
}
