package mesh

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"time"
)

// Where an origin stands among those of its function is its own to tell. When it meets another one it tells
// for how long it has been registered, by a clock that does not jump, and so does the other. Ages arrive
// late, so each takes the other to be younger than it is, and never both that they are the younger. The
// younger stands back: it makes its registration later than the other's. One that is older, but behind one
// that does not stand back, raises its level.

const (
	// evenWithin is the difference in age that may be due to the way that the ages take; beyond that, so may
	// a 1024th of the age, as clocks do not run alike.
	evenWithin = 500 * time.Millisecond
	evenShare  = 1024
	// patience is how long an origin waits for one that is clearly younger to stand back, and twice as long for
	// another one: what it tells may still be on its way.
	patience       = 2 * time.Second
	clearlyYounger = 5 * time.Second
	// maxLevel bounds what is believed of levels.
	maxLevel = 1 << 16
	// maxRaises and maxYields bound how often an origin goes before the same other one, and behind it.
	maxRaises = 2
	maxYields = 16
)

// rank is where an origin stands among those of its function.
type rank struct {
	level      uint32
	registered uint64
	registration
}

// registration names what a node has registered.
type registration struct {
	node  NodeID
	stamp int64
}

func (a rank) compare(b rank) int {
	if c := cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.registered, b.registered)); c != 0 {
		return c
	}
	return cmp.Or(a.node.compare(b.node), cmp.Compare(a.stamp, b.stamp))
}

// rank returns what an item claims, as far as it can be believed: what a node has itself it has not had
// since before its start.
func (d *database) rank(it *item) rank {
	r := rank{level: min(it.more().level, maxLevel), registered: uint64(it.fn.Registered), registration: d.registration(it)}
	if it.derivation() == 0 {
		r.registered = max(r.registered, d.records[it.rec].start)
	}
	return r
}

// stamp returns when the function was registered, as its origin first told.
func (it *item) stamp() int64 {
	if s := it.more().stamp; s != 0 {
		return s
	}
	return it.fn.Registered
}

// inTheWay reports whether two origins of a function cannot serve beside each other, or may not be able to.
func inTheWay(a, b *Function) bool {
	return a.Policy == Single || a.Policy != b.Policy || len(a.Schema) > 0 && len(b.Schema) > 0 && !bytes.Equal(a.Schema, b.Schema)
}

// standing is what an origin of this node knows of the others of its function.
type standing struct {
	stamp  int64     // of the origin
	told   time.Time // when it last told its age
	rivals map[registration]*rival
	floors map[registration]time.Time // of those that have just come
}

// rival is another origin of a function that this node has, too.
type rival struct {
	item   *item     // as it was looked at last
	met    time.Time // when it last came within reach beside this node's
	gained uint64    // as of its record then
	floor  time.Time // it is known not to have been there before
	born   time.Time // when it was registered, by this node's clock, at the latest; zero: its node does not say
	older  bool
	yields bool // it said that it stands behind this node's
	raises int  // times that this node's went before it
	moves  int  // and behind it
}

// witness notes since when an origin can have been there at most, for those of this node.
func (c *contest) witness(d *database, it *item) {
	if it.derivation() != 0 {
		return
	}
	floor := d.records[it.rec].witnessed(d.core.now)
	for _, r := range d.own {
		own := r.functions[it.fn.Procedure]
		if own == nil || own.removed || own == it || floor.IsZero() {
			continue
		}
		if s := c.standing(r); s.rivals[d.registration(it)] == nil && len(s.floors) < d.core.cfg.Limits.Origins {
			s.floors[d.registration(it)] = floor
		}
	}
}

func (c *contest) standing(r *record) *standing {
	s := c.stands[r]
	if s == nil {
		s = &standing{rivals: map[registration]*rival{}, floors: map[registration]time.Time{}}
		if c.stands == nil {
			c.stands = map[*record]*standing{}
		}
		c.stands[r] = s
	}
	return s
}

// witnessed returns when the record was last known not to have what is new in it now, or zero.
func (r *record) witnessed(now time.Time) time.Time {
	if !r.whole {
		return r.before
	}
	return r.lastSeen(now)
}

// lastSeen returns when the record was last in reach and up to date, or zero.
func (r *record) lastSeen(now time.Time) time.Time {
	switch p := &r.path; {
	case p.reached && !p.since.After(now.Add(-holdFor)):
		return now
	case p.reached:
		return p.until // it has just come back: what is new may be from meanwhile
	case p.lost != nil && p.lost.cause != "":
		return p.lost.at
	default:
		return time.Time{}
	}
}

// stand lets this node's origins settle where they stand, in the contests that changed: by what has just been
// registered, or otherwise.
func (d *database) stand(registered bool) {
	d.flush()
	unjudged := d.unjudged
	d.unjudged = nil
	for _, p := range unjudged {
		c := d.contested[p]
		if c == nil || !c.clashing {
			continue
		}
		for _, r := range d.own {
			if it := r.functions[p]; it != nil && !it.removed {
				s := stance{d: d, c: c, record: r, own: it, rank: d.rank(it), standing: c.standing(r), last: registered}
				s.settle()
			}
		}
	}
}

// stance is an origin of this node as it settles where it stands.
type stance struct {
	*standing
	d      *database
	c      *contest
	record *record
	own    *item
	last   bool // it has just been registered: all others are older
	born   time.Time
	rank   rank
	older  []*rival
	ahead  []*rival     // younger, but first
	front  registration // the first of the older ones
	speak  bool         // it is to tell
}

func (s *stance) settle() {
	d, procedure := s.d, s.own.fn.Procedure
	s.born = d.core.spaces[s.record.ns].born[procedure]
	if stamp := s.own.stamp(); s.stamp != stamp {
		s.stamp, s.told = stamp, s.born
		clear(s.rivals)
	}
	before := s.rank
	for it := range s.others() {
		s.meet(it)
	}
	clear(s.floors)
	s.prune()
	s.place()
	if s.speak || s.rank != before {
		s.tell()
	}
}

// others yields what there is of each other origin within reach: what that itself tells, or else what is passed
// on of it.
func (s *stance) others() iter.Seq[*item] {
	return func(yield func(*item) bool) {
		d := s.d
		items := d.fns.get(s.own.fn.Procedure).extra.many.items
		met := map[registration]bool{d.registration(s.own): true}
		for _, passedOn := range []bool{false, true} {
			for _, it := range items {
				if it.removed {
					break
				}
				key := d.registration(it)
				if met[key] || (it.derivation() != 0) != passedOn || !d.records[it.rec].path.reached {
					continue
				}
				met[key] = true
				if (s.c.excess > 0 || inTheWay(&it.fn, &s.own.fn)) && !yield(it) {
					return
				}
			}
		}
	}
}

// meet looks at another origin.
func (s *stance) meet(it *item) {
	v := s.look(it)
	now, theirs := s.d.core.now, s.d.rank(it)
	settled := v.item.more().stamp != 0 // where it stands: that is left alone
	if !v.yields && (v.older || s.alike(v) && s.lower(v) && !settled) {
		s.older = append(s.older, v)
		return
	}
	knows := v.floor.After(s.born) && theirs.compare(s.rank) > 0 // it came to where this one was
	s.speak = s.speak || v.met.Sub(s.told) >= evenWithin && !knows
	if theirs.compare(s.rank) > 0 {
		return
	}
	switch until := v.met.Add(s.patience(v)); {
	case v.raises >= maxRaises || s.alike(v) && s.lower(v):
	case until.After(now):
		s.d.wait(it.fn.Procedure, s.c, until)
	default:
		s.ahead = append(s.ahead, v)
	}
}

// patience is how long another origin, which is not older, may be the first nevertheless.
func (s *stance) patience(v *rival) time.Duration {
	switch {
	case v.born.IsZero():
		return 0 // it does not know how to stand back
	case v.yields || v.born.Sub(s.born) > clearlyYounger:
		return patience
	default:
		return 2 * patience
	}
}

// look brings what is known of another origin up to what it tells.
func (s *stance) look(it *item) *rival {
	key := s.d.registration(it)
	now := s.d.core.now
	v := s.rivals[key]
	if v == nil {
		v = &rival{floor: s.floors[key]}
		s.rivals[key] = v
	}
	if gained := s.d.records[it.rec].path.gained; v.gained != gained {
		v.gained, v.met = gained, now
	}
	if v.item != it && it.aged {
		born := now.Add(-it.more().age)
		if born.Before(v.floor) {
			born = v.floor
		}
		if v.born.IsZero() || born.Before(v.born) {
			v.born = born
		}
	}
	v.item = it
	v.yields = v.yields || it.more().behind == s.d.registration(s.own)
	v.older = v.older || s.last || s.outdated(v)
	return v
}

// outdated reports whether the other origin is the older one, as far as is known.
func (s *stance) outdated(v *rival) bool {
	company := s.d.company
	if v.born.IsZero() { // it was there before, or came later: that is told by when this one first met others
		return !s.born.After(company) && !v.met.After(company.Add(patience))
	}
	return s.born.Sub(v.born) > s.even(v)
}

// alike reports whether the two may be of the same age: the lower id of their nodes decides then.
func (s *stance) alike(v *rival) bool {
	by := s.born.Sub(v.born)
	return !v.born.IsZero() && max(by, -by) <= s.even(v)
}

// lower reports whether the other one's node has the lower id.
func (s *stance) lower(v *rival) bool {
	o := s.d.records[v.item.rec].vertex
	return cmp.Or(s.d.origin(v.item).compare(s.record.node), cmp.Compare(o.ns, s.record.ns)) < 0
}

// even is the difference in age that means nothing.
func (s *stance) even(v *rival) time.Duration {
	now := s.d.core.now
	return evenWithin + max(now.Sub(s.born), now.Sub(v.born))/evenShare
}

// place goes before those that are younger, as far as that is not before those that are older, and behind
// these.
func (s *stance) place() {
	before := s.rank
	for _, v := range s.ahead {
		s.rank.level = min(max(s.rank.level, s.d.rank(v.item).level+1), maxLevel)
	}
	for _, v := range s.older {
		s.rank.level = min(s.rank.level, s.d.rank(v.item).level)
	}
	if s.rank.level > before.level {
		for _, v := range s.ahead {
			v.raises++
		}
	}
	var front rank
	for i, v := range s.older {
		s.yield(v)
		if i == 0 || s.d.rank(v.item).compare(front) < 0 {
			front, s.front = s.d.rank(v.item), s.d.registration(v.item)
		}
	}
	if len(s.older) > 0 && s.c.leads[0] == s.d.registration(s.own) && s.own.more().behind != s.front {
		s.speak = true // those whom it serves are to hear that it stands back
	}
}

func (s *stance) yield(v *rival) {
	theirs := s.d.rank(v.item)
	if theirs.compare(s.rank) < 0 || theirs.registered >= maxVersion || v.moves >= maxYields {
		return
	}
	v.moves++
	by := time.Duration(1)
	if !v.born.IsZero() {
		by = max(1, s.born.Sub(v.born))
	}
	s.rank.registered = theirs.registered + uint64(by)
}

// prune forgets rivals that are gone, once they are many.
func (s *stance) prune() {
	if len(s.rivals) <= s.d.core.cfg.Limits.Origins {
		return
	}
	for key, v := range s.rivals {
		if _, there := s.c.items[v.item]; !there {
			delete(s.rivals, key)
		}
	}
}

// tell says where the origin stands, and how old it is.
func (s *stance) tell() {
	s.told = s.d.core.now
	it := s.d.restated(s.record, s.own)
	if s.rank.registered != s.d.rank(s.own).registered {
		it.fn.Registered = int64(s.rank.registered)
	}
	it.extra.stamp, it.extra.level = s.own.stamp(), s.rank.level
	if len(s.older) > 0 {
		it.extra.behind = s.front
	}
	s.d.tell(s.record, it)
}

// restated returns a copy of a function of this node that is to be told, with its present age.
func (d *database) restated(r *record, it *item) *item {
	e := it.more()
	age := d.core.now.Sub(d.core.spaces[r.ns].born[it.fn.Procedure])
	return &item{fn: it.fn, aged: true, extra: &extra{
		stamp: e.stamp, level: e.level, behind: e.behind, fits: slices.Clone(e.fits), age: max(1, age),
	}}
}
