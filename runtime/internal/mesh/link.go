package mesh

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
)

// link is a session with a peer.
type link struct {
	id           LinkID
	peer         Peer
	cost         uint32
	domains      []*linkDomain // by name
	nextDomain   int           // whose domain's turn it is to be pulled
	pending      bool
	routed       bool // routes have been found since it came up
	synced       bool
	acknowledged bool      // so is this node's, at the peer
	nextDigest   time.Time // when the next is due
	dropped      tally     // records of others that the peer sent
	dropCause    string    // why the last of them was
}

// linkDomain is one domain on a link.
type linkDomain struct {
	link   *link
	name   string
	domain *domain

	tablesSent, tablesSeen uint64        // tables
	peerVersions           []peerVersion // by record
	queue                  []*record
	acksSent               map[*record]int // of those that ask: how many of its members were passed on

	opening        opening
	peerKnown      bool   // what the peer has
	localComplete  bool   // said so
	peerComplete   bool   // the peer said so
	ackOwed        bool   // an acknowledgement is due: what the peer sent up to then is in effect
	peerAcked      bool   // the peer said so of what was sent to it
	digestSums     int    // of the digest that is to be sent: 0, 1 or 64
	summaryBuckets uint64 // the buckets to summarize, and to be answered
	answerBuckets  uint64 // the buckets to answer for
	shortage       shortage
	answerDue      bool             // the peer waits for an answer, even if it is empty
	peerDigests    []*linkv1.Digest // of the peer's, that are to be compared once routes are up to date: two at most

	resyncing map[*record]struct{} // records that are, or are to be, taken again over it
}

// opening is what was said first on a link.
type opening uint8

const (
	unopened opening = iota
	withSummary
	withDigest
)

// peerVersion is which version of a record the peer has, as far as is known here.
type peerVersion struct {
	inc, version, floor uint64
	sent                uint64 // the table that it was sent in
	queued              bool
}

// preferredTo reports whether l is to be taken rather than o, to the same peer.
func (l *link) preferredTo(o *link) bool {
	return cmp.Or(
		cmp.Compare(o.peer.Incarnation, l.peer.Incarnation),
		cmp.Compare(l.cost, o.cost),
		cmp.Compare(l.id, o.id),
	) < 0
}

// LinkUp adds a link. Errors, upon which the link is to be closed: [ErrSelf], *DuplicateError,
// *ClockError, *ProtocolError, *LimitError.
func (c *Core) LinkUp(now time.Time, id LinkID, peer Peer) error {
	c.now = now
	if err := c.CheckPeer(now, peer); err != nil {
		return err
	}
	carried := c.sharedDomains(peer)
	if len(carried) == 0 {
		return &ProtocolError{Reason: "the link carries no namespace that both ends hold"}
	}
	if c.links[id] != nil {
		panic("mesh: a LinkID was used again")
	}
	l := &link{id: id, peer: peer, cost: max(1, peer.Cost), pending: true, nextDigest: now.Add(DigestInterval)}
	c.insertLink(l)
	for _, name := range carried {
		s := c.namespaces[name]
		if s.group != nil {
			c.activateGroup(s)
		}
		ld := &linkDomain{link: l, name: name, domain: s.domain, acksSent: map[*record]int{}}
		l.domains = append(l.domains, ld)
		s.domain.attach(ld)
		if !peer.Observer {
			s.domain.preparePeer(name, peer)
		}
		c.updateAdjacency(s, peer.ID)
	}
	c.newLinks = append(c.newLinks, l)
	c.dirty = true
	return nil
}

// CheckPeer reports what is wrong with a peer that has proven who it is: the errors of [Core.LinkUp].
func (c *Core) CheckPeer(now time.Time, peer Peer) error {
	c.now = now
	self := Peer{ID: c.cfg.ID, Incarnation: c.cfg.Incarnation, Key: c.cfg.Key}
	switch {
	case peer.ID == c.cfg.ID && peer.same(self):
		return ErrSelf
	case peer.ID == c.cfg.ID:
		return &DuplicateError{Node: c.cfg.ID, Name: c.cfg.Info.GetName()}
	case c.tooFarAhead(peer.Incarnation):
		return &ClockError{
			Name: peer.Info.GetName(), Here: c.cfg.Info.GetName(), Ahead: time.Unix(0, int64(peer.Incarnation)).Sub(c.now),
		}
	case len(peer.Remote) > c.cfg.Limits.Namespaces:
		return &LimitError{What: "namespaces of one link", Limit: c.cfg.Limits.Namespaces}
	}
	if !peer.Observer && c.idInUse(peer) {
		return &DuplicateError{Node: peer.ID, Name: peer.Info.GetName()}
	}
	return checkInfo(peer.Info, c.cfg.Limits)
}

// idInUse reports whether another process has the place of a peer by its name here. What only others say of
// such a one does not count.
func (c *Core) idInUse(peer Peer) bool {
	for _, l := range c.linkOrder {
		if l.peer.ID == peer.ID && !l.peer.Observer && !l.peer.same(peer) {
			return true
		}
	}
	return slices.ContainsFunc(c.domains, func(d *domain) bool {
		return slices.ContainsFunc(d.namespaces, func(ns string) bool { return d.holdsPlace(vertex{peer.ID, ns}, process{peer.Incarnation, peer.Key}) })
	})
}

// holdsPlace reports whether a process keeps its place from another one that has a link.
func (d *domain) holdsPlace(v vertex, other process) bool {
	r := d.byVertex[v]
	if r == nil || !d.core.now.Before(r.placeHeldUntil) || r.leaving() || r.is(other) {
		return false
	}
	d.core.recompute()
	return r.path.reached
}

// same reports whether two peers of one id are one process.
func (p Peer) same(o Peer) bool {
	return p.Incarnation == o.Incarnation && bytes.Equal(p.Key, o.Key)
}

// preparePeer makes a domain ready for a peer's own record. What others sent of another
// process of its name goes.
func (d *domain) preparePeer(ns string, peer Peer) {
	for _, r := range d.byNode[peer.ID] {
		r.goodbye, r.view = false, nil
	}
	r, p := d.byVertex[vertex{peer.ID, ns}], process{peer.Incarnation, peer.Key}
	if r == nil || r.is(p) || len(peer.Key) == 0 {
		return
	}
	if other := (claim{r.process, r.inc, r.version}); other.inc > peer.Incarnation {
		d.relayClaim(r, other) // the others have that one, too
	}
	d.clearRecord(r, r.name()+" restarted without it")
	r.inc, r.process, r.rejected = peer.Incarnation, p, claim{}
}

// sharedDomains returns the domains of a link by what both ends' Joins say. A group and a namespace of
// one name meet in the domain of that name, two groups in those of the members they share.
func (c *Core) sharedDomains(peer Peer) []string {
	remote := map[string]*linkv1.LinkNamespace{}
	for _, n := range peer.Remote {
		remote[n.GetName()] = n
	}
	carried := map[string]bool{}
	for _, here := range peer.Local {
		there := remote[here.GetName()]
		s := c.namespaces[here.GetName()]
		switch {
		case there == nil || s == nil:
		case s.group == nil || len(there.GetMembers()) == 0:
			carried[s.name] = true
		default:
			for _, m := range s.group.sharedMembers(there.GetMembers()) {
				carried[m.name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(carried))
}

// LinkDown removes a link. One that is not known is skipped.
func (c *Core) LinkDown(now time.Time, id LinkID, cause Cause) {
	c.now = now
	l := c.links[id]
	if l == nil {
		return
	}
	delete(c.links, id)
	i, _ := slices.BinarySearchFunc(c.linkOrder, id, compareLinks)
	c.linkOrder = slices.Delete(c.linkOrder, i, i+1)
	for _, ld := range l.domains {
		d := ld.domain
		d.membershipChanges++
		d.detach(ld)
		for _, r := range d.byNode[l.peer.ID] {
			if !l.peer.Observer {
				r.linkDownCause, r.placeHeldUntil = cause.Text, c.now.Add(holdPlace)
				r.goodbye, r.view = r.goodbye || cause.Goodbye, nil
			}
		}
		for _, r := range d.resyncRecords(ld) {
			d.abandonResync(r, ld)
		}
		d.routesDirty = true
		c.updateAdjacency(c.namespaces[ld.name], l.peer.ID)
		if r := d.byVertex[vertex{l.peer.ID, ld.name}]; r != nil && !d.firstHand(r) {
			d.requestFromAll(r)
		}
	}
	c.dirty = true
}

// Retire has calls go by other links to the same process, where there are any. A link that is not known is skipped.
func (c *Core) Retire(now time.Time, id LinkID) {
	c.now = now
	l := c.links[id]
	if l == nil {
		return
	}
	l.cost = max(l.cost, leavingCost)
	for _, ld := range l.domains {
		c.updateAdjacency(c.namespaces[ld.name], l.peer.ID)
	}
	c.dirty = true
}

// updateAdjacency has this node's record in a domain list a neighbour as its links to it are.
func (c *Core) updateAdjacency(s *namespace, peer nodeid.ID) {
	s.domain.routesDirty = true
	if s.record == nil {
		return
	}
	best := s.domain.bestLink(vertex{peer, s.name})
	now := s.record.neighbours[peer]
	listed := now != nil && !now.removed
	cost := func(l *link) uint32 {
		if c.leaving {
			return max(l.cost, leavingCost)
		}
		return l.cost
	}
	switch {
	case best == nil && listed:
		s.domain.originate(s.record, &item{kind: kindNeighbour, removed: true, extra: &extra{neighbour: peer}})
	case best != nil && (!listed || now.extra.cost != cost(best.link) || now.extra.inc != best.link.peer.Incarnation):
		s.domain.originate(s.record, &item{kind: kindNeighbour, extra: &extra{
			neighbour: peer, cost: cost(best.link), inc: best.link.peer.Incarnation, key: best.link.peer.Key,
		}})
	}
}

// Carried returns the names by which calls over a link may name where they go, sorted: of the domains whose
// tables it carries. They never change.
func (c *Core) Carried(id LinkID) []string {
	l := c.links[id]
	if l == nil {
		return nil
	}
	names := make([]string, len(l.domains))
	for i, ld := range l.domains {
		names[i] = ld.name
	}
	return names
}

// attach adds a link's domain.
func (d *domain) attach(ld *linkDomain) {
	d.links = append(d.links, ld)
	if v := ld.peerVertex(); !ld.link.peer.Observer {
		d.peers[v] = append(d.peers[v], ld)
	}
}

// detach removes a link's domain.
func (d *domain) detach(ld *linkDomain) {
	is := func(o *linkDomain) bool { return o == ld }
	d.links = slices.DeleteFunc(d.links, is)
	v := ld.peerVertex()
	if d.peers[v] = slices.DeleteFunc(d.peers[v], is); len(d.peers[v]) == 0 {
		delete(d.peers, v)
	}
}

// peerVertex is the vertex at the other end.
func (ld *linkDomain) peerVertex() vertex { return vertex{ld.link.peer.ID, ld.name} }

// bestLink returns the link to take to a neighbour, or nil: to its latest incarnation, the cheapest, the oldest.
func (d *domain) bestLink(v vertex) (best *linkDomain) {
	for _, l := range d.peers[v] {
		if best == nil || l.link.preferredTo(best.link) {
			best = l
		}
	}
	return best
}

// isUp reports whether a link, which may be nil, is up.
func (c *Core) isUp(l *link) bool { return l != nil && c.links[l.id] == l }

// enqueue notes that there is something of a record to send.
func (ld *linkDomain) enqueue(r *record) {
	if ld.domain.core.cfg.Observer {
		return
	}
	t := ld.peerVersion(r)
	if t.queued || r.inc == t.inc && r.version <= t.version {
		return
	}
	t.queued = true
	ld.queue = append(ld.queue, r)
	ld.link.pending = true
}

// peerVersion returns which version of a record the peer has.
func (ld *linkDomain) peerVersion(r *record) *peerVersion {
	if n := len(ld.domain.records); len(ld.peerVersions) < n {
		ld.peerVersions = append(ld.peerVersions, make([]peerVersion, n-len(ld.peerVersions))...)
	}
	return &ld.peerVersions[r.idx]
}

// update notes that the peer has a version of a record.
func (t *peerVersion) update(inc, version, floor uint64) {
	if inc > t.inc || inc == t.inc && version > t.version {
		t.inc, t.version, t.floor = inc, version, floor
	}
}
