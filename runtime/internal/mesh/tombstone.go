package mesh

import "time"

// What is gone is remembered for [ForgetAfter], so that a caller is told what became of it. A record's removals
// do for most of that; a tombstone stands for what they do not have: what went with a node's earlier life, or
// more removals than a record keeps. No tombstone is sent to anyone.

// maxTombstones bounds how many there are in a domain, of a few hundred bytes each.
const maxTombstones = 1 << 16

// tombstone makes what stays of a function after its record is gone, if it is to stay.
func (d *domain) tombstone(r *record, it *item, cause string) *item {
	switch {
	case cause == "":
		return nil
	case it.removed:
		return d.addTombstone(r, it.fn.Procedure, it.extra)
	}
	if e := d.sharedRemoval; e == nil || e.cause != cause || !e.at.Equal(d.core.now) {
		d.sharedRemoval = &extra{at: d.core.now, cause: cause} // one for all that go at once
	}
	return d.addTombstone(r, it.fn.Procedure, d.sharedRemoval)
}

// addTombstone adds a tombstone to a record, which the caller puts into the index. It returns nil where there is no room or
// one of that procedure.
func (d *domain) addTombstone(r *record, procedure string, how *extra) *item {
	if d.tombstones >= maxTombstones || r.tombstones[procedure] != nil {
		return nil
	}
	g := &item{rec: r.idx, removed: true, fn: Function{Procedure: procedure}, extra: how}
	if len(r.tombstones) == 0 || how.at.Before(r.oldestTombstone) {
		r.oldestTombstone = how.at
	}
	set(&r.tombstones, procedure, g)
	d.tombstones++
	return g
}

// removeTombstones removes the tombstones of a record for which gone returns true.
func (d *domain) removeTombstones(r *record, gone func(g *item) bool) {
	for procedure, g := range r.tombstones {
		if gone(g) {
			delete(r.tombstones, procedure)
			d.tombstones--
			d.replaceInIndex(procedure, g, nil, "")
		}
	}
}

// expireTombstones forgets those of a record that are old, and returns when the next will be, or zero.
func (d *domain) expireTombstones(r *record, now time.Time) time.Time {
	if len(r.tombstones) == 0 {
		return time.Time{}
	}
	if due := r.oldestTombstone.Add(ForgetAfter); due.After(now) {
		return due
	}
	d.removeTombstones(r, func(g *item) bool { return !g.extra.at.Add(ForgetAfter).After(now) })
	if len(r.tombstones) == 0 {
		return time.Time{}
	}
	r.oldestTombstone = now
	for _, g := range r.tombstones {
		r.oldestTombstone = earlier(r.oldestTombstone, g.extra.at)
	}
	return r.oldestTombstone.Add(ForgetAfter)
}

// installFunction puts a function of a record into the index, in the place of old or of a tombstone.
func (d *domain) installFunction(r *record, old, it *item) {
	if g := r.tombstones[it.fn.Procedure]; g != nil && old == nil {
		delete(r.tombstones, it.fn.Procedure)
		d.tombstones--
		old = g
	}
	d.replaceInIndex(it.fn.Procedure, old, it, "")
}

// trimRecord lets go of old removals of a record.
func (d *domain) trimRecord(r *record) {
	for _, it := range r.trimRemovals(d.core.keptRemovals) {
		var g *item
		if r.functions[it.fn.Procedure] == nil && r.derived[it.fn.Procedure] == nil {
			g = d.addTombstone(r, it.fn.Procedure, it.extra)
		}
		d.replaceInIndex(it.fn.Procedure, it, g, "")
	}
}
