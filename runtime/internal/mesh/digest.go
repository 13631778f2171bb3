package mesh

import (
	"slices"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// maxListed is up to how many records are listed at the opening of a link, instead of a digest.
const maxListed = 128

// bucketsPerTable bounds a summary.
const bucketsPerTable = 16

const allBuckets = ^uint64(0)

// open says what this end has, first of all.
func (ld *linkDomain) open(t *linkv1.Table) bool {
	if ld.opening != unopened {
		return false
	}
	if ld.known {
		ld.opening = withDigest
		return false // the peer has listed all that it has, and is about to be answered
	}
	d := ld.db
	if len(d.byVertex) <= maxListed {
		ld.opening = withSummary
		t.Summary = ld.summary(allBuckets, false)
		t.Summary.Opening = true
		return true
	}
	ld.opening = withDigest
	t.Digest = ld.digest(64, true)
	for _, r := range d.records {
		// What the peer does not object to it has as it is here now.
		if r != nil && r.path.reached {
			*ld.of(r) = told{inc: r.inc, version: r.version, floor: r.floor, queued: ld.of(r).queued}
		}
	}
	return true
}

// digest sums up what can be reached.
func (ld *linkDomain) digest(n int, opening bool) *linkv1.Digest {
	sums := ld.db.sums()
	if n == 1 {
		return &linkv1.Digest{Sums: []uint64{total(sums)}}
	}
	return &linkv1.Digest{Sums: sums[:], Opening: opening}
}

// sums are of the records within reach: who is not is told of to none.
func (d *database) sums() *[64]uint64 {
	var sums [64]uint64
	for _, r := range d.records {
		if r != nil && r.path.reached {
			sums[r.slot] ^= r.digest()
		}
	}
	return &sums
}

func total(sums *[64]uint64) uint64 {
	s := newSum
	for _, x := range sums {
		s = s.number(x)
	}
	return s.done()
}

// compare makes the link's ends compare what they have. An opening that got no answer, and
// acknowledgements, are said again.
func (l *link) compare() {
	for _, ld := range l.domains {
		ld.sums = max(ld.sums, 1)
		if !ld.known {
			ld.summarize = allBuckets
		}
		clear(ld.acked)
	}
	l.pending = true
}

// takeDigest keeps the peer's until it is known what can be reached now. Of those that do not open the link
// the latest will do.
func (ld *linkDomain) takeDigest(w *linkv1.Digest) {
	c := ld.db.core
	ld.digests = slices.DeleteFunc(ld.digests, func(o *linkv1.Digest) bool { return o.GetOpening() == w.GetOpening() })
	if ld.digests = append(ld.digests, w); len(ld.digests) == 1 {
		c.digests = append(c.digests, ld)
	}
}

// compareDigests compares the peers' with what is here.
func (c *Core) compareDigests() {
	for _, ld := range c.digests {
		for _, w := range ld.digests {
			ld.compare(w, ld.db.sums())
		}
		ld.digests = nil
	}
	c.digests = nil
}

// compare compares a digest of the peer's with what is here.
func (ld *linkDomain) compare(w *linkv1.Digest, sums *[64]uint64) {
	if len(w.GetSums()) == 1 {
		if w.GetSums()[0] != total(sums) {
			ld.sums, ld.link.pending = 64, true
		}
		return
	}
	var differ uint64
	for i, s := range w.GetSums() {
		if s != sums[i] {
			differ |= 1 << i
		}
	}
	switch {
	case !w.GetOpening():
		ld.summarize |= differ
	case ld.opening == withSummary:
		return // it answers that
	default:
		ld.answer |= differ
		ld.response = true
	}
	ld.link.pending = true
}

// takeSummary corrects what is known of the peer by what it lists.
func (ld *linkDomain) takeSummary(w *linkv1.Summary, seen uint64) {
	d := ld.db
	listed := make(map[*record]*linkv1.Entry, len(w.GetEntries()))
	for _, e := range w.GetEntries() {
		if r := d.byVertex[ld.vertex(e.GetNode(), e.GetNamespace())]; r != nil {
			listed[r] = e
		}
	}
	for _, r := range d.records {
		if r == nil || w.GetBuckets()>>r.slot&1 == 0 {
			continue
		}
		if td := ld.of(r); td.sent <= seen {
			e := listed[r]
			switch newer := e.GetIncarnation() > r.inc; {
			case newer && ld.link.peer.Observer:
				e = nil // it believes what it is told here
			case newer:
				ld.ask(r.vertex) // it may be out of the peer's reach, and told only to who has an older one
			}
			td.inc, td.version, td.floor = e.GetIncarnation(), e.GetVersion(), e.GetFloor()
			ld.doubt(r, e)
		}
		ld.enqueue(r)
	}
	ld.known = ld.known || !w.GetMore()
	ld.link.pending = true
	switch {
	case w.GetAnswer():
		ld.answer |= w.GetBuckets()
	case w.GetOpening() && ld.opening != withSummary:
		ld.answer, ld.response = allBuckets, true
	}
}

// doubt asks for a record anew if the peer has another at the same version, and is nearer to its
// origin.
func (ld *linkDomain) doubt(r *record, e *linkv1.Entry) {
	if e == nil || r.inc != e.GetIncarnation() || r.version != e.GetVersion() || r.sum == e.GetSum() {
		return
	}
	d := ld.db
	nearer := !d.isOwn(r) && (d.toward(r) == ld || !r.path.reached)
	if d.firstHand(r) {
		nearer = ld.leads(r.vertex)
	}
	if nearer {
		r.suspect = ld
		ld.expect(r)
		ld.ask(r.vertex)
	}
}

// ask makes the peer look again at what it told of a vertex, by saying what is here.
func (ld *linkDomain) ask(v vertex) {
	ld.answer |= 1 << v.bucket()
	ld.link.pending = true
}

// pullSummary adds a summary or answer, where one is due.
func (ld *linkDomain) pullSummary(t *linkv1.Table) bool {
	switch {
	case ld.summarize != 0:
		t.Summary = ld.summary(take(&ld.summarize), false)
		t.Summary.Answer, t.Summary.More = true, ld.summarize != 0
	case ld.answer != 0 || ld.response:
		ld.response = false
		t.Summary = ld.summary(take(&ld.answer), true)
		t.Summary.More = ld.answer != 0
	default:
		return false
	}
	return true
}

// take removes some buckets from a set and returns them.
func take(set *uint64) uint64 {
	rest := *set
	for range bucketsPerTable {
		rest &= rest - 1
	}
	taken := *set &^ rest
	*set = rest
	return taken
}

// summary lists what is here of some buckets, in reach or not; an answer only what the peer has, too.
func (ld *linkDomain) summary(buckets uint64, answer bool) *linkv1.Summary {
	w := &linkv1.Summary{Buckets: buckets}
	for _, r := range ld.db.records {
		if r == nil || buckets>>r.slot&1 == 0 || r.version == 0 {
			continue
		}
		if answer && ld.of(r).version == 0 {
			continue
		}
		e := &linkv1.Entry{Node: r.node[:], Incarnation: r.inc, Version: r.version, Floor: r.floor, Sum: r.sum}
		if r.ns != ld.name {
			e.Namespace = r.ns
		}
		if r.suspect == ld {
			e.Version, e.Floor = 0, 0
		}
		w.Entries = append(w.Entries, e)
	}
	return w
}
