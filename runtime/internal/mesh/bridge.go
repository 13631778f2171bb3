package mesh

import (
	"maps"
	"slices"
)

// bridge joins namespaces at this node: they become one domain, of which each link is told in the
// namespace that it carries.
func (c *Core) bridge(members []*space) {
	c.settle()
	d := members[0].db
	for _, m := range members[1:] {
		if m.db != d {
			d = c.merge(d, m.db)
		}
	}
	if c.cfg.Observer {
		return
	}
	for _, r := range d.own {
		for _, ns := range d.names {
			if ns != r.ns && !r.joins(ns) {
				d.tell(r, &item{kind: kindBridge, extra: &extra{bridge: ns}})
			}
		}
	}
}

// merge makes one database of two.
func (c *Core) merge(a, b *database) *database {
	d := newDatabase(c, slices.Sorted(slices.Values(slices.Concat(a.names, b.names)))...)
	c.databases = slices.DeleteFunc(c.databases, func(o *database) bool { return o == a || o == b })
	c.databases = append(c.databases, d)
	d.watchers = a.watchers + b.watchers
	d.groups = slices.Concat(a.groups, slices.DeleteFunc(b.groups, func(g *group) bool { return slices.Contains(a.groups, g) }))
	moved := map[*record]*record{}
	for _, r := range slices.Concat(a.own, b.own) {
		moved[r] = d.adopt(r) // first: others' copies of them know less
		d.own = append(d.own, moved[r])
	}
	for _, r := range slices.Concat(a.records, b.records) {
		if r != nil && moved[r] == nil {
			moved[r] = d.adopt(r)
		}
	}
	for _, ld := range slices.Concat(a.links, b.links) {
		ld.move(d, moved)
	}
	for _, s := range c.declared {
		if s.db == a || s.db == b {
			s.db, s.own = d, moved[s.own]
		}
	}
	for _, w := range c.wishes {
		w.move(moved)
	}
	for _, db := range []*database{a, b} {
		for r, k := range db.claims {
			d.pass(moved[r], k.claim)
		}
	}
	if len(d.groups) > 0 {
		d.reconsider()
	}
	c.renamed, c.unsettled = true, true
	return d
}

// adopt copies another database's record, unless it has a later one. Snapshots may know the
// original.
func (d *database) adopt(r *record) *record {
	n := d.byVertex[r.vertex]
	switch {
	case n == nil:
		n = d.join(r.vertex, r.inc, r.process)
	case !r.newer(n.inc, n.version):
		n.refuse(r.refused)
		return n
	default:
		d.clear(n, "")
	}
	n.refuse(r.refused)
	n.inc, n.process, n.version, n.floor = r.inc, r.process, r.version, r.floor
	n.fell, n.goodbye = r.fell, r.goodbye
	n.whole, n.before = r.whole, r.before
	n.via = r.via
	n.held = r.held
	for _, e := range r.feed {
		if !e.it.stale {
			it := *e.it
			d.put(n, &it)
		}
	}
	if r.path.counted && !n.path.counted {
		n.path.counted, n.path.last = true, r.path.last
		d.present[r.node]++
	}
	return n
}

// move takes the link's domain over to a database that its own was merged into.
func (ld *linkDomain) move(d *database, moved map[*record]*record) {
	before := ld.told
	records := ld.db.records
	ld.db, ld.told, ld.queue, ld.acked = d, nil, nil, map[*record]int{}
	for i, t := range before {
		if r := records[i]; r != nil {
			t.queued = false
			*ld.of(moved[r]) = t
		}
	}
	d.attach(ld)
	for _, r := range d.records {
		ld.enqueue(r)
	}
}

// move makes a wish wait for the records in the place of its own.
func (w *wish) move(moved map[*record]*record) {
	for _, r := range slices.Collect(maps.Keys(w.records)) {
		if n := moved[r]; n != nil {
			w.records[n] = w.records[r]
			delete(w.records, r)
		}
	}
}
