package mesh

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Which of several origins serves follows from their ranks, the same at every node. These say what the
// origins have agreed on among themselves (precedence.go); until they have, an origin that came while another one
// served is held back. So neither an origin that claims to be early nor a wrong clock displaces one that
// serves.

const (
	// holdFor is how long an origin is held back at most. Until then the one that serves has stood back, or
	// gone before the other.
	holdFor = 5 * time.Second
	// newFor is how long a node that has joined holds nobody back: it learns of all at about the same time.
	newFor = time.Second
	// maxServing is how many of the first are remembered, to know who served.
	maxServing = 8
)

// conflict is a procedure of which there are several items.
type conflict struct {
	items     map[*item]struct{}
	exclusive bool           // its origins cannot all serve beside each other, or are too many
	excess    int            // origins beyond the limit
	serving   []registration // the first within reach as of the last rebuild
	recheck   time.Time      // when it is to be looked at again

	dirty     bool
	held      map[registration]time.Time
	rivalries map[*record]*rivalry // of this node's origins
	reported  map[exclusion]bool
}

func (d *domain) registration(it *item) registration { return registration{d.origin(it), it.stamp()} }

// ranked is an item that is being put in order.
type ranked struct {
	it      *item
	rank    rank
	reached bool
	held    bool
}

// conflictOf returns the conflict of a procedure of which there is an item already.
func (d *domain) conflictOf(procedure string, cur *item) *conflict {
	c := d.conflicts[procedure]
	if c == nil {
		c = &conflict{items: map[*item]struct{}{cur: {}}, serving: []registration{d.registration(cur)}}
		d.conflicts[procedure] = c
	}
	return c
}

// replace puts an item in the place of another. Either may be nil.
func (c *conflict) replace(d *domain, procedure string, old, it *item) {
	d.markDirty(procedure, c)
	delete(c.items, old)
	if it == nil {
		return
	}
	c.items[it] = struct{}{}
	if it.removed {
		return
	}
	if old == nil || old.removed || old.stamp() != it.stamp() {
		c.noteFloor(d, it)
	}
}

// markDirty has the index's item of a conflict made anew before anyone looks at it.
func (d *domain) markDirty(procedure string, c *conflict) {
	d.functionsChanged = true
	if !c.dirty {
		c.dirty = true
		d.dirtyConflicts = append(d.dirtyConflicts, procedure)
	}
}

// markConflictsDirty looks again at the conflicts in which it matters who is within reach.
func (d *domain) markConflictsDirty() {
	for p, c := range d.conflicts {
		if c.exclusive {
			d.markDirty(p, c)
		}
	}
}

// recheckDue looks again at the conflicts that are due, and returns when the next will be.
func (d *domain) recheckDue(now time.Time) (next time.Time) {
	for p := range d.timed {
		switch c := d.conflicts[p]; {
		case !c.recheck.After(now):
			d.markDirty(p, c)
			d.core.dirty = true
		case next.IsZero() || c.recheck.Before(next):
			next = c.recheck
		}
	}
	return next
}

// recheckAt has a conflict looked at again at a time.
func (d *domain) recheckAt(procedure string, c *conflict, until time.Time) {
	if c.recheck.IsZero() || until.Before(c.recheck) {
		c.recheck = until
		d.timed[procedure] = struct{}{}
	}
}

// rebuildDirty brings the index up to what changed in conflicts: once, however many items of one have changed.
func (d *domain) rebuildDirty() {
	dirty := d.dirtyConflicts
	d.dirtyConflicts = nil
	slices.Sort(dirty)
	for _, p := range dirty {
		d.rebuildConflict(p, d.conflicts[p])
	}
}

// rebuildConflict makes the index's item of a conflict anew.
func (d *domain) rebuildConflict(procedure string, c *conflict) {
	before := d.functions.get(procedure)
	c.dirty, c.recheck = false, time.Time{}
	delete(d.timed, procedure)
	if len(c.items) < 2 {
		delete(d.conflicts, procedure)
		d.functions.set(procedure, nil)
		for it := range c.items {
			d.functions.set(procedure, it)
		}
	} else {
		d.functions.set(procedure, d.newCandidates(procedure, d.orderOrigins(procedure, c)))
		d.unjudged = append(d.unjudged, procedure)
		d.conflictsChanged = true
		if len(d.groups) > 0 { // the first may be another one
			d.originChanges[procedure] = append(d.originChanges[procedure], originChange{})
		}
	}
	if before != nil && before.kind == kindCandidates {
		d.sets.release(before.extra.candidates)
	}
}

// orderOrigins returns the items of a conflict that count: those to be taken first first, the removed ones last.
func (d *domain) orderOrigins(procedure string, c *conflict) []*item {
	live, gone := d.rankOrigins(c)
	limit := d.core.cfg.Limits.Origins
	c.exclusive = len(live) > limit || mutuallyExclusiveAny(live)
	d.holdBack(procedure, c, live)
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
	c.serving = c.serving[:0]
	for i := range live {
		if len(c.serving) < maxServing && live[i].reached {
			c.serving = append(c.serving, live[i].rank.registration)
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

// rankOrigins returns the items of a conflict by rank, and the removed ones.
func (d *domain) rankOrigins(c *conflict) (live, gone []ranked) {
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
func (d *domain) compareRanked(a, b ranked) int {
	if c := a.rank.compare(b.rank); c != 0 {
		return c
	}
	return cmp.Or(
		boolCompare(a.it.derivation() != 0, b.it.derivation() != 0),
		d.records[a.it.rec].compare(d.records[b.it.rec].vertex),
		cmp.Compare(a.it.version, b.it.version),
	)
}

// mutuallyExclusiveAny reports whether there are origins that cannot all serve beside each other.
func mutuallyExclusiveAny(live []ranked) bool {
	several, differ := false, false
	var lead *item
	for i := range live {
		it := live[i].it
		if lead == nil {
			lead = it
		}
		several = several || live[i].rank.registration != live[0].rank.registration
		differ = differ || mutuallyExclusive(&lead.fn, &it.fn)
		if len(lead.fn.Schema) == 0 {
			lead = it
		}
	}
	return several && differ
}

// holdBack puts those last that would be before the one that served so far, which does not stand behind them.
func (d *domain) holdBack(procedure string, c *conflict, live []ranked) {
	if !c.exclusive {
		clear(c.held)
		return
	}
	now := d.core.now
	settled := !d.companySince.IsZero() && !d.companySince.After(now.Add(-newFor)) ||
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
			d.recheckAt(procedure, c, until)
		}
	}
	c.held = held
	slices.SortStableFunc(live, func(a, b ranked) int { return boolCompare(a.held, b.held) })
}

// served returns the place of the origin that served so far, or if that is gone, of the next.
func (c *conflict) served(live []ranked) int {
	for _, l := range c.serving {
		if i := slices.IndexFunc(live, func(r ranked) bool { return r.reached && r.rank.registration == l }); i >= 0 {
			return i
		}
	}
	return none
}
