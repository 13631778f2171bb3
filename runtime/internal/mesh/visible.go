package mesh

import (
	"slices"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// A node that wants to know when all have seen its record puts an item into it that asks. Who has
// that item passes its own name towards the asking node, and all names that it hears. Names only
// add up, so a changed route costs telling them again, and nothing else.

// asked is who has seen a record at the version of its ask.
type asked struct {
	version uint64
	inc     uint64
	by      map[*record]bool
	order   []*record // as heard of; what is passed on, in this order
}

func (a *asked) add(r *record) {
	if !a.by[r] {
		a.by[r] = true
		a.order = append(a.order, r)
	}
}

// leave forgets a record that is no more.
func (a *asked) leave(r *record) {
	if a.by[r] {
		delete(a.by, r)
		a.order = slices.DeleteFunc(slices.Clone(a.order), func(o *record) bool { return o == r })
	}
}

// noteAsk begins or ends collecting who has seen a record.
func (d *database) noteAsk(r *record) {
	for _, ld := range d.links {
		delete(ld.acked, r)
		ld.link.pending = true
	}
	if r.ask == nil || r.ask.removed {
		delete(d.asks, r)
		return
	}
	a := &asked{version: r.ask.version, inc: r.inc, by: map[*record]bool{}}
	d.asks[r] = a
	for _, o := range d.own {
		a.add(o)
	}
}

// takeAck notes who has seen a record.
func (ld *linkDomain) takeAck(w *linkv1.Seen) {
	d := ld.db
	r := d.byVertex[ld.vertex(w.GetNode(), w.GetNamespace())]
	a := d.asks[r]
	if a == nil || a.inc != w.GetIncarnation() || a.version != w.GetVersion() {
		return
	}
	for _, m := range w.GetMembers() {
		if o := d.byVertex[ld.vertex(m.GetNode(), m.GetNamespace())]; o != nil {
			a.add(o)
		}
	}
	d.wakeAsked()
}

// wakeAsked lets the links look where acknowledgements go now.
func (d *database) wakeAsked() {
	if len(d.asks) == 0 {
		return
	}
	for _, ld := range d.links {
		ld.link.pending = true
	}
}

// Token stands for a wish to know when all have seen something.
type Token struct{ id uint64 }

// wish is what a Token stands for.
type wish struct {
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
	w := &wish{records: map[*record]uint64{}}
	for _, s := range members {
		if s.own != nil {
			s.db.tell(s.own, &item{kind: kindAsk})
			w.records[s.own] = s.own.version
		}
	}
	c.lastWish++
	c.wishes[c.lastWish] = w
	return Token{c.lastWish}, nil
}

// Visible reports whether all members that were within reach when routes were found last have acknowledged,
// until Release. It may change with any call of Receive or LinkDown.
func (c *Core) Visible(t Token) bool {
	w := c.wishes[t.id]
	if w == nil {
		return false
	}
	for r, version := range w.records {
		d := c.spaces[r.ns].db
		if a := d.asks[r]; a == nil || a.version < version || !d.allSaw(a) {
			return false
		}
	}
	return true
}

// allSaw reports whether all within reach are among those who have seen.
func (d *database) allSaw(a *asked) bool {
	for _, r := range d.records {
		if r != nil && r.path.reached && !r.leaving() && !a.by[r] {
			return false
		}
	}
	return true
}

// Release ends a wish. It must be called for each token.
func (c *Core) Release(now time.Time, t Token) {
	c.now = now
	w := c.wishes[t.id]
	delete(c.wishes, t.id)
	if w == nil {
		return
	}
	for r := range w.records {
		if !c.wanted(r) && r.ask != nil && !r.ask.removed {
			c.spaces[r.ns].db.tell(r, &item{kind: kindAsk, removed: true})
		}
	}
}

// wanted reports whether a wish waits for a record.
func (c *Core) wanted(r *record) bool {
	for _, w := range c.wishes {
		if w.records[r] != 0 {
			return true
		}
	}
	return false
}
