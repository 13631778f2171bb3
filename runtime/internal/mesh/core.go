package mesh

import (
	"cmp"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Core is the routing core of one node. One goroutine at a time may use it.
type Core struct {
	cfg      Config
	inc      uint64    // what this node's records bear: Config.Incarnation, or later
	rebutted bool      // a record of this node that was not its own has been told
	doubted  uint64    // the latest incarnation of such a record; inc is later, or is to be
	outdone  time.Time // up to when inc may not be raised, but for some times
	disputes tally
	left     bool
	now      time.Time // of the last call
	spare    int       // removals that each record remembers at least

	spaces    map[string]*space
	declared  []*space // in order of declaration
	databases []*database
	links     map[LinkID]*link
	order     []*link       // by id
	fresh     []*link       // that came up since routes were found last
	digests   []*linkDomain // with some of the peer's to compare
	completed []*linkDomain // whose peers have told all since the last snapshot

	unsettled bool
	renamed   bool // spaces or databases came or went
	events    []Event
	wishes    map[uint64]*wish
	lastWish  uint64
	snapshot  *Snapshot
}

// space is a namespace or group that was declared.
type space struct {
	name  string
	db    *database            // of a group: the domain of its name, or nil as long as no link carries that
	own   *record              // this node's in db
	group *group               // nil: it is a namespace
	born  map[string]time.Time // when this node's functions were registered
}

// New returns a core without namespaces and links.
func New(cfg Config) *Core {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Info == nil {
		cfg.Info = &linkv1.NodeInfo{}
	}
	return &Core{
		cfg: cfg, inc: cfg.Incarnation, spare: 1024, spaces: map[string]*space{}, links: map[LinkID]*link{}, wishes: map[uint64]*wish{},
	}
}

// Declare makes this node a member of a namespace. Declaring again, or a group's name, does nothing.
// Errors: *NameError, *LimitError.
func (c *Core) Declare(now time.Time, ns string) error {
	c.now = now
	if c.spaces[ns] != nil {
		return nil
	}
	if err := c.mayDeclare(1, ns); err != nil {
		return err
	}
	c.declare(ns)
	return nil
}

// mayDeclare checks names, n of which are new.
func (c *Core) mayDeclare(n int, names ...string) error {
	for _, name := range names {
		if err := CheckNamespace(name); err != nil {
			return err
		}
	}
	if len(c.spaces)+n > c.cfg.Limits.Namespaces {
		return &LimitError{What: "namespaces of one node", Limit: c.cfg.Limits.Namespaces}
	}
	return nil
}

func (c *Core) declare(ns string) {
	s := &space{name: ns}
	c.open(s)
	c.spaces[ns] = s
	c.declared = append(c.declared, s)
}

// open gives a space its domain, with this node as a member of it.
func (c *Core) open(s *space) {
	c.renamed = true
	s.db, s.born = newDatabase(c, s.name), map[string]time.Time{}
	c.databases = append(c.databases, s.db)
	if !c.cfg.Observer {
		s.own = s.db.join(vertex{c.cfg.ID, s.name}, c.inc, process{c.cfg.Incarnation, c.cfg.Key})
		s.db.own = []*record{s.own}
		s.db.tell(s.own, c.about())
	}
	c.unsettled = true
}

// about is what this node tells of itself.
func (c *Core) about() *item {
	return &item{kind: kindAbout, extra: &extra{info: c.cfg.Info, leaving: c.left}}
}

// Declared reports whether name is a namespace or group of this node.
func (c *Core) Declared(name string) bool { return c.spaces[name] != nil }

// members returns the namespaces that a name stands for, in order.
func (c *Core) members(name string) []*space {
	switch s := c.spaces[name]; {
	case s == nil:
		return nil
	case s.group != nil:
		return s.group.members
	default:
		return []*space{s}
	}
}

// tell adds an item to a record of this node, as its next version.
func (d *database) tell(r *record, it *item) {
	r.version++
	it.version = r.version
	d.put(r, it)
	d.trim(r)
	d.spread(r)
}

// spread lets the links tell of what is new in a record.
func (d *database) spread(r *record) {
	d.core.unsettled = true
	for _, l := range d.links {
		l.enqueue(r)
	}
}

// Leave withdraws all functions of this node and says that it is about to go. It cannot be taken
// back. Links stay, until LinkDown.
//
// Its links stay, at a cost that only calls without another way pay.
func (c *Core) Leave(now time.Time) {
	c.now = now
	c.left = true
	for _, s := range c.declared {
		if s.own != nil {
			c.restate(s, 0)
		}
	}
}

// restate makes a record of this node a new one, later than version, with what is to be told now.
// Those that have an older one, be it true or not, take it anew as a whole.
func (c *Core) restate(s *space, version uint64) {
	r, d := s.own, s.db
	old := r.feed
	base := max(r.version, version) + 1
	cause := ""
	if c.left {
		cause = r.name() + " left"
	}
	d.clear(r, cause)
	r.inc = c.inc
	r.version, r.floor = base, base
	d.tell(r, c.about())
	for _, e := range old {
		if e.it.stale || e.it.removed || e.it.kind == kindAbout || c.left && e.it.kind == kindFunction {
			continue
		}
		again := *e.it
		if c.left && again.kind == kindNeighbour {
			costly := *again.extra
			costly.cost = max(costly.cost, leavingCost)
			again.extra = &costly
		}
		d.tell(r, &again)
	}
}

// Tick does what is due, and returns when to call it again: digests, every [DigestInterval] on each
// link, and forgetting, after [ForgetAfter].
func (c *Core) Tick(now time.Time) (next time.Time) {
	c.now = now
	if c.doubted >= c.inc {
		c.outdo()
	}
	for _, d := range c.databases {
		d.wake(now)
	}
	c.settle()
	next = now.Add(DigestInterval)
	if c.doubted >= c.inc {
		next = earlier(next, c.outdoDue())
	}
	for _, l := range c.order {
		if !l.digest.After(now) {
			l.digest = now.Add(DigestInterval)
			l.compare()
		}
		c.tellDropped(l)
		next = earlier(next, l.digest)
	}
	for _, d := range c.databases {
		d.dropEncoded()
		for _, due := range []time.Time{d.expire(now), d.wake(now)} {
			if !due.IsZero() {
				next = earlier(next, due)
			}
		}
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// Pending returns the links that may have got something to pull since the last call. Each of them is
// to be pulled until nil.
func (c *Core) Pending() []LinkID {
	c.settle()
	var ids []LinkID
	for _, l := range c.order {
		if l.pending {
			l.pending = false
			ids = append(ids, l.id)
		}
	}
	return ids
}

// Events returns what happened since the last call.
func (c *Core) Events() []Event {
	c.settle()
	events := c.events
	c.events = nil
	return events
}

// settle brings routes, groups and acknowledgements up to what changed.
func (c *Core) settle() {
	if !c.unsettled {
		return
	}
	for _, d := range c.databases {
		if d.moved {
			d.reroute(c.now)
		}
	}
	for _, d := range c.databases {
		d.stand(false)
	}
	c.derive()
	c.unsettled = false
	for _, d := range c.databases {
		d.report()
		c.unsettled = c.unsettled || len(d.unjudged) > 0
	}
	for _, l := range c.fresh {
		l.settled = true
	}
	c.fresh = nil
	c.compareDigests()
}

// WatchFunctions says whether events of single functions are wanted of a namespace or group. At
// first they are not. Calls nest: each true needs its false.
func (c *Core) WatchFunctions(ns string, on bool) {
	n := 1
	if !on {
		n = -1
	}
	for _, s := range c.members(ns) {
		s.db.watchers += n
	}
}

func compareLinks(a *link, id LinkID) int { return cmp.Compare(a.id, id) }

func (c *Core) insert(l *link) {
	c.links[l.id] = l
	i, _ := slices.BinarySearchFunc(c.order, l.id, compareLinks)
	c.order = slices.Insert(c.order, i, l)
}
