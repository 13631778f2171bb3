package mesh

import (
	"slices"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// domain is all that is known of a domain: a namespace, or several that are bridged here.
type domain struct {
	core       *Core
	id         int
	namespaces []string // of the namespaces, sorted
	ownRecords []*record

	records         []*record // by index; nil: free
	freeIndexes     []int32
	byVertex        map[vertex]*record
	byNode          map[nodeid.ID][]*record
	functions       index // of functions, removed ones too
	liveFunctions   int   // live functions of all records
	stagedFunctions int   // functions of all stages
	tombstones      int   // of all records
	sharedRemoval   *extra

	sets              replicaSets
	conflicts         map[string]*conflict // procedures of several items
	dirtyConflicts    []string             // of them, those whose item in the index is to be made anew
	unjudged          []string             // those in which this node's origins have not looked at the others since
	timed             map[string]struct{}  // those that are due at some time
	routingRun        uint64               // of finding routes
	companySince      time.Time            // when another member first came into reach
	groups            []*group             // whose functions come from here or go here
	watchers          int
	ackRequests       map[*record]*ackRequest
	relayedClaims     map[*record]*relayedClaim
	joinCount         uint64 // records so far
	membershipChanges uint64 // how often it changed which records there are, and by which link
	links             []*linkDomain
	encodedRecords    []*record                // with an encoding
	peers             map[vertex][]*linkDomain // by neighbour; without those to proxies
	present           map[nodeid.ID]int        // reached records of each node that is not leaving

	routesDirty      bool      // routes are to be found again
	edgesDirty       []*record // whose edges are, too
	indexesDirty     bool      // records came or went
	functionsChanged bool      // functions did
	conflictsChanged bool      // the contested are to be looked at again
	originChanges    map[string][]originChange

	routes   []*route
	reached  []bool
	branches []int32
	vertices map[vertex]int32
	view     *view
}

// originChange is an origin that came or went.
type originChange struct {
	it    *item
	added bool
	cause string
}

func newDomain(c *Core, names ...string) *domain {
	return &domain{
		core: c, id: len(c.domains), namespaces: names,
		byVertex: map[vertex]*record{}, byNode: map[nodeid.ID][]*record{}, peers: map[vertex][]*linkDomain{},
		functions: newIndex(), conflicts: map[string]*conflict{}, timed: map[string]struct{}{},
		ackRequests: map[*record]*ackRequest{}, relayedClaims: map[*record]*relayedClaim{}, present: map[nodeid.ID]int{}, originChanges: map[string][]originChange{},
		sets: replicaSets{byKey: map[string]*replicaSet{}}, routesDirty: true, indexesDirty: true, functionsChanged: true,
	}
}

// addRecord adds an empty record.
func (d *domain) addRecord(v vertex, inc uint64, p process) *record {
	r := newRecord(v, inc, p)
	d.joinCount++
	d.membershipChanges++
	r.joinSeq = d.joinCount
	if n := len(d.freeIndexes); n > 0 {
		r.idx, d.freeIndexes = d.freeIndexes[n-1], d.freeIndexes[:n-1]
		d.records[r.idx] = r
	} else {
		r.idx = int32(len(d.records))
		d.records = append(d.records, r)
	}
	d.byVertex[v] = r
	d.byNode[v.node] = append(d.byNode[v.node], r)
	r.path.lost = &loss{at: d.core.now}
	d.routesDirty, d.indexesDirty = true, true
	return r
}

// removeRecord removes a record with all its items.
func (d *domain) removeRecord(r *record) {
	d.clearRecord(r, "")
	d.membershipChanges++
	delete(d.byVertex, r.vertex)
	if d.byNode[r.node] = slices.DeleteFunc(d.byNode[r.node], func(o *record) bool { return o == r }); len(d.byNode[r.node]) == 0 {
		delete(d.byNode, r.node)
	}
	delete(d.ackRequests, r)
	delete(d.relayedClaims, r)
	if r.resyncFrom != nil {
		delete(r.resyncFrom.resyncing, r)
	}
	for _, a := range d.ackRequests {
		a.remove(r)
	}
	for _, l := range d.links {
		*l.peerVersion(r) = peerVersion{}
		delete(l.acksSent, r)
	}
	d.records[r.idx] = nil
	d.freeIndexes = append(d.freeIndexes, r.idx)
	d.routesDirty, d.indexesDirty = true, true
}

// clearRecord takes all items out of a record. With a cause, it is remembered of the functions.
func (d *domain) clearRecord(r *record, cause string) {
	if cause == "" {
		d.removeTombstones(r, func(*item) bool { return true })
	}
	for _, e := range r.changes {
		if it := e.it; it.kind == kindFunction && !it.superseded {
			d.replaceInIndex(it.fn.Procedure, it, d.tombstone(r, it, cause), cause)
		}
	}
	d.liveFunctions -= r.liveFunctions
	d.dropStage(r)
	delete(d.ackRequests, r)
	for id := range r.neighbours {
		delete(r.neighbours, id)
		d.markEdgeDirty(r, id)
	}
	r.version, r.floor, r.about, r.ackRequest, r.bridges = 0, 0, nil, nil, nil
	r.functions, r.derived = nil, nil
	r.liveFunctions, r.removals, r.changes, r.stale, r.sum, r.view = 0, 0, nil, 0, 0, nil
	d.routesDirty = true
}

// putItem adds an item to a record, in the place of the one before.
func (d *domain) putItem(r *record, it *item) {
	it.rec = r.idx
	live := r.liveFunctions
	old := r.put(it)
	d.liveFunctions += r.liveFunctions - live
	switch it.kind {
	case kindFunction:
		d.installFunction(r, old, it)
	case kindNeighbour:
		d.markEdgeDirty(r, it.extra.neighbour)
	case kindBridge, kindAbout:
		r.view = nil
		d.routesDirty = true
	case kindAckRequest:
		d.updateAckRequest(r)
	}
}

// replaceInIndex puts an item into the index in the place of another of the same procedure and record.
// Either may be nil.
func (d *domain) replaceInIndex(procedure string, old, it *item, cause string) {
	d.functionsChanged = true
	d.noteOriginChange(procedure, old, it, cause)
	if c := d.conflicts[procedure]; c != nil {
		c.replace(d, procedure, old, it)
		return
	}
	switch cur := d.functions.get(procedure); {
	case cur == nil || cur == old:
		d.functions.set(procedure, it)
	case it != nil:
		d.conflictOf(procedure, cur).replace(d, procedure, old, it)
	}
}

// noteOriginChange notes that an origin within reach came or went, for those who care.
func (d *domain) noteOriginChange(procedure string, old, it *item, cause string) {
	if len(d.groups) == 0 && d.watchers == 0 {
		return
	}
	t := d.originChanges[procedure]
	if old != nil && !old.removed && d.records[old.rec].path.reached {
		t = append(t, originChange{old, false, cause})
	}
	if it != nil && !it.removed && d.records[it.rec].path.reached {
		t = append(t, originChange{it, true, ""})
	}
	if len(t) > 0 {
		d.originChanges[procedure] = t
	}
}

// rederiveAll makes the groups look at all functions again.
func (d *domain) rederiveAll() {
	for it := range d.functions.all {
		d.originChanges[it.fn.Procedure] = append(d.originChanges[it.fn.Procedure], originChange{})
	}
}

// markEdgeDirty has it checked again whether r and its neighbour list each other.
func (d *domain) markEdgeDirty(r *record, id nodeid.ID) {
	o := d.byVertex[vertex{id, r.ns}]
	if o == nil || o == r {
		return
	}
	for _, r := range [2]*record{r, o} {
		if !r.path.edgesDirty {
			r.path.edgesDirty = true
			d.edgesDirty = append(d.edgesDirty, r)
		}
	}
	d.routesDirty = true
}

// expireRecords forgets the records that have been out of reach for long, and returns when the next will be.
func (d *domain) expireRecords(now time.Time) (next time.Time) {
	for _, r := range slices.Clone(d.records) {
		if r == nil {
			continue
		}
		if due := d.expireTombstones(r, now); !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
		if r.path.reached || d.isOwn(r) {
			continue
		}
		due := r.path.lost.at.Add(ForgetAfter)
		switch {
		case !due.After(now):
			d.removeRecord(r)
		case next.IsZero() || due.Before(next):
			next = due
		}
	}
	return next
}

// isOwn reports whether this node originates the record.
func (d *domain) isOwn(r *record) bool { return slices.Contains(d.ownRecords, r) }
