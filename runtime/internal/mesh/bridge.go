package mesh

import (
	"maps"
	"slices"
)

// bridgeMembers joins namespaces at this node: they become one domain, which each link carries in the
// namespace that it carries.
func (c *Core) bridgeMembers(members []*namespace) {
	c.recompute()
	d := members[0].domain
	for _, m := range members[1:] {
		if m.domain != d {
			d = c.mergeDomains(d, m.domain)
		}
	}
	if c.cfg.Observer {
		return
	}
	for _, r := range d.ownRecords {
		for _, ns := range d.namespaces {
			if ns != r.ns && !r.listsBridge(ns) {
				d.originate(r, &item{kind: kindBridge, extra: &extra{bridge: ns}})
			}
		}
	}
}

// mergeDomains makes one domain of two.
func (c *Core) mergeDomains(a, b *domain) *domain {
	d := newDomain(c, slices.Sorted(slices.Values(slices.Concat(a.namespaces, b.namespaces)))...)
	c.domains = slices.DeleteFunc(c.domains, func(o *domain) bool { return o == a || o == b })
	c.domains = append(c.domains, d)
	d.watchers = a.watchers + b.watchers
	d.groups = slices.Concat(a.groups, slices.DeleteFunc(b.groups, func(g *group) bool { return slices.Contains(a.groups, g) }))
	moved := map[*record]*record{}
	for _, r := range slices.Concat(a.ownRecords, b.ownRecords) {
		moved[r] = d.adoptRecord(r) // first: others' copies of them know less
		d.ownRecords = append(d.ownRecords, moved[r])
	}
	for _, r := range slices.Concat(a.records, b.records) {
		if r != nil && moved[r] == nil {
			moved[r] = d.adoptRecord(r)
		}
	}
	for _, ld := range slices.Concat(a.links, b.links) {
		ld.moveTo(d, moved)
	}
	for _, s := range c.declared {
		if s.domain == a || s.domain == b {
			s.domain, s.record = d, moved[s.record]
		}
	}
	for _, w := range c.ackWaits {
		w.moveTo(moved)
	}
	for _, db := range []*domain{a, b} {
		for r, k := range db.relayedClaims {
			d.relayClaim(moved[r], k.claim)
		}
	}
	if len(d.groups) > 0 {
		d.rederiveAll()
	}
	c.namespacesChanged, c.dirty = true, true
	return d
}

// adoptRecord copies another domain's record, unless it has a later one. Snapshots may know the
// original.
func (d *domain) adoptRecord(r *record) *record {
	n := d.byVertex[r.vertex]
	switch {
	case n == nil:
		n = d.addRecord(r.vertex, r.inc, r.process)
	case !r.newer(n.inc, n.version):
		n.noteRejected(r.rejected)
		return n
	default:
		d.clearRecord(n, "")
	}
	n.noteRejected(r.rejected)
	n.inc, n.process, n.version, n.floor = r.inc, r.process, r.version, r.floor
	n.linkDownCause, n.goodbye = r.linkDownCause, r.goodbye
	n.wasComplete, n.lastLifeSeen = r.wasComplete, r.lastLifeSeen
	n.firstLink = r.firstLink
	n.placeHeldUntil = r.placeHeldUntil
	for _, e := range r.changes {
		if !e.it.superseded {
			it := *e.it
			d.putItem(n, &it)
		}
	}
	if r.path.counted && !n.path.counted {
		n.path.counted, n.path.countedView = true, r.path.countedView
		d.present[r.node]++
	}
	return n
}

// moveTo takes the link's domain over to a domain that its own was merged into.
func (ld *linkDomain) moveTo(d *domain, moved map[*record]*record) {
	before := ld.peerVersions
	records := ld.domain.records
	ld.domain, ld.peerVersions, ld.queue, ld.acksSent = d, nil, nil, map[*record]int{}
	for i, t := range before {
		if r := records[i]; r != nil {
			t.queued = false
			*ld.peerVersion(moved[r]) = t
		}
	}
	d.attach(ld)
	for _, r := range d.records {
		ld.enqueue(r)
	}
}

// moveTo has it wait for the records in the place of its own.
func (w *ackWait) moveTo(moved map[*record]*record) {
	for _, r := range slices.Collect(maps.Keys(w.records)) {
		if n := moved[r]; n != nil {
			w.records[n] = w.records[r]
			delete(w.records, r)
		}
	}
}
