package mesh

import (
	"cmp"
	"maps"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Receive takes in what a peer told. Errors, upon which the link is to be closed: *ProtocolError, and
// *LimitError for what the peer told of itself. Nothing is taken in with an error. What is too much of
// what it told of others is skipped, as is what cannot be believed.
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
	c.unsettled = true
	ld.seen++
	ck.makeRoom()
	for _, w := range ck.good {
		ld.take(w)
	}
	for _, w := range ck.claims {
		ld.takeClaim(w)
	}
	if s := t.GetSummary(); s != nil {
		ld.takeSummary(s, t.GetSeen())
	}
	if d := t.GetDigest(); d != nil {
		ld.takeDigest(d)
	}
	for _, a := range t.GetAcks() {
		ld.takeAck(a)
	}
	if t.GetComplete() && !ld.completed {
		ld.completed = true
		c.completed = append(c.completed, ld)
		c.synced(l)
	}
	if t.GetAcknowledged() && !ld.answered {
		ld.answered = true
		c.synced(l)
	}
	return nil
}

// synced looks whether the first exchange on a link is done, in either direction.
func (c *Core) synced(l *link) {
	tell := func(done *bool, kind EventKind, lacks func(ld *linkDomain) bool) {
		if !*done && !slices.ContainsFunc(l.domains, lacks) {
			*done = true
			c.events = append(c.events, Event{Kind: kind, Link: l.id, Node: l.peer.ID, Name: l.peer.Info.GetName()})
		}
	}
	tell(&l.synced, LinkSynced, func(ld *linkDomain) bool { return !ld.completed })
	acknowledges := l.peer.Acknowledges && !c.cfg.Observer // which tells nothing
	tell(&l.known, LinkKnown, func(ld *linkDomain) bool { return !ld.completed || acknowledges && !ld.answered })
}

// acknowledge has the peers told that what they told first is in effect now: it is in the snapshot.
func (c *Core) acknowledge() {
	for _, ld := range c.completed {
		if ld.link.peer.Acknowledges && !ld.link.peer.Observer {
			ld.owed, ld.link.pending = true, true
		}
	}
	c.completed = nil
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
	return vertex{NodeID(node), ns}
}

// take takes in what is told of a record.
func (ld *linkDomain) take(w *linkv1.Record) {
	d := ld.db
	v := ld.vertex(w.GetNode(), w.GetNamespace())
	if v.node == d.core.cfg.ID && d.core.takeOwn(ld, v, w) {
		return
	}
	r := d.byVertex[v]
	inc := w.GetIncarnation()
	switch {
	case r == nil && w.GetSince() != 0:
		ld.ask(v)
		return
	case r == nil:
		r = d.join(v, inc, processOf(w))
	}
	ld.of(r).has(inc, w.GetVersion(), w.GetFloor())
	if ld.refuses(r, w) {
		return
	}
	if !d.core.up(r.via) {
		r.via = ld.link
	}
	if len(r.key) == 0 && inc == r.inc && len(w.GetKey()) > 0 {
		r.key, r.encoded = w.GetKey(), [2]encoded{}
		for id := range r.neighbours {
			d.relink(r, id)
		}
	}
	another := inc != r.inc || !r.is(processOf(w))
	switch {
	case inc < r.inc && !d.core.cfg.Observer:
		ld.enqueue(r)
	case another && w.GetSince() != 0:
		if inc == r.inc {
			ld.expect(r)
			r.suspect = ld // else it is told what changed since a version that is another's
		}
		ld.ask(v)
	case another:
		d.renew(r, inc, processOf(w))
		ld.merge(r, w)
	default:
		ld.merge(r, w)
	}
}

// renew empties a record, for a later incarnation.
func (d *database) renew(r *record, inc uint64, p process) {
	if len(p.key) == 0 && r.start == p.start {
		p.key = r.key // it came over a node that does not pass keys on
	}
	r.before, r.whole = r.lastSeen(d.core.now), false
	d.clear(r, r.name()+" restarted without it")
	r.inc, r.process, r.goodbye, r.suspect = inc, p, false, nil
}

// merge takes in what is told of the same incarnation of a record.
func (ld *linkDomain) merge(r *record, w *linkv1.Record) {
	d := ld.db
	since, follows := w.GetSince(), r.follows(w.GetSince(), w.GetFloor())
	switch {
	case r.stage != nil && r.stage.from == ld && since == r.stage.rec.version && r.stage.rec.follows(since, w.GetFloor()):
		ld.stage(r, w)
	case r.suspect == ld && since == 0:
		ld.startStage(r, w)
	case w.GetVersion() <= r.version && (follows || !w.GetMore()):
		ld.enqueue(r) // if it is older there
	case follows:
		if r.stage != nil && r.stage.from == ld {
			d.unstage(r)
		}
		d.apply(r, w)
	case r.stage != nil && r.stage.from != ld:
		r.stage.refused = true // it is coming over another link
	case since == 0:
		ld.startStage(r, w)
	default:
		ld.ask(r.vertex)
	}
}

// follows reports whether what changed since a version brings the record up. Removals up to floor
// may be missing from it.
func (r *record) follows(since, floor uint64) bool {
	return since <= r.version && (r.version == 0 || floor <= max(r.version, r.floor))
}

// bring takes in what follows, by put.
func (r *record) bring(w *linkv1.Record, items []*item, put func(*item)) {
	switch {
	case r.version == 0:
		r.floor = w.GetFloor()
	case r.floor > r.version:
		// It has been told from one end so far that knew of all removals up to floor. This one may not.
		r.floor = max(r.version, w.GetFloor())
	}
	for _, it := range items {
		if it.version > r.version {
			put(it)
		}
	}
	r.version = w.GetVersion()
}

// apply brings a record up by what changed.
func (d *database) apply(r *record, w *linkv1.Record) {
	r.bring(w, d.core.items(w), func(it *item) { d.put(r, it) })
	r.whole = r.whole || !w.GetMore()
	d.trim(r)
	d.spread(r)
}

// startStage begins to take a record anew that cannot be brought up.
func (ld *linkDomain) startStage(r *record, w *linkv1.Record) {
	ld.db.unstage(r)
	r.stage = &stage{rec: newRecord(r.vertex, r.inc, r.process), from: ld}
	ld.expect(r)
	ld.stage(r, w)
}

// stage takes the next piece of a record that is taken anew, and replaces the old one with the last.
func (ld *linkDomain) stage(r *record, w *linkv1.Record) {
	d, s := ld.db, r.stage.rec
	d.staged -= s.live
	s.bring(w, d.core.items(w), func(it *item) { s.put(it) })
	s.trim(d.core.spare)
	d.staged += s.live
	if w.GetMore() {
		return
	}
	d.unstage(r)
	if r.suspect == ld {
		r.suspect = nil
	} else if s.version <= r.version {
		return
	}
	d.replace(r, s)
	r.whole = true
	d.spread(r)
}

// unstage ends taking a record anew. Those who told it meanwhile believe that they were heard.
func (d *database) unstage(r *record) {
	s := r.stage
	if s == nil {
		return
	}
	d.staged -= s.rec.live
	r.stage = nil
	if r.suspect != s.from {
		delete(s.from.taking, r)
	}
	for _, ld := range d.links {
		if s.refused && ld != s.from {
			ld.ask(r.vertex)
		}
	}
}

// replace gives a record the items of another. What both have alike is left alone.
func (d *database) replace(r, by *record) {
	gone := r.feed
	was := *r
	r.version, r.floor = by.version, by.floor
	r.about, r.ask, r.bridges, r.neighbours, r.functions, r.derived = by.about, by.ask, by.bridges, by.neighbours, by.functions, by.derived
	r.live, r.gone, r.feed, r.stale, r.sum = by.live, by.gone, by.feed, by.stale, by.sum
	r.shown, d.moved = nil, true
	d.size += by.live - was.live
	cause := r.name() + " withdrew it"
	if r.leaving() {
		cause = r.name() + " left"
	}
	for _, e := range gone {
		if it := e.it; !it.stale && it.kind == kindFunction && r.named(it)[it.fn.Procedure] == nil {
			d.update(it.fn.Procedure, it, d.grave(r, it, cause), cause)
		}
	}
	for _, e := range r.feed {
		it := e.it
		it.rec = r.idx
		if !it.stale && it.kind == kindFunction {
			d.install(r, was.named(it)[it.fn.Procedure], it)
		}
	}
	for id := range was.neighbours {
		d.relink(r, id)
	}
	for id := range r.neighbours {
		d.relink(r, id)
	}
	d.noteAsk(r)
}

// expect notes that a record is, or is to be, taken anew over the link.
func (ld *linkDomain) expect(r *record) {
	if ld.taking == nil {
		ld.taking = map[*record]struct{}{}
	}
	ld.taking[r] = struct{}{}
}

// expected returns the records that are, or are to be, taken anew over a link, in order.
func (d *database) expected(ld *linkDomain) []*record {
	records := slices.Collect(maps.Keys(ld.taking))
	slices.SortFunc(records, func(a, b *record) int { return cmp.Compare(a.idx, b.idx) })
	return records
}

// abandon forgets what was to come over a link that is gone.
func (d *database) abandon(r *record, ld *linkDomain) {
	if r.suspect == ld {
		r.suspect = nil
	}
	if r.stage != nil && r.stage.from == ld {
		d.unstage(r)
	}
}
