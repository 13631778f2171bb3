package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Which of several origins serves follows from their ranks, the same at every node. These say what the
// origins settled among themselves (standing.go); until they have, an origin that came while another one
// served is held back. So neither an origin that claims to be early nor a wrong clock displaces one that
// serves.

const (
	// holdFor is how long an origin is held back at most. Until then the one that serves has stood back, or
	// gone before the other.
	holdFor = 5 * time.Second
	// newFor is how long a node that has joined holds nobody back: it hears of all at about the same time.
	newFor = time.Second
	// maxLeads is how many of the first are remembered, to tell who served.
	maxLeads = 8
)

// contest is a procedure of which there are several items.
type contest struct {
	items    map[*item]struct{}
	clashing bool           // its origins cannot all serve beside each other, or are too many
	excess   int            // origins beyond the limit
	leads    []registration // the first within reach as of the last rebuild
	due      time.Time      // when it is to be looked at again

	dirty  bool
	held   map[registration]time.Time
	stands map[*record]*standing // of this node's origins
	told   map[clash]bool
}

func (d *database) registration(it *item) registration { return registration{d.origin(it), it.stamp()} }

// ranked is an item that is being put in order.
type ranked struct {
	it      *item
	rank    rank
	reached bool
	held    bool
}

// contend returns the contest of a procedure of which there is an item already.
func (d *database) contend(procedure string, cur *item) *contest {
	c := d.contested[procedure]
	if c == nil {
		c = &contest{items: map[*item]struct{}{cur: {}}, leads: []registration{d.registration(cur)}}
		d.contested[procedure] = c
	}
	return c
}

// swap puts an item in the place of another. Either may be nil.
func (c *contest) swap(d *database, procedure string, old, it *item) {
	d.spoil(procedure, c)
	delete(c.items, old)
	if it == nil {
		return
	}
	c.items[it] = struct{}{}
	if it.removed {
		return
	}
	if old == nil || old.removed || old.stamp() != it.stamp() {
		c.witness(d, it)
	}
}

// spoil has the index's item of a contest made anew before anyone looks at it.
func (d *database) spoil(procedure string, c *contest) {
	d.changed = true
	if !c.dirty {
		c.dirty = true
		d.dirty = append(d.dirty, procedure)
	}
}

// stir looks again at the contests in which it matters who is within reach.
func (d *database) stir() {
	for p, c := range d.contested {
		if c.clashing {
			d.spoil(p, c)
		}
	}
}

// wake looks again at the contests that are due, and returns when the next will be.
func (d *database) wake(now time.Time) (next time.Time) {
	for p := range d.waiting {
		switch c := d.contested[p]; {
		case !c.due.After(now):
			d.spoil(p, c)
			d.core.unsettled = true
		case next.IsZero() || c.due.Before(next):
			next = c.due
		}
	}
	return next
}

// wait has a contest looked at again at a time.
func (d *database) wait(procedure string, c *contest, until time.Time) {
	if c.due.IsZero() || until.Before(c.due) {
		c.due = until
		d.waiting[procedure] = struct{}{}
	}
}

// flush brings the index up to what changed in contests: once, however many items of one have changed.
func (d *database) flush() {
	dirty := d.dirty
	d.dirty = nil
	slices.Sort(dirty)
	for _, p := range dirty {
		d.rebuild(p, d.contested[p])
	}
}

// rebuild makes the index's item of a contest anew.
func (d *database) rebuild(procedure string, c *contest) {
	before := d.fns.get(procedure)
	c.dirty, c.due = false, time.Time{}
	delete(d.waiting, procedure)
	if len(c.items) < 2 {
		delete(d.contested, procedure)
		d.fns.set(procedure, nil)
		for it := range c.items {
			d.fns.set(procedure, it)
		}
	} else {
		d.fns.set(procedure, d.many(procedure, d.ordered(procedure, c)))
		d.unjudged = append(d.unjudged, procedure)
		d.disputed = true
		if len(d.groups) > 0 { // the first may be another one
			d.touched[procedure] = append(d.touched[procedure], touch{})
		}
	}
	if before != nil && before.kind == kindMany {
		d.sets.release(before.extra.many)
	}
}

// ordered returns the items of a contest that count: those to be taken first first, the removed ones last.
func (d *database) ordered(procedure string, c *contest) []*item {
	live, gone := d.rankAll(c)
	limit := d.core.cfg.Limits.Origins
	c.clashing = len(live) > limit || clashing(live)
	d.hold(procedure, c, live)
	had := c.excess
	c.excess = max(0, len(live)-limit)
	if c.excess > 0 {
		slices.SortStableFunc(live, func(a, b ranked) int { return boolCompare(!a.reached, !b.reached) })
	}
	if had == 0 && c.excess > 0 {
		d.emit(Event{
			Kind: FunctionCrowded, Procedure: procedure, Callable: true,
			Cause: fmt.Sprintf("it has %d origins, of which %d count", len(live), limit),
		})
	}
	c.leads = c.leads[:0]
	for i := range live {
		if len(c.leads) < maxLeads && live[i].reached {
			c.leads = append(c.leads, live[i].rank.registration)
		}
	}
	items := make([]*item, 0, min(len(live), limit)+min(len(gone), limit))
	for _, part := range [][]ranked{live[:min(len(live), limit)], gone[:min(len(gone), limit)]} {
		for i := range part {
			items = append(items, part[i].it)
		}
	}
	return items
}

// rankAll returns the items of a contest by rank, and the removed ones.
func (d *database) rankAll(c *contest) (live, gone []ranked) {
	live = make([]ranked, 0, len(c.items))
	for it := range c.items {
		r := ranked{it: it, rank: d.rank(it), reached: d.records[it.rec].path.reached}
		if it.removed {
			gone = append(gone, r)
		} else {
			live = append(live, r)
		}
	}
	slices.SortFunc(live, d.compareRanked)
	slices.SortFunc(gone, d.compareRanked)
	return live, gone
}

// compareRanked orders items of one procedure, the same at every node. Items of one origin are next to each
// other, the origin's own first.
func (d *database) compareRanked(a, b ranked) int {
	if c := a.rank.compare(b.rank); c != 0 {
		return c
	}
	return cmp.Or(
		boolCompare(a.it.derivation() != 0, b.it.derivation() != 0),
		d.records[a.it.rec].compare(d.records[b.it.rec].vertex),
		cmp.Compare(a.it.version, b.it.version),
	)
}

// clashing reports whether there are origins that cannot all serve beside each other.
func clashing(live []ranked) bool {
	several, differ := false, false
	var lead *item
	for i := range live {
		it := live[i].it
		if lead == nil {
			lead = it
		}
		several = several || live[i].rank.registration != live[0].rank.registration
		differ = differ || inTheWay(&lead.fn, &it.fn)
		if len(lead.fn.Schema) == 0 {
			lead = it
		}
	}
	return several && differ
}

// hold puts those last that would be before the one that served so far, which does not stand behind them.
func (d *database) hold(procedure string, c *contest, live []ranked) {
	if !c.clashing {
		clear(c.held)
		return
	}
	now := d.core.now
	settled := !d.company.IsZero() && !d.company.After(now.Add(-newFor)) ||
		slices.ContainsFunc(live, func(r ranked) bool { return d.isOwn(d.records[r.it.rec]) })
	served := c.served(live)
	held := map[registration]time.Time{}
	for i := range live {
		r := &live[i]
		until := c.held[r.rank.registration]
		switch {
		case served >= 0 && (i >= served || live[served].it.more().behind == r.rank.registration):
			continue
		case served >= 0 && until.IsZero() && settled && r.reached:
			until = now.Add(holdFor)
		}
		if until.After(now) {
			held[r.rank.registration], r.held = until, true
			d.wait(procedure, c, until)
		}
	}
	c.held = held
	slices.SortStableFunc(live, func(a, b ranked) int { return boolCompare(a.held, b.held) })
}

// served returns the place of the origin that served so far, or if that is gone, of the next.
func (c *contest) served(live []ranked) int {
	for _, l := range c.leads {
		if i := slices.IndexFunc(live, func(r ranked) bool { return r.reached && r.rank.registration == l }); i >= 0 {
			return i
		}
	}
	return none
}
