package mesh

import (
	"cmp"
	"slices"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// What a domain may hold is shared among the links that bring it: as long as there is room, each may
// fill it; when there is none, who brought more than another has to make room for that one. So made-up
// members cost the link that they come over, and not the members behind the others.

// share is what one link brought of a domain.
type share struct {
	members, functions int
	records            []*record // that may go, the latest last
}

// chargedLink returns the link that a record counts for; nil if there is none.
func (d *domain) chargedLink(r *record) *link {
	if d.core.isUp(r.firstLink) {
		return r.firstLink
	}
	if ld := d.nextHop(r); ld != nil {
		return ld.link
	}
	return nil
}

// shares counts what each link brought. The records of this node and its neighbours count for none.
func (d *domain) shares() map[*link]*share {
	shares := map[*link]*share{}
	for _, r := range d.records {
		if r == nil || d.isOwn(r) || d.isAdjacent(r) {
			continue
		}
		l := d.chargedLink(r)
		s := shares[l]
		if s == nil {
			s = &share{}
			shares[l] = s
		}
		s.members++
		s.functions += r.liveFunctions
		s.records = append(s.records, r)
	}
	for _, s := range shares {
		slices.SortFunc(s.records, func(a, b *record) int { return cmp.Compare(a.joinSeq, b.joinSeq) })
	}
	return shares
}

// isAdjacent reports whether a record is of a neighbour of this node.
func (d *domain) isAdjacent(r *record) bool {
	return slices.ContainsFunc(d.ownRecords, func(own *record) bool {
		it := own.neighbours[r.node]
		return own.ns == r.ns && it != nil && !it.removed
	})
}

// full reports whether there is more of a domain than it may hold, with what the table adds so far.
func (ck *check) full() bool {
	d, limits := ck.ld.domain, ck.core.cfg.Limits
	return len(d.byVertex)+ck.members > limits.Members || d.liveFunctions+d.stagedFunctions+ck.functions > limits.Functions
}

// hasRoom reports whether there is room for a record with so many functions more, be it by others that go.
func (ck *check) hasRoom(w *linkv1.Record, r *record, functions int) bool {
	members := 0
	if r == nil {
		members = 1
	}
	ck.members += members
	ck.functions += functions
	if !ck.full() {
		return true
	}
	own := ck.ld.isPeer(ck.ld.vertex(w.GetNode(), w.GetNamespace()))
	want := shortage{ck.ld.domain.membershipChanges, ck.ld.domain.liveFunctions, members, functions}
	if !own && ck.shares == nil && ck.ld.shortage.covers(want) || !ck.chooseVictims(r, own) {
		ck.members -= members
		ck.functions -= functions
		if ck.victims == nil {
			ck.ld.shortage = want
		}
		return false
	}
	mine := ck.ownShare()
	mine.members += members
	mine.functions += functions
	ck.exempt(r)
	return true
}

// shortage is what there was no room for, and when, so that it is looked at once.
type shortage struct {
	membershipChanges  uint64
	liveFunctions      int
	members, functions int
}

// covers reports whether there is no room for want either.
func (c shortage) covers(want shortage) bool {
	return c.membershipChanges == want.membershipChanges && c.liveFunctions == want.liveFunctions && c.membershipChanges > 0 && c.members <= want.members && c.functions <= want.functions
}

// chooseVictims chooses the records that have to go, and reports whether they suffice.
func (ck *check) chooseVictims(r *record, own bool) bool {
	ck.countShares()
	going := len(ck.victims)
	for ck.full() {
		victim := ck.nextVictim(r, own)
		if victim == nil {
			ck.putBack(ck.victims[going:])
			ck.victims = ck.victims[:going]
			return false
		}
		ck.victims = append(ck.victims, victim)
		ck.members--
		ck.functions -= victim.liveFunctions
	}
	return true
}

// countShares finds out what each link brought, this table included.
func (ck *check) countShares() {
	if ck.shares != nil {
		return
	}
	ck.shares = ck.ld.domain.shares()
	mine := ck.ownShare()
	for _, w := range ck.good {
		r := ck.ld.domain.byVertex[ck.ld.vertex(w.GetNode(), w.GetNamespace())]
		if r == nil {
			mine.members++
		}
		mine.functions += len(w.GetFunctions())
		ck.exempt(r)
	}
}

// exempt keeps a record from going.
func (ck *check) exempt(r *record) {
	if r == nil {
		return
	}
	s := ck.shares[ck.ld.domain.chargedLink(r)]
	if s == nil {
		return
	}
	if i := slices.Index(s.records, r); i >= 0 {
		s.records = slices.Delete(s.records, i, i+1)
	}
}

func (ck *check) ownShare() *share {
	s := ck.shares[ck.ld.link]
	if s == nil {
		s = &share{}
		ck.shares[ck.ld.link] = s
	}
	return s
}

// nextVictim takes the latest record of the link that brought most, if that is more than this one did, or what
// came is the peer's own.
func (ck *check) nextVictim(r *record, own bool) *record {
	limits, mine := ck.core.cfg.Limits, ck.ownShare()
	size := func(s *share) int { return s.members }
	if len(ck.ld.domain.byVertex)+ck.members <= limits.Members {
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
			most.functions -= v.liveFunctions
			return v
		}
	}
	return nil
}

// putBack takes back that records go.
func (ck *check) putBack(records []*record) {
	for _, r := range records {
		s := ck.shares[ck.ld.domain.chargedLink(r)]
		s.records = append(s.records, r)
		s.members++
		s.functions += r.liveFunctions
		ck.members++
		ck.functions += r.liveFunctions
	}
}

// makeRoom lets go of the records that have to, and counts what is not taken in.
func (ck *check) makeRoom() {
	for _, r := range ck.victims {
		ck.ld.domain.evict(r)
	}
	for _, r := range ck.resync {
		r.resyncFrom = ck.ld
		ck.ld.markResync(r)
		ck.ld.requestRecord(r.vertex)
	}
	l := ck.ld.link
	l.dropped.add(ck.dropped)
	if ck.dropped > 0 {
		l.dropCause = ck.dropCause
	}
	ck.core.reportDropped(l)
}

// evict forgets a record for want of room.
func (d *domain) evict(r *record) {
	if r.path.counted {
		d.present[r.node]--
		if d.present[r.node] == 0 {
			delete(d.present, r.node)
			d.emit(Event{Kind: MemberLost, Node: r.node, Name: r.name(), Cause: "there is no room for all members"})
		}
	}
	d.removeRecord(r)
}

// reportDropped emits an event for records that were not taken in, if one is due.
func (c *Core) reportDropped(l *link) {
	if n := l.dropped.due(c.now); n > 0 {
		c.events = append(c.events, Event{
			Kind: RecordsDropped, Link: l.id, Node: l.peer.ID, Name: l.peer.Info.GetName(), Count: n, Cause: l.dropCause,
		})
	}
}
