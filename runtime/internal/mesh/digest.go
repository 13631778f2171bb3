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

// pullOpening says what this end has, first of all.
func (ld *linkDomain) pullOpening(t *linkv1.Table) bool {
	if ld.opening != unopened {
		return false
	}
	if ld.peerKnown {
		ld.opening = withDigest
		return false // the peer has listed all that it has, and is about to be answered
	}
	d := ld.domain
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
			*ld.peerVersion(r) = peerVersion{inc: r.inc, version: r.version, floor: r.floor, queued: ld.peerVersion(r).queued}
		}
	}
	return true
}

// digest sums up what can be reached.
func (ld *linkDomain) digest(n int, opening bool) *linkv1.Digest {
	sums := ld.domain.digestSums()
	if n == 1 {
		return &linkv1.Digest{Sums: []uint64{total(sums)}}
	}
	return &linkv1.Digest{Sums: sums[:], Opening: opening}
}

// digestSums are of the records within reach: no others are sent.
func (d *domain) digestSums() *[64]uint64 {
	var sums [64]uint64
	for _, r := range d.records {
		if r != nil && r.path.reached {
			sums[r.digestBucket] ^= r.digest()
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

// startDigest makes the link's ends compare what they have. An opening that got no answer, and
// acknowledgements, are said again.
func (l *link) startDigest() {
	for _, ld := range l.domains {
		ld.digestSums = max(ld.digestSums, 1)
		if !ld.peerKnown {
			ld.summaryBuckets = allBuckets
		}
		clear(ld.acksSent)
	}
	l.pending = true
}

// receiveDigest keeps the peer's until it is known what can be reached now. Of those that do not open the link
// the latest will do.
func (ld *linkDomain) receiveDigest(w *linkv1.Digest) {
	c := ld.domain.core
	ld.peerDigests = slices.DeleteFunc(ld.peerDigests, func(o *linkv1.Digest) bool { return o.GetOpening() == w.GetOpening() })
	if ld.peerDigests = append(ld.peerDigests, w); len(ld.peerDigests) == 1 {
		c.undigested = append(c.undigested, ld)
	}
}

// compareDigests compares the peers' with what is here.
func (c *Core) compareDigests() {
	for _, ld := range c.undigested {
		for _, w := range ld.peerDigests {
			ld.compareDigest(w, ld.domain.digestSums())
		}
		ld.peerDigests = nil
	}
	c.undigested = nil
}

// compareDigest compares a digest of the peer's with what is here.
func (ld *linkDomain) compareDigest(w *linkv1.Digest, sums *[64]uint64) {
	if len(w.GetSums()) == 1 {
		if w.GetSums()[0] != total(sums) {
			ld.digestSums, ld.link.pending = 64, true
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
		ld.summaryBuckets |= differ
	case ld.opening == withSummary:
		return // it answers that
	default:
		ld.answerBuckets |= differ
		ld.answerDue = true
	}
	ld.link.pending = true
}

// receiveSummary corrects what is known of the peer by what it lists.
func (ld *linkDomain) receiveSummary(w *linkv1.Summary, seen uint64) {
	d := ld.domain
	listed := make(map[*record]*linkv1.Entry, len(w.GetEntries()))
	for _, e := range w.GetEntries() {
		if r := d.byVertex[ld.vertex(e.GetNode(), e.GetNamespace())]; r != nil {
			listed[r] = e
		}
	}
	for _, r := range d.records {
		if r == nil || w.GetBuckets()>>r.digestBucket&1 == 0 {
			continue
		}
		if td := ld.peerVersion(r); td.sent <= seen {
			e := listed[r]
			switch newer := e.GetIncarnation() > r.inc; {
			case newer && ld.link.peer.Observer:
				e = nil // it believes what it receives here
			case newer:
				ld.requestRecord(r.vertex) // it may be out of the peer's reach, and is sent only to who has an older one
			}
			td.inc, td.version, td.floor = e.GetIncarnation(), e.GetVersion(), e.GetFloor()
			ld.resyncIfDiffers(r, e)
		}
		ld.enqueue(r)
	}
	ld.peerKnown = ld.peerKnown || !w.GetMore()
	ld.link.pending = true
	switch {
	case w.GetAnswer():
		ld.answerBuckets |= w.GetBuckets()
	case w.GetOpening() && ld.opening != withSummary:
		ld.answerBuckets, ld.answerDue = allBuckets, true
	}
}

// resyncIfDiffers asks for a record anew if the peer has another at the same version, and is nearer to its
// origin.
func (ld *linkDomain) resyncIfDiffers(r *record, e *linkv1.Entry) {
	if e == nil || r.inc != e.GetIncarnation() || r.version != e.GetVersion() || r.sum == e.GetSum() {
		return
	}
	d := ld.domain
	nearer := !d.isOwn(r) && (d.nextHop(r) == ld || !r.path.reached)
	if d.firstHand(r) {
		nearer = ld.isPeer(r.vertex)
	}
	if nearer {
		r.resyncFrom = ld
		ld.markResync(r)
		ld.requestRecord(r.vertex)
	}
}

// requestRecord makes the peer send what is newer of a vertex, by saying what is here.
func (ld *linkDomain) requestRecord(v vertex) {
	ld.answerBuckets |= 1 << v.bucket()
	ld.link.pending = true
}

// pullSummary adds a summary or answer, where one is due.
func (ld *linkDomain) pullSummary(t *linkv1.Table) bool {
	switch {
	case ld.summaryBuckets != 0:
		t.Summary = ld.summary(popBuckets(&ld.summaryBuckets), false)
		t.Summary.Answer, t.Summary.More = true, ld.summaryBuckets != 0
	case ld.answerBuckets != 0 || ld.answerDue:
		ld.answerDue = false
		t.Summary = ld.summary(popBuckets(&ld.answerBuckets), true)
		t.Summary.More = ld.answerBuckets != 0
	default:
		return false
	}
	return true
}

// popBuckets removes some buckets from a set and returns them.
func popBuckets(set *uint64) uint64 {
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
	for _, r := range ld.domain.records {
		if r == nil || buckets>>r.digestBucket&1 == 0 || r.version == 0 {
			continue
		}
		if answer && ld.peerVersion(r).version == 0 {
			continue
		}
		e := &linkv1.Entry{Node: r.node[:], Incarnation: r.inc, Version: r.version, Floor: r.floor, Sum: r.sum}
		if r.ns != ld.name {
			e.Namespace = r.ns
		}
		if r.resyncFrom == ld {
			e.Version, e.Floor = 0, 0
		}
		w.Entries = append(w.Entries, e)
	}
	return w
}
