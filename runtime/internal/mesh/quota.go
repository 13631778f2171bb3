package mesh

import (
	"cmp"
	"slices"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// What a domain may hold is shared among the links that tell of it: as long as there is room, each may
// fill it; when there is none, who told more than another has to make room for that one. So made-up
// members cost the link that they come over, and not the members behind the others.

// share is what one link told of a domain.
type share struct {
	members, functions int
	records            []*record // that may go, the latest last
}

// via returns the link that a record counts for; nil if there is none.
func (d *database) via(r *record) *link {
	if d.core.up(r.via) {
		return r.via
	}
	if ld := d.toward(r); ld != nil {
		return ld.link
	}
	return nil
}

// shares counts what each link told. What this node and its neighbours tell of themselves counts for none.
func (d *database) shares() map[*link]*share {
	shares := map[*link]*share{}
	for _, r := range d.records {
		if r == nil || d.isOwn(r) || d.adjacent(r) {
			continue
		}
		l := d.via(r)
		s := shares[l]
		if s == nil {
			s = &share{}
			shares[l] = s
		}
		s.members++
		s.functions += r.live
		s.records = append(s.records, r)
	}
	for _, s := range shares {
		slices.SortFunc(s.records, func(a, b *record) int { return cmp.Compare(a.seq, b.seq) })
	}
	return shares
}

// adjacent reports whether a record is of a neighbour of this node.
func (d *database) adjacent(r *record) bool {
	return slices.ContainsFunc(d.own, func(own *record) bool {
		it := own.neighbours[r.node]
		return own.ns == r.ns && it != nil && !it.removed
	})
}

// full reports whether there is more of a domain than it may hold, with what the table adds so far.
func (ck *check) full() bool {
	d, limits := ck.ld.db, ck.core.cfg.Limits
	return len(d.byVertex)+ck.members > limits.Members || d.size+d.staged+ck.functions > limits.Functions
}

// fits reports whether there is room for a record with so many functions more, be it by others that go.
func (ck *check) fits(w *linkv1.Record, r *record, functions int) bool {
	members := 0
	if r == nil {
		members = 1
	}
	ck.members += members
	ck.functions += functions
	if !ck.full() {
		return true
	}
	own := ck.ld.leads(ck.ld.vertex(w.GetNode(), w.GetNamespace()))
	want := crowded{ck.ld.db.shuffled, ck.ld.db.size, members, functions}
	if !own && ck.shares == nil && ck.ld.crowded.by(want) || !ck.clear(r, own) {
		ck.members -= members
		ck.functions -= functions
		if ck.going == nil {
			ck.ld.crowded = want
		}
		return false
	}
	mine := ck.mine()
	mine.members += members
	mine.functions += functions
	ck.spare(r)
	return true
}

// crowded is what there was no room for, and when, so that it is looked at once.
type crowded struct {
	shuffled           uint64
	size               int
	members, functions int
}

// by reports whether there is no room for want either.
func (c crowded) by(want crowded) bool {
	return c.shuffled == want.shuffled && c.size == want.size && c.shuffled > 0 && c.members <= want.members && c.functions <= want.functions
}

// clear chooses the records that have to go, and reports whether they suffice.
func (ck *check) clear(r *record, own bool) bool {
	ck.count()
	going := len(ck.going)
	for ck.full() {
		victim := ck.victim(r, own)
		if victim == nil {
			ck.keep(ck.going[going:])
			ck.going = ck.going[:going]
			return false
		}
		ck.going = append(ck.going, victim)
		ck.members--
		ck.functions -= victim.live
	}
	return true
}

// count finds out what each link told, this table included.
func (ck *check) count() {
	if ck.shares != nil {
		return
	}
	ck.shares = ck.ld.db.shares()
	mine := ck.mine()
	for _, w := range ck.good {
		r := ck.ld.db.byVertex[ck.ld.vertex(w.GetNode(), w.GetNamespace())]
		if r == nil {
			mine.members++
		}
		mine.functions += len(w.GetFunctions())
		ck.spare(r)
	}
}

// spare keeps a record from going.
func (ck *check) spare(r *record) {
	if r == nil {
		return
	}
	s := ck.shares[ck.ld.db.via(r)]
	if s == nil {
		return
	}
	if i := slices.Index(s.records, r); i >= 0 {
		s.records = slices.Delete(s.records, i, i+1)
	}
}

func (ck *check) mine() *share {
	s := ck.shares[ck.ld.link]
	if s == nil {
		s = &share{}
		ck.shares[ck.ld.link] = s
	}
	return s
}

// victim takes the latest record of the link that told most, if that is more than this one did, or what
// is told is the peer's own.
func (ck *check) victim(r *record, own bool) *record {
	limits, mine := ck.core.cfg.Limits, ck.mine()
	size := func(s *share) int { return s.members }
	if len(ck.ld.db.byVertex)+ck.members <= limits.Members {
		size = func(s *share) int { return s.functions }
	}
	var most *share
	for _, s := range ck.shares {
		if len(s.records) > 0 && (own || size(s) > size(mine)+1) && (most == nil || size(s) > size(most)) {
			most = s
		}
	}
	if lost := ck.shares[nil]; lost != nil && len(lost.records) > 0 {
		most = lost // no link leads there
	}
	if most == nil {
		return nil
	}
	for i, v := range slices.Backward(most.records) {
		if v != r {
			most.records = slices.Delete(most.records, i, i+1)
			most.members--
			most.functions -= v.live
			return v
		}
	}
	return nil
}

// keep takes back that records go.
func (ck *check) keep(records []*record) {
	for _, r := range records {
		s := ck.shares[ck.ld.db.via(r)]
		s.records = append(s.records, r)
		s.members++
		s.functions += r.live
		ck.members++
		ck.functions += r.live
	}
}

// makeRoom lets go of the records that have to, and counts what is not taken in.
func (ck *check) makeRoom() {
	for _, r := range ck.going {
		ck.ld.db.vacate(r)
	}
	for _, r := range ck.anew {
		r.suspect = ck.ld
		ck.ld.expect(r)
		ck.ld.ask(r.vertex)
	}
	l := ck.ld.link
	l.dropped.add(ck.dropped)
	if ck.dropped > 0 {
		l.excess = ck.why
	}
	ck.core.tellDropped(l)
}

// vacate forgets a record for want of room.
func (d *database) vacate(r *record) {
	if r.path.counted {
		if d.present[r.node]--; d.present[r.node] == 0 {
			delete(d.present, r.node)
			d.emit(Event{Kind: MemberLost, Node: r.node, Name: r.name(), Cause: "there is no room for all members"})
		}
	}
	d.forget(r)
}

// tellDropped tells of records that were not taken in, if that is due.
func (c *Core) tellDropped(l *link) {
	if n := l.dropped.due(c.now); n > 0 {
		c.events = append(c.events, Event{
			Kind: RecordsDropped, Link: l.id, Node: l.peer.ID, Name: l.peer.Info.GetName(), Count: n, Cause: l.excess,
		})
	}
}
