package mesh

import (
	"slices"
	"time"
)

// database is all that is known of a domain: a namespace, or several that are bridged here.
type database struct {
	core  *Core
	id    int
	names []string // of the namespaces, sorted
	own   []*record

	records  []*record // by index; nil: free
	free     []int32
	byVertex map[vertex]*record
	byNode   map[NodeID][]*record
	fns      index // of functions, removed ones too
	size     int   // live functions of all records
	staged   int   // functions of all stages
	graves   int   // of all records
	burial   *extra

	sets      replicaSets
	contested map[string]*contest // procedures of several items
	dirty     []string            // of them, those whose item in the index is to be made anew
	unjudged  []string            // those in which this node's origins have not looked at the others since
	waiting   map[string]struct{} // those that are due at some time
	turn      uint64              // of finding routes
	company   time.Time           // when another member first came into reach
	groups    []*group            // whose functions come from here or go here
	watchers  int
	asks      map[*record]*asked
	claims    map[*record]*passing
	joined    uint64 // records so far
	shuffled  uint64 // how often it changed which records there are, and by which link
	links     []*linkDomain
	kept      []*record                // with an encoding
	peers     map[vertex][]*linkDomain // by neighbour; without those to proxies
	present   map[NodeID]int           // reached records of each node that is not leaving

	moved    bool      // routes are to be found again
	relinked []*record // whose edges are, too
	renamed  bool      // records came or went
	changed  bool      // functions did
	disputed bool      // the contested are to be looked at again
	touched  map[string][]touch

	routes   []*route
	reached  []bool
	branches []int32
	vertices map[vertex]int32
	view     *view
}

// touch is an origin that came or went.
type touch struct {
	it    *item
	added bool
	cause string
}

func newDatabase(c *Core, names ...string) *database {
	return &database{
		core: c, id: len(c.databases), names: names,
		byVertex: map[vertex]*record{}, byNode: map[NodeID][]*record{}, peers: map[vertex][]*linkDomain{},
		fns: newIndex(), contested: map[string]*contest{}, waiting: map[string]struct{}{},
		asks: map[*record]*asked{}, claims: map[*record]*passing{}, present: map[NodeID]int{}, touched: map[string][]touch{},
		sets: replicaSets{byKey: map[string]*replicaSet{}}, moved: true, renamed: true, changed: true,
	}
}

// join adds an empty record.
func (d *database) join(v vertex, inc uint64, p process) *record {
	r := newRecord(v, inc, p)
	d.joined++
	d.shuffled++
	r.seq = d.joined
	if n := len(d.free); n > 0 {
		r.idx, d.free = d.free[n-1], d.free[:n-1]
		d.records[r.idx] = r
	} else {
		r.idx = int32(len(d.records))
		d.records = append(d.records, r)
	}
	d.byVertex[v] = r
	d.byNode[v.node] = append(d.byNode[v.node], r)
	r.path.lost = &loss{at: d.core.now}
	d.moved, d.renamed = true, true
	return r
}

// forget removes a record with all that it told.
func (d *database) forget(r *record) {
	d.clear(r, "")
	d.shuffled++
	delete(d.byVertex, r.vertex)
	if d.byNode[r.node] = slices.DeleteFunc(d.byNode[r.node], func(o *record) bool { return o == r }); len(d.byNode[r.node]) == 0 {
		delete(d.byNode, r.node)
	}
	delete(d.asks, r)
	delete(d.claims, r)
	if r.suspect != nil {
		delete(r.suspect.taking, r)
	}
	for _, a := range d.asks {
		a.leave(r)
	}
	for _, l := range d.links {
		*l.of(r) = told{}
		delete(l.acked, r)
	}
	d.records[r.idx] = nil
	d.free = append(d.free, r.idx)
	d.moved, d.renamed = true, true
}

// clear takes all items out of a record. With a cause, it is remembered of the functions.
func (d *database) clear(r *record, cause string) {
	if cause == "" {
		d.unbury(r, func(*item) bool { return true })
	}
	for _, e := range r.feed {
		if it := e.it; it.kind == kindFunction && !it.stale {
			d.update(it.fn.Procedure, it, d.grave(r, it, cause), cause)
		}
	}
	d.size -= r.live
	d.unstage(r)
	delete(d.asks, r)
	for id := range r.neighbours {
		delete(r.neighbours, id)
		d.relink(r, id)
	}
	r.version, r.floor, r.about, r.ask, r.bridges = 0, 0, nil, nil, nil
	r.functions, r.derived = nil, nil
	r.live, r.gone, r.feed, r.stale, r.sum, r.shown = 0, 0, nil, 0, 0, nil
	d.moved = true
}

// put adds an item to a record, in the place of what the record told before.
func (d *database) put(r *record, it *item) {
	it.rec = r.idx
	live := r.live
	old := r.put(it)
	d.size += r.live - live
	switch it.kind {
	case kindFunction:
		d.install(r, old, it)
	case kindNeighbour:
		d.relink(r, it.extra.neighbour)
	case kindBridge, kindAbout:
		r.shown = nil
		d.moved = true
	case kindAsk:
		d.noteAsk(r)
	}
}

// update puts an item into the index in the place of another of the same procedure and record.
// Either may be nil.
func (d *database) update(procedure string, old, it *item, cause string) {
	d.changed = true
	d.touch(procedure, old, it, cause)
	if c := d.contested[procedure]; c != nil {
		c.swap(d, procedure, old, it)
		return
	}
	switch cur := d.fns.get(procedure); {
	case cur == nil || cur == old:
		d.fns.set(procedure, it)
	case it != nil:
		d.contend(procedure, cur).swap(d, procedure, old, it)
	}
}

// touch notes that an origin within reach came or went, for those who care.
func (d *database) touch(procedure string, old, it *item, cause string) {
	if len(d.groups) == 0 && d.watchers == 0 {
		return
	}
	t := d.touched[procedure]
	if old != nil && !old.removed && d.records[old.rec].path.reached {
		t = append(t, touch{old, false, cause})
	}
	if it != nil && !it.removed && d.records[it.rec].path.reached {
		t = append(t, touch{it, true, ""})
	}
	if len(t) > 0 {
		d.touched[procedure] = t
	}
}

// reconsider makes the groups look at all functions again.
func (d *database) reconsider() {
	for it := range d.fns.all {
		d.touched[it.fn.Procedure] = append(d.touched[it.fn.Procedure], touch{})
	}
}

// relink has it looked at again whether r and its neighbour tell of each other.
func (d *database) relink(r *record, id NodeID) {
	o := d.byVertex[vertex{id, r.ns}]
	if o == nil || o == r {
		return
	}
	for _, r := range [2]*record{r, o} {
		if !r.path.relink {
			r.path.relink = true
			d.relinked = append(d.relinked, r)
		}
	}
	d.moved = true
}

// expire forgets the records that have been out of reach for long, and returns when the next will be.
func (d *database) expire(now time.Time) (next time.Time) {
	for _, r := range slices.Clone(d.records) {
		if r == nil {
			continue
		}
		if due := d.expireGraves(r, now); !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
		if r.path.reached || d.isOwn(r) {
			continue
		}
		due := r.path.lost.at.Add(ForgetAfter)
		switch {
		case !due.After(now):
			d.forget(r)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	return next
}

// isOwn reports whether this node is the one to tell the record.
func (d *database) isOwn(r *record) bool { return slices.Contains(d.own, r) }
