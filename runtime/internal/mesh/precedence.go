package mesh

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// An origin itself says where it ranks among those of its function. When it meets another one it sends
// for how long it has been registered, by a clock that does not jump, and so does the other. Ages arrive
// late, so each takes the other to be younger than it is, and never both that they are the younger. The
// younger stands back: it makes its registration later than the other's. One that is older, but behind one
// that does not stand back, raises its level.

const (
	// minAgeTolerance is the difference in age that may be due to the way that the ages take; beyond that, so may
	// a 1024th of the age, as clocks do not run alike.
	minAgeTolerance   = 500 * time.Millisecond
	ageToleranceShare = 1024
	// patience is how long an origin waits for one that is clearly younger to stand back, and twice as long for
	// another one: what it sends may still be on its way.
	patience       = 2 * time.Second
	clearlyYounger = 5 * time.Second
	// maxLevel bounds what is believed of levels.
	maxLevel = 1 << 16
	// maxRaises and maxYields bound how often an origin goes before the same other one, and behind it.
	maxRaises = 2
	maxYields = 16
)

// rank orders the origins of one function.
type rank struct {
	level      uint32
	registered uint64
	registration
}

// registration names what a node has registered.
type registration struct {
	node  nodeid.ID
	stamp int64
}

func (a rank) compare(b rank) int {
	if c := cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.registered, b.registered)); c != 0 {
		return c
	}
	return cmp.Or(a.node.Compare(b.node), cmp.Compare(a.stamp, b.stamp))
}

// rank returns what an item claims, as far as it can be believed: what a node has itself it has not had
// since before its start.
func (d *domain) rank(it *item) rank {
	r := rank{level: min(it.more().level, maxLevel), registered: uint64(it.fn.Registered), registration: d.registration(it)}
	if it.derivation() == 0 {
		r.registered = max(r.registered, d.records[it.rec].start)
	}
	return r
}

// stamp returns when the function was registered, as its origin first said.
func (it *item) stamp() int64 {
	if s := it.more().stamp; s != 0 {
		return s
	}
	return it.fn.Registered
}

// mutuallyExclusive reports whether two origins of a function cannot serve beside each other, or may not be able to.
func mutuallyExclusive(a, b *Function) bool {
	return a.Policy == PolicySingle || a.Policy != b.Policy || len(a.Schema) > 0 && len(b.Schema) > 0 && !bytes.Equal(a.Schema, b.Schema)
}

// rivalry is what an origin of this node knows of the others of its function.
type rivalry struct {
	stamp   int64     // of the origin
	lastAge time.Time // when it last sent its age
	rivals  map[registration]*rival
	floors  map[registration]time.Time // of those that have just come
}

// rival is another origin of a function that this node has, too.
type rival struct {
	item       *item     // as it was looked at last
	met        time.Time // when it last came within reach beside this node's
	reachedRun uint64    // as of its record then
	floor      time.Time // it is known not to have been there before
	born       time.Time // when it was registered, by this node's clock, at the latest; zero: its node does not say
	older      bool
	yields     bool // it said that it stands behind this node's
	raises     int  // times that this node's went before it
	moves      int  // and behind it
}

// noteFloor notes since when an origin can have been there at most, for those of this node.
func (c *conflict) noteFloor(d *domain, it *item) {
	if it.derivation() != 0 {
		return
	}
	floor := d.records[it.rec].witnessed(d.core.now)
	for _, r := range d.ownRecords {
		own := r.functions[it.fn.Procedure]
		if own == nil || own.removed || own == it || floor.IsZero() {
			continue
		}
		if s := c.rivalryOf(r); s.rivals[d.registration(it)] == nil && len(s.floors) < d.core.cfg.Limits.Origins {
			s.floors[d.registration(it)] = floor
		}
	}
}

func (c *conflict) rivalryOf(r *record) *rivalry {
	s := c.rivalries[r]
	if s == nil {
		s = &rivalry{rivals: map[registration]*rival{}, floors: map[registration]time.Time{}}
		if c.rivalries == nil {
			c.rivalries = map[*record]*rivalry{}
		}
		c.rivalries[r] = s
	}
	return s
}

// witnessed returns when the record was last known not to have what is new in it now, or zero.
func (r *record) witnessed(now time.Time) time.Time {
	if !r.wasComplete {
		return r.lastLifeSeen
	}
	return r.lastSeen(now)
}

// lastSeen returns when the record was last in reach and up to date, or zero.
func (r *record) lastSeen(now time.Time) time.Time {
	switch p := &r.path; {
	case p.reached && !p.reachedSince.After(now.Add(-holdFor)):
		return now
	case p.reached:
		return p.reachedUntil // it has just come back: what is new may be from meanwhile
	case p.lost != nil && p.lost.cause != "":
		return p.lost.at
	default:
		return time.Time{}
	}
}

// placeOwnOrigins has this node's origins decide where they rank, in the conflicts that changed: by what has just been
// registered, or otherwise.
func (d *domain) placeOwnOrigins(registered bool) {
	d.rebuildDirty()
	unjudged := d.unjudged
	d.unjudged = nil
	for _, p := range unjudged {
		c := d.conflicts[p]
		if c == nil || !c.exclusive {
			continue
		}
		for _, r := range d.ownRecords {
			if it := r.functions[p]; it != nil && !it.removed {
				s := placement{d: d, c: c, record: r, item: it, rank: d.rank(it), rivalry: c.rivalryOf(r), justRegistered: registered}
				s.decide()
			}
		}
	}
}

// placement is an origin of this node as it decides where it ranks.
type placement struct {
	*rivalry
	d              *domain
	c              *conflict
	record         *record
	item           *item
	justRegistered bool // it has just been registered: all others are older
	born           time.Time
	rank           rank
	olderRivals    []*rival
	youngerAhead   []*rival     // younger, but first
	front          registration // the first of the older ones
	mustSpeak      bool         // it is to say where it ranks
}

func (s *placement) decide() {
	d, procedure := s.d, s.item.fn.Procedure
	s.born = d.core.namespaces[s.record.ns].registeredAt[procedure]
	if stamp := s.item.stamp(); s.stamp != stamp {
		s.stamp, s.lastAge = stamp, s.born
		clear(s.rivals)
	}
	before := s.rank
	for it := range s.others() {
		s.compareWith(it)
	}
	clear(s.floors)
	s.prune()
	s.setRank()
	if s.mustSpeak || s.rank != before {
		s.originate()
	}
}

// others yields an item of each other origin within reach: its own, or else one that is passed
// on of it.
func (s *placement) others() iter.Seq[*item] {
	return func(yield func(*item) bool) {
		d := s.d
		items := d.functions.get(s.item.fn.Procedure).extra.candidates.items
		met := map[registration]bool{d.registration(s.item): true}
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
				if (s.c.excess > 0 || mutuallyExclusive(&it.fn, &s.item.fn)) && !yield(it) {
					return
				}
			}
		}
	}
}

// compareWith looks at another origin.
func (s *placement) compareWith(it *item) {
	v := s.updateRival(it)
	now, theirs := s.d.core.now, s.d.rank(it)
	settled := v.item.more().stamp != 0 // on its rank: that is left alone
	if !v.yields && (v.older || s.sameAge(v) && s.lowerID(v) && !settled) {
		s.olderRivals = append(s.olderRivals, v)
		return
	}
	knows := v.floor.After(s.born) && theirs.compare(s.rank) > 0 // it came to where this one was
	s.mustSpeak = s.mustSpeak || v.met.Sub(s.lastAge) >= minAgeTolerance && !knows
	if theirs.compare(s.rank) > 0 {
		return
	}
	switch until := v.met.Add(s.patience(v)); {
	case v.raises >= maxRaises || s.sameAge(v) && s.lowerID(v):
	case until.After(now):
		s.d.recheckAt(it.fn.Procedure, s.c, until)
	default:
		s.youngerAhead = append(s.youngerAhead, v)
	}
}

// patience is how long another origin, which is not older, may be the first nevertheless.
func (s *placement) patience(v *rival) time.Duration {
	switch {
	case v.born.IsZero():
		return 0 // it does not know how to stand back
	case v.yields || v.born.Sub(s.born) > clearlyYounger:
		return patience
	default:
		return 2 * patience
	}
}

// updateRival brings what is known of another origin up to its item.
func (s *placement) updateRival(it *item) *rival {
	key := s.d.registration(it)
	now := s.d.core.now
	v := s.rivals[key]
	if v == nil {
		v = &rival{floor: s.floors[key]}
		s.rivals[key] = v
	}
	if gained := s.d.records[it.rec].path.reachedRun; v.reachedRun != gained {
		v.reachedRun, v.met = gained, now
	}
	if v.item != it && it.hasAge {
		born := now.Add(-it.more().age)
		if born.Before(v.floor) {
			born = v.floor
		}
		if v.born.IsZero() || born.Before(v.born) {
			v.born = born
		}
	}
	v.item = it
	v.yields = v.yields || it.more().behind == s.d.registration(s.item)
	v.older = v.older || s.justRegistered || s.isOlder(v)
	return v
}

// isOlder reports whether the other origin is the older one, as far as is known.
func (s *placement) isOlder(v *rival) bool {
	company := s.d.companySince
	if v.born.IsZero() { // it was there before, or came later: which of the two follows from when this one first met others
		return !s.born.After(company) && !v.met.After(company.Add(patience))
	}
	return s.born.Sub(v.born) > s.ageTolerance(v)
}

// sameAge reports whether the two may be of the same age: the lower id of their nodes decides then.
func (s *placement) sameAge(v *rival) bool {
	by := s.born.Sub(v.born)
	return !v.born.IsZero() && max(by, -by) <= s.ageTolerance(v)
}

// lowerID reports whether the other one's node has the lower id.
func (s *placement) lowerID(v *rival) bool {
	o := s.d.records[v.item.rec].vertex
	return cmp.Or(s.d.origin(v.item).Compare(s.record.node), cmp.Compare(o.ns, s.record.ns)) < 0
}

// ageTolerance is the difference in age that means nothing.
func (s *placement) ageTolerance(v *rival) time.Duration {
	now := s.d.core.now
	return minAgeTolerance + max(now.Sub(s.born), now.Sub(v.born))/ageToleranceShare
}

// setRank goes before those that are younger, as far as that is not before those that are older, and behind
// these.
func (s *placement) setRank() {
	before := s.rank
	for _, v := range s.youngerAhead {
		s.rank.level = min(max(s.rank.level, s.d.rank(v.item).level+1), maxLevel)
	}
	for _, v := range s.olderRivals {
		s.rank.level = min(s.rank.level, s.d.rank(v.item).level)
	}
	if s.rank.level > before.level {
		for _, v := range s.youngerAhead {
			v.raises++
		}
	}
	var front rank
	for i, v := range s.olderRivals {
		s.yieldTo(v)
		if i == 0 || s.d.rank(v.item).compare(front) < 0 {
			front, s.front = s.d.rank(v.item), s.d.registration(v.item)
		}
	}
	if len(s.olderRivals) > 0 && s.c.serving[0] == s.d.registration(s.item) && s.item.more().behind != s.front {
		s.mustSpeak = true // those whom it serves are to learn that it stands back
	}
}

func (s *placement) yieldTo(v *rival) {
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
func (s *placement) prune() {
	if len(s.rivals) <= s.d.core.cfg.Limits.Origins {
		return
	}
	for key, v := range s.rivals {
		if _, there := s.c.items[v.item]; !there {
			delete(s.rivals, key)
		}
	}
}

// originate sends the origin's rank and age.
func (s *placement) originate() {
	s.lastAge = s.d.core.now
	it := s.d.withAge(s.record, s.item)
	if s.rank.registered != s.d.rank(s.item).registered {
		it.fn.Registered = int64(s.rank.registered)
	}
	it.extra.stamp, it.extra.level = s.item.stamp(), s.rank.level
	if len(s.olderRivals) > 0 {
		it.extra.behind = s.front
	}
	s.d.originate(s.record, it)
}

// withAge returns a copy of a function of this node with its present age, to be originated.
func (d *domain) withAge(r *record, it *item) *item {
	e := it.more()
	age := d.core.now.Sub(d.core.namespaces[r.ns].registeredAt[it.fn.Procedure])
	return &item{fn: it.fn, hasAge: true, extra: &extra{
		stamp: e.stamp, level: e.level, behind: e.behind, compatible: slices.Clone(e.compatible), age: max(1, age),
	}}
}
