package mesh

import (
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// A node that wants to know when all have seen its record puts an item into it that asks. Who has
// that item passes its own name towards the asking node, and all names that it receives. Names only
// add up, so a changed route costs sending them again, and nothing else.

// ackRequest is who has seen a record at the version of its ask.
type ackRequest struct {
	version uint64
	inc     uint64
	acked   map[*record]bool
	order   []*record // as received, and so passed on
}

func (a *ackRequest) add(r *record) {
	if !a.acked[r] {
		a.acked[r] = true
		a.order = append(a.order, r)
	}
}

// remove forgets a record that is no more.
func (a *ackRequest) remove(r *record) {
	if a.acked[r] {
		delete(a.acked, r)
		a.order = slices.DeleteFunc(slices.Clone(a.order), func(o *record) bool { return o == r })
	}
}

// updateAckRequest begins or ends collecting who has seen a record.
func (d *domain) updateAckRequest(r *record) {
	for _, ld := range d.links {
		delete(ld.acksSent, r)
		ld.link.pending = true
	}
	if r.ackRequest == nil || r.ackRequest.removed {
		delete(d.ackRequests, r)
		return
	}
	a := &ackRequest{version: r.ackRequest.version, inc: r.inc, acked: map[*record]bool{}}
	d.ackRequests[r] = a
	for _, o := range d.ownRecords {
		a.add(o)
	}
}

// receiveAck notes who has seen a record.
func (ld *linkDomain) receiveAck(w *linkv1.Seen) {
	d := ld.domain
	r := d.byVertex[ld.vertex(w.GetNode(), w.GetNamespace())]
	a := d.ackRequests[r]
	if a == nil || a.inc != w.GetIncarnation() || a.version != w.GetVersion() {
		return
	}
	for _, m := range w.GetMembers() {
		if o := d.byVertex[ld.vertex(m.GetNode(), m.GetNamespace())]; o != nil {
			a.add(o)
		}
	}
	d.markAcksPending()
}

// markAcksPending lets the links look where acknowledgements go now.
func (d *domain) markAcksPending() {
	if len(d.ackRequests) == 0 {
		return
	}
	for _, ld := range d.links {
		ld.link.pending = true
	}
}

// Token stands for a wait to know when all have seen something.
type Token struct{ id uint64 }

// ackWait is what a Token stands for.
type ackWait struct {
	records map[*record]uint64 // of this node, with the version that is to be seen
}

// WantVisible asks all members of a namespace or group that can be reached to acknowledge what this
// node has registered there so far. Errors: *UndeclaredError.
func (c *Core) WantVisible(now time.Time, ns string) (Token, error) {
	c.now = now
	members := c.members(ns)
	if members == nil {
		return Token{}, &UndeclaredError{Namespace: ns}
	}
	w := &ackWait{records: map[*record]uint64{}}
	for _, s := range members {
		if s.record != nil {
			s.domain.originate(s.record, &item{kind: kindAckRequest})
			w.records[s.record] = s.record.version
		}
	}
	c.lastAckWait++
	c.ackWaits[c.lastAckWait] = w
	return Token{c.lastAckWait}, nil
}

// Visible reports whether all members that were within reach when routes were found last have acknowledged,
// until Release. It may change with any call of Receive or LinkDown.
func (c *Core) Visible(t Token) bool {
	w := c.ackWaits[t.id]
	if w == nil {
		return false
	}
	for r, version := range w.records {
		d := c.namespaces[r.ns].domain
		if a := d.ackRequests[r]; a == nil || a.version < version || !d.allAcked(a) {
			return false
		}
	}
	return true
}

// allAcked reports whether all within reach are among those who have seen.
func (d *domain) allAcked(a *ackRequest) bool {
	for _, r := range d.records {
		if r != nil && r.path.reached && !r.leaving() && !a.acked[r] {
			return false
		}
	}
	return true
}

// Release ends a wait. It must be called for each token.
func (c *Core) Release(now time.Time, t Token) {
	c.now = now
	w := c.ackWaits[t.id]
	delete(c.ackWaits, t.id)
	if w == nil {
		return
	}
	for r := range w.records {
		if !c.awaitsAck(r) && r.ackRequest != nil && !r.ackRequest.removed {
			c.namespaces[r.ns].domain.originate(r, &item{kind: kindAckRequest, removed: true})
		}
	}
}

// awaitsAck reports whether a wait waits for a record.
func (c *Core) awaitsAck(r *record) bool {
	for _, w := range c.ackWaits {
		if w.records[r] != 0 {
			return true
		}
	}
	return false
}
