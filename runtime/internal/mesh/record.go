package mesh

import (
	"cmp"
	"slices"
	"sort"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// vertex names a record: a node as a member of a namespace.
type vertex struct {
	node nodeid.ID
	ns   string
}

func (v vertex) compare(o vertex) int {
	return cmp.Or(v.node.Compare(o.node), cmp.Compare(v.ns, o.ns))
}

// record is what a member advertises in a namespace: a set of items, each with the version of
// the record at which it was last changed or removed.
//
// A record at version v holds all items of any later state of it that were changed up to v. So it
// can be sent, taken in and passed on in pieces, in the order of versions.
type record struct {
	vertex
	idx int32 // in the domain
	process
	inc     uint64
	version uint64
	floor   uint64 // removals up to here may be missing

	about         *item
	ackRequest    *item
	neighbours    map[nodeid.ID]*item
	bridges       map[string]*item
	functions     map[string]*item // its own, removed ones too
	derived       map[string]*item // those it passes on, likewise
	liveFunctions int              // functions that are not removed
	removals      int              // items that are
	changes       []change         // by version; stale ones in between
	stale         int
	sum           uint64 // of the items that are not removed
	digestBucket  uint   // the vertex's bucket
	digested      digested
	encoded       [2]encoded // of all of it, and of what was new

	path            pathState
	view            *memberView      // for snapshots; nil: to be made again
	goodbye         bool             // said on a link to here
	linkDownCause   string           // why the last link from here to the node fell
	tombstones      map[string]*item // functions that are gone, beyond the removals that are sent on
	oldestTombstone time.Time        // when the first of them went
	stage           *stage           // the record as it is being sent again
	resyncFrom      *linkDomain      // where it is to be sent again, as it differs there at the same version
	rejected        claim            // another one that was received, and may be right if this one goes
	placeHeldUntil  time.Time        // until when a node that lost its link keeps its place here
	firstLink       *link            // that brought it first, of those that are up
	joinSeq         uint64           // it was the how manieth to join
	wasComplete     bool             // nothing was missing of it at some time
	lastLifeSeen    time.Time        // when the node's life before this one was last in reach
}

// change is an item's place in a record's feed.
type change struct {
	version uint64
	it      *item
}

// stage collects a record that cannot be brought up by what changed.
type stage struct {
	rec         *record
	from        *linkDomain
	alsoOffered bool // others sent it too
}

// kind is what an item is about.
type kind uint8

const (
	kindFunction kind = iota
	kindAbout
	kindNeighbour
	kindBridge
	kindAckRequest
	kindCandidates // not of a record: several items of one procedure, in the index
)

// The ways of a function from one namespace into another at a node that holds a group.
const (
	down = linkv1.Derivation_DERIVATION_DOWN
	up   = linkv1.Derivation_DERIVATION_UP
)

// item is one entry of a record. Snapshots share it: it does not change but for superseded.
type item struct {
	extra      *extra // first, as are the others that a look-up needs
	rec        int32
	kind       kind
	removed    bool
	superseded bool // another took its place
	hasAge     bool // of a function: its origin says its age
	version    uint64
	fn         Function
}

// extra is what few items have.
type extra struct {
	neighbour  nodeid.ID
	cost       uint32
	inc        uint64 // the neighbour's, as it started
	key        []byte // likewise
	bridge     string
	info       *linkv1.NodeInfo
	leaving    bool
	derivation linkv1.Derivation
	origin     nodeid.ID     // of a derived function
	group      *group        // of one that was derived here
	compatible [][]byte      // of a function: schemas besides its own that it can stand in for
	age        time.Duration // of a function: when it was sent; zero: it had just been registered
	stamp      int64         // of a function: its first Registered, where that is another now
	level      uint32        // of a function
	behind     registration  // of a function: which one this one stands behind
	at         time.Time     // of a removal: when it was received
	cause      string        // of a removal, where it is not the member's own
	candidates *candidates
}

var noExtra extra

// more returns the item's extra, or an empty one. It is not to be changed.
func (it *item) more() *extra {
	if it.extra == nil {
		return &noExtra
	}
	return it.extra
}

func (it *item) derivation() linkv1.Derivation { return it.more().derivation }

func newRecord(v vertex, inc uint64, p process) *record {
	return &record{vertex: v, inc: inc, process: p, digestBucket: v.bucket()}
}

// put adds an item in the place of one of the same kind and name, which it returns if there was one.
func (r *record) put(it *item) (old *item) {
	switch it.kind {
	case kindAbout:
		old, r.about = r.about, it
	case kindAckRequest:
		old, r.ackRequest = r.ackRequest, it
	case kindNeighbour:
		old = set(&r.neighbours, it.extra.neighbour, it)
	case kindBridge:
		old = set(&r.bridges, it.extra.bridge, it)
	case kindFunction:
		m := &r.functions
		if it.derivation() != 0 {
			m = &r.derived
		}
		old = set(m, it.fn.Procedure, it)
	}
	if old != nil {
		old.superseded = true
		r.stale++
		r.account(old, -1)
	}
	r.account(it, 1)
	r.changes = append(r.changes, change{it.version, it})
	r.compact()
	return old
}

// set puts an item into a map, which may be nil, and returns what was in its place.
func set[K comparable](m *map[K]*item, key K, it *item) (old *item) {
	if *m == nil {
		*m = map[K]*item{}
	}
	old = (*m)[key]
	(*m)[key] = it
	return old
}

// functionsLike returns the record's functions of the item's sort.
func (r *record) functionsLike(it *item) map[string]*item {
	if it.derivation() != 0 {
		return r.derived
	}
	return r.functions
}

func (r *record) account(it *item, n int) {
	if it.removed {
		r.removals += n
		return
	}
	r.sum ^= it.sum()
	if it.kind == kindFunction {
		r.liveFunctions += n
	}
}

// compact drops what is stale from the feed once that is most of it.
func (r *record) compact() {
	if r.stale < 16+len(r.changes)/2 {
		return
	}
	r.changes = slices.DeleteFunc(r.changes, func(e change) bool { return e.it.superseded })
	r.stale = 0
}

// trimRemovals forgets the older half of the removals once there are more than spare and some, and returns
// those of functions.
func (r *record) trimRemovals(spare int) (forgotten []*item) {
	if r.removals <= spare+r.liveFunctions/4 {
		return nil
	}
	n := r.removals / 2
	for _, e := range r.changes {
		if n == 0 {
			break
		}
		if e.it.superseded || !e.it.removed {
			continue
		}
		n--
		r.floor = max(r.floor, e.version)
		r.removals--
		e.it.superseded = true
		r.stale++
		switch e.it.kind {
		case kindNeighbour:
			delete(r.neighbours, e.it.extra.neighbour)
		case kindBridge:
			delete(r.bridges, e.it.extra.bridge)
		case kindFunction:
			delete(r.functionsLike(e.it), e.it.fn.Procedure)
			forgotten = append(forgotten, e.it)
		case kindAckRequest:
			r.ackRequest = nil
		}
	}
	r.compact()
	return forgotten
}

// changesSince returns the part of the feed that is later than a version.
func (r *record) changesSince(version uint64) []change {
	return r.changes[sort.Search(len(r.changes), func(i int) bool { return r.changes[i].version > version }):]
}

// newer reports whether the record is newer than (inc, version).
func (r *record) newer(inc, version uint64) bool {
	return r.inc > inc || r.inc == inc && r.version > version
}

// info returns the node's description of itself.
func (r *record) info() *linkv1.NodeInfo {
	if r.about == nil {
		return nil
	}
	return r.about.extra.info
}

// leaving reports whether the node said that it goes.
func (r *record) leaving() bool { return r.goodbye || r.about != nil && r.about.extra.leaving }

// name returns the node's name, or its id until that is known.
func (r *record) name() string {
	if n := r.info().GetName(); n != "" {
		return n
	}
	return r.node.Short()
}

// listsNeighbour reports whether the record lists a neighbour, in just this life.
func (r *record) listsNeighbour(o *record) bool {
	it := r.neighbours[o.node]
	return it != nil && !it.removed && o.is(process{it.extra.inc, it.extra.key})
}

// listsBridge reports whether the record lists a bridge to another namespace.
func (r *record) listsBridge(ns string) bool {
	it := r.bridges[ns]
	return it != nil && !it.removed
}
