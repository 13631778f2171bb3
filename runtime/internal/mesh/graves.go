package mesh

import "time"

// What is gone is remembered for [ForgetAfter], so that a caller is told what became of it. A record's removals
// do for most of that; a grave stands for what they do not have: what went with a node's earlier life, or
// more removals than a record tells on. No grave is told to anyone.

// maxGraves bounds how many there are in a domain, of a few hundred bytes each.
const maxGraves = 1 << 16

// grave makes what stays of a function after its record is gone, if it is to stay.
func (d *database) grave(r *record, it *item, cause string) *item {
	switch {
	case cause == "":
		return nil
	case it.removed:
		return d.bury(r, it.fn.Procedure, it.extra)
	}
	if e := d.burial; e == nil || e.cause != cause || !e.at.Equal(d.core.now) {
		d.burial = &extra{at: d.core.now, cause: cause} // one for all that go at once
	}
	return d.bury(r, it.fn.Procedure, d.burial)
}

// bury adds a grave to a record, which the caller puts into the index. It returns nil where there is no room or
// one of that procedure.
func (d *database) bury(r *record, procedure string, how *extra) *item {
	if d.graves >= maxGraves || r.graves[procedure] != nil {
		return nil
	}
	g := &item{rec: r.idx, removed: true, fn: Function{Procedure: procedure}, extra: how}
	if len(r.graves) == 0 || how.at.Before(r.buried) {
		r.buried = how.at
	}
	set(&r.graves, procedure, g)
	d.graves++
	return g
}

// unbury removes the graves of a record for which gone returns true.
func (d *database) unbury(r *record, gone func(g *item) bool) {
	for procedure, g := range r.graves {
		if gone(g) {
			delete(r.graves, procedure)
			d.graves--
			d.update(procedure, g, nil, "")
		}
	}
}

// expireGraves forgets those of a record that are old, and returns when the next will be, or zero.
func (d *database) expireGraves(r *record, now time.Time) time.Time {
	if len(r.graves) == 0 {
		return time.Time{}
	}
	if due := r.buried.Add(ForgetAfter); due.After(now) {
		return due
	}
	d.unbury(r, func(g *item) bool { return !g.extra.at.Add(ForgetAfter).After(now) })
	if len(r.graves) == 0 {
		return time.Time{}
	}
	r.buried = now
	for _, g := range r.graves {
		r.buried = earlier(r.buried, g.extra.at)
	}
	return r.buried.Add(ForgetAfter)
}

// install puts a function of a record into the index, in the place of old or of a grave.
func (d *database) install(r *record, old, it *item) {
	if g := r.graves[it.fn.Procedure]; g != nil && old == nil {
		delete(r.graves, it.fn.Procedure)
		d.graves--
		old = g
	}
	d.update(it.fn.Procedure, old, it, "")
}

// trim lets go of old removals of a record.
func (d *database) trim(r *record) {
	for _, it := range r.trim(d.core.spare) {
		var g *item
		if r.functions[it.fn.Procedure] == nil && r.derived[it.fn.Procedure] == nil {
			g = d.bury(r, it.fn.Procedure, it.extra)
		}
		d.update(it.fn.Procedure, it, g, "")
	}
}
