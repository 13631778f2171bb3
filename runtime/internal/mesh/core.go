package mesh

import (
	"cmp"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Core is the routing core of one node. One goroutine at a time may use it.
type Core struct {
	cfg                Config
	inc                uint64    // what this node's records bear: Config.Incarnation, or later
	foreignSeen        bool      // a record of this node that it did not originate has been received
	foreignIncarnation uint64    // the latest incarnation of such a record; inc is later, or is to be
	supersedeTime      time.Time // up to when inc may not be raised, but for some times
	disputes           tally
	leaving            bool
	now                time.Time // of the last call
	keptRemovals       int       // removals that each record remembers at least

	namespaces    map[string]*namespace
	declared      []*namespace // in order of declaration
	domains       []*domain
	links         map[LinkID]*link
	linkOrder     []*link       // by id
	newLinks      []*link       // that came up since routes were found last
	undigested    []*linkDomain // with some of the peer's to compare
	newlyComplete []*linkDomain // whose peers have sent all since the last snapshot

	dirty             bool
	namespacesChanged bool // namespaces or domains came or went
	events            []Event
	ackWaits          map[uint64]*ackWait
	lastAckWait       uint64
	snapshot          *Snapshot
}

// namespace is a namespace or group that was declared.
type namespace struct {
	name         string
	domain       *domain              // of a group: the domain of its name, or nil as long as no link carries that
	record       *record              // this node's in db
	group        *group               // nil: it is a namespace
	registeredAt map[string]time.Time // when this node's functions were registered
}

// New returns a core without namespaces and links.
func New(cfg Config) *Core {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Info == nil {
		cfg.Info = &linkv1.NodeInfo{}
	}
	return &Core{
		cfg: cfg, inc: cfg.Incarnation, keptRemovals: 1024, namespaces: map[string]*namespace{}, links: map[LinkID]*link{}, ackWaits: map[uint64]*ackWait{},
	}
}

// Declare makes this node a member of a namespace. Declaring again, or a group's name, does nothing.
// Errors: *NameError, *LimitError.
func (c *Core) Declare(now time.Time, ns string) error {
	c.now = now
	if c.namespaces[ns] != nil {
		return nil
	}
	if err := c.checkDeclare(1, ns); err != nil {
		return err
	}
	c.declare(ns)
	return nil
}

// checkDeclare checks names, n of which are new.
func (c *Core) checkDeclare(n int, names ...string) error {
	for _, name := range names {
		if err := CheckNamespace(name); err != nil {
			return err
		}
	}
	if len(c.namespaces)+n > c.cfg.Limits.Namespaces {
		return &LimitError{What: "namespaces of one node", Limit: c.cfg.Limits.Namespaces}
	}
	return nil
}

func (c *Core) declare(ns string) {
	s := &namespace{name: ns}
	c.openDomain(s)
	c.namespaces[ns] = s
	c.declared = append(c.declared, s)
}

// openDomain gives a namespace its domain, with this node as a member of it.
func (c *Core) openDomain(s *namespace) {
	c.namespacesChanged = true
	s.domain, s.registeredAt = newDomain(c, s.name), map[string]time.Time{}
	c.domains = append(c.domains, s.domain)
	if !c.cfg.Observer {
		s.record = s.domain.addRecord(vertex{c.cfg.ID, s.name}, c.inc, process{c.cfg.Incarnation, c.cfg.Key})
		s.domain.ownRecords = []*record{s.record}
		s.domain.originate(s.record, c.aboutItem())
	}
	c.dirty = true
}

// aboutItem describes this node.
func (c *Core) aboutItem() *item {
	return &item{kind: kindAbout, extra: &extra{info: c.cfg.Info, leaving: c.leaving}}
}

// members returns the namespaces that a name stands for, in order.
func (c *Core) members(name string) []*namespace {
	switch s := c.namespaces[name]; {
	case s == nil:
		return nil
	case s.group != nil:
		return s.group.members
	default:
		return []*namespace{s}
	}
}

// originate adds an item to a record of this node, as its next version.
func (d *domain) originate(r *record, it *item) {
	r.version++
	it.version = r.version
	d.putItem(r, it)
	d.trimRecord(r)
	d.flood(r)
}

// flood has the links send what is new in a record.
func (d *domain) flood(r *record) {
	d.core.dirty = true
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
	c.leaving = true
	for _, s := range c.declared {
		if s.record != nil {
			c.reoriginate(s, 0)
		}
	}
}

// reoriginate makes a record of this node a new one, later than version, with what holds now.
// Those that have an older one, be it true or not, take it anew as a whole.
func (c *Core) reoriginate(s *namespace, version uint64) {
	r, d := s.record, s.domain
	old := r.changes
	base := max(r.version, version) + 1
	cause := ""
	if c.leaving {
		cause = r.name() + " left"
	}
	d.clearRecord(r, cause)
	r.inc = c.inc
	r.version, r.floor = base, base
	d.originate(r, c.aboutItem())
	for _, e := range old {
		if e.it.superseded || e.it.removed || e.it.kind == kindAbout || c.leaving && e.it.kind == kindFunction {
			continue
		}
		again := *e.it
		if c.leaving && again.kind == kindNeighbour {
			costly := *again.extra
			costly.cost = max(costly.cost, leavingCost)
			again.extra = &costly
		}
		d.originate(r, &again)
	}
}

// Tick does what is due, and returns when to call it again: digests, every [DigestInterval] on each
// link, and forgetting, after [ForgetAfter].
func (c *Core) Tick(now time.Time) (next time.Time) {
	c.now = now
	if c.foreignIncarnation >= c.inc {
		c.supersede()
	}
	for _, d := range c.domains {
		d.recheckDue(now)
	}
	c.recompute()
	next = now.Add(DigestInterval)
	if c.foreignIncarnation >= c.inc {
		next = earlier(next, c.supersedeDue())
	}
	for _, l := range c.linkOrder {
		if !l.nextDigest.After(now) {
			l.nextDigest = now.Add(DigestInterval)
			l.startDigest()
		}
		c.reportDropped(l)
		next = earlier(next, l.nextDigest)
	}
	for _, d := range c.domains {
		d.dropEncodings()
		for _, due := range []time.Time{d.expireRecords(now), d.recheckDue(now)} {
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
	c.recompute()
	var ids []LinkID
	for _, l := range c.linkOrder {
		if l.pending {
			l.pending = false
			ids = append(ids, l.id)
		}
	}
	return ids
}

// Events returns what happened since the last call.
func (c *Core) Events() []Event {
	c.recompute()
	events := c.events
	c.events = nil
	return events
}

// recompute brings routes, groups and acknowledgements up to what changed.
func (c *Core) recompute() {
	if !c.dirty {
		return
	}
	for _, d := range c.domains {
		if d.routesDirty {
			d.recomputeRoutes(c.now)
		}
	}
	for _, d := range c.domains {
		d.placeOwnOrigins(false)
	}
	c.derive()
	c.dirty = false
	for _, d := range c.domains {
		d.reportChanges()
		c.dirty = c.dirty || len(d.unjudged) > 0
	}
	for _, l := range c.newLinks {
		l.routed = true
	}
	c.newLinks = nil
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
		s.domain.watchers += n
	}
}

func compareLinks(a *link, id LinkID) int { return cmp.Compare(a.id, id) }

func (c *Core) insertLink(l *link) {
	c.links[l.id] = l
	i, _ := slices.BinarySearchFunc(c.linkOrder, l.id, compareLinks)
	c.linkOrder = slices.Insert(c.linkOrder, i, l)
}
