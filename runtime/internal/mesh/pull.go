package mesh

import (
	"cmp"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Pull returns the next table to send to a link's peer, of about maxBytes, or nil if nothing is
// left. What is pulled counts as sent. Records may be there as their encoding alone, among the table's
// unknown fields. Nothing is sent on a link before routes have been found with it, as they are by
// [Core.Pending].
func (c *Core) Pull(now time.Time, id LinkID, maxBytes int) *linkv1.Table {
	c.now = now
	l := c.links[id]
	if l == nil || !l.routed {
		return nil
	}
	for range l.domains {
		ld := l.domains[l.nextDomain]
		l.nextDomain = (l.nextDomain + 1) % len(l.domains)
		if t := ld.pull(maxBytes); t != nil {
			return t
		}
	}
	return nil
}

// pull puts together a table of a domain.
func (ld *linkDomain) pull(room int) *linkv1.Table {
	t := &linkv1.Table{Namespace: ld.name, Seen: ld.tablesSeen}
	ld.tablesSent++ // what is written now is part of this one
	some := ld.pullOpening(t)
	if !some {
		some = ld.pullSummary(t)
	}
	if ld.peerKnown {
		some = ld.pullRecords(t, room) || some
		if len(ld.queue) == 0 {
			some = ld.pullComplete(t) || some
			some = ld.pullAcks(t) || some
			some = ld.pullClaims(t) || some
		}
	}
	if ld.digestSums > 0 && (ld.peerKnown && len(ld.queue) == 0 || ld.digestSums > 1) {
		t.Digest, t.Complete = ld.digest(ld.digestSums, false), ld.localComplete
		ld.digestSums, some = 0, true
	}
	if ld.ackOwed {
		t.Acknowledged, ld.ackOwed, some = true, false, true
	}
	if !some {
		ld.tablesSent--
		return nil
	}
	return t
}

// pullRecords adds what the peer lacks of the records in the queue.
func (ld *linkDomain) pullRecords(t *linkv1.Table, room int) bool {
	var encoded []byte
	for room > 0 && len(ld.queue) > 0 {
		r := ld.queue[0]
		ld.queue = ld.queue[1:]
		if ld.domain.records[r.idx] != r {
			continue // forgotten
		}
		td := ld.peerVersion(r)
		td.queued = false
		switch {
		case r.version == 0 || !td.lacks(r):
			continue
		case !r.path.reached && td.version == 0:
			continue // it will be in the queue again when it is reached
		}
		w, size := ld.writeRecord(r, td, room)
		room -= size
		if w.encoded != nil {
			encoded = append(encoded, w.encoded...)
			continue
		}
		t.Records = append(t.Records, w.record)
		if w.record.GetMore() {
			ld.enqueue(r)
		}
	}
	if encoded != nil {
		t.ProtoReflect().SetUnknown(encoded)
	}
	return encoded != nil || len(t.Records) > 0
}

// lacks reports whether the peer has an older version of a record.
func (t *peerVersion) lacks(r *record) bool {
	return t.inc < r.inc || t.inc == r.inc && t.version < r.version
}

// writeRecord writes what changed in a record since the peer's version, of about room bytes.
func (ld *linkDomain) writeRecord(r *record, td *peerVersion, room int) (written, int) {
	since := uint64(0)
	if td.inc == r.inc && r.floor <= max(td.version, td.floor) {
		since = td.version
	}
	if e := ld.cachedEncoding(r, since); e != nil && e.size <= room {
		*td = peerVersion{inc: r.inc, version: r.version, floor: r.floor, sent: ld.tablesSent, queued: td.queued}
		return written{encoded: e.bytes}, e.size
	}
	w, size := ld.compose(r, since, room)
	*td = peerVersion{inc: r.inc, version: w.Version, floor: r.floor, sent: ld.tablesSent, queued: td.queued}
	return ld.cacheEncoding(r, w, size), size
}

// compose writes what changed in a record since a version, of about room bytes.
func (ld *linkDomain) compose(r *record, since uint64, room int) (*linkv1.Record, int) {
	w := &linkv1.Record{Node: r.node[:], Incarnation: r.inc, Since: since, Version: r.version, Floor: r.floor}
	if r.ns != ld.name {
		w.Namespace = r.ns
	}
	if r.start != r.inc {
		w.Start = r.start
	}
	if since == 0 {
		w.Key = r.key
	}
	size := recordBytes
	for _, e := range r.changesSince(w.Since) {
		if e.it.superseded {
			continue
		}
		if size > room && size > recordBytes {
			w.More = true
			break
		}
		size += e.it.write(w)
		w.Version = e.version
	}
	if !w.More {
		w.Version = r.version
	}
	return w, size
}

// pullComplete says once that the peer has been sent all.
func (ld *linkDomain) pullComplete(t *linkv1.Table) bool {
	if ld.localComplete {
		return false
	}
	ld.localComplete, t.Complete = true, true
	return true
}

// pullAcks passes on who has seen what, towards the members that ask.
func (ld *linkDomain) pullAcks(t *linkv1.Table) bool {
	for _, r := range ld.domain.ackRequesters() {
		a := ld.domain.ackRequests[r]
		if int(r.idx) >= len(ld.domain.routes) || !ld.domain.reached[r.idx] {
			continue // it is new
		}
		to := &ld.domain.routes[r.idx].targets[0]
		if to.Local || to.Link != ld.link.id || to.LinkNamespace != ld.name {
			continue
		}
		if n := ld.acksSent[r]; n < len(a.order) {
			t.Acks = append(t.Acks, ld.writeAck(r, a, a.order[n:]))
			ld.acksSent[r] = len(a.order)
		}
	}
	return len(t.Acks) > 0
}

func (ld *linkDomain) writeAck(r *record, a *ackRequest, by []*record) *linkv1.Seen {
	w := &linkv1.Seen{Node: r.node[:], Incarnation: a.inc, Version: a.version}
	if r.ns != ld.name {
		w.Namespace = r.ns
	}
	for _, m := range by {
		wm := &linkv1.Member{Node: m.node[:]}
		if m.ns != ld.name {
			wm.Namespace = m.ns
		}
		w.Members = append(w.Members, wm)
	}
	return w
}

// ackRequesters returns the records that ask who has seen them, in order.
func (d *domain) ackRequesters() []*record {
	if len(d.ackRequests) == 0 {
		return nil
	}
	records := make([]*record, 0, len(d.ackRequests))
	for r := range d.ackRequests {
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b *record) int { return cmp.Compare(a.idx, b.idx) })
	return records
}
