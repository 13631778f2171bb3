package link

// callEnd is one end of a call on one session: a caller, a handler, or half of a relay.
type callEnd interface {
	// frame takes a frame that has come from the other end of the link. It is called by the reader with
	// the session's lock held, and releases it.
	frame(f *frame)
	// pull puts the next frame that waits for its turn into the packet, if it may be sent. It is called
	// with the session's lock held.
	pull()
	// core returns the half that the end is built on.
	core() *half
	// expire ends the call if its time is up. It is given the session because the end may meanwhile be
	// in use for another of the session's calls: nothing of it is to be read without the lock.
	expire(s *Session, now int64)
	// lose ends the call because its session has ended. The same holds.
	lose(s *Session, cause *Ended)
}

// half is what every end of a call has on its session. The session's lock guards it.
type half struct {
	s  *Session
	id uint32
	// credit is how many bytes of data this end may send; it goes below zero by one frame.
	credit int
	// window is how many bytes of data the other end may send; likewise.
	window int
	// deadline is in nanoseconds of the session's clock; 0 is none.
	deadline int64
	// opened is the number of the packet that the call's open left with, at the opening end.
	opened uint64
	// number counts the opens of that end, in the order in which they are sent.
	number uint64
	// lanePacket and laneBytes say how much the call has in the packet that is being filled.
	lanePacket uint64
	laneBytes  int
	// inRing and ringNext are the ring's.
	inRing   bool
	ringNext callEnd
}

func (h *half) core() *half { return h }

// noteOpen notes that the call's open goes into the packet.
func (h *half) noteOpen() {
	o := &h.s.out
	o.opens++
	h.opened, h.number = o.packet, o.opens
}

// table holds the calls that one side of a link has opened, by their slot: the first id of a side has
// slot 0, its next one slot 1.
type table struct {
	slots []slot
	free  []uint32 // of this end's own table
	live  int
	limit int
}

type slot struct {
	end callEnd
	// ended is the number of the packet that the end of the slot's last call left with, at the
	// answering end. Until that packet is sent, the other end cannot use the id again.
	ended uint64
	// zombie: this end let go of the call and waits for its end. Own table only.
	zombie bool
}

// idSlot returns the slot of an id, and whether the id is an odd one, which is the dialler's.
func idSlot(id uint32) (slot int, odd bool) { return int((id - 1) / 2), id&1 == 1 }

func slotID(slot int, odd bool) uint32 {
	id := uint32(slot)*2 + 1
	if !odd {
		id++
	}
	return id
}

// take reserves a slot for end, at the opening end.
func (t *table) take(end callEnd) (int, bool) {
	i := len(t.slots)
	if n := len(t.free); n > 0 {
		i = int(t.free[n-1])
		t.free = t.free[:n-1]
	} else if i >= t.limit {
		return 0, false
	} else {
		t.slots = append(t.slots, slot{})
	}
	t.slots[i].end = end
	t.live++
	return i, true
}

// put notes a call that the other end opened.
func (t *table) put(i int, end callEnd) {
	t.slots[i].end = end
	t.live++
}

// grow makes sure that slot i is there.
func (t *table) grow(i int) {
	if missing := i + 1 - len(t.slots); missing > 0 {
		t.slots = append(t.slots, make([]slot, missing)...)
	}
}

// at returns the slot i, or an empty one.
func (t *table) at(i int) slot {
	if i >= len(t.slots) {
		return slot{}
	}
	return t.slots[i]
}

// letGo makes the slot a zombie, at the opening end.
func (t *table) letGo(i int) {
	t.slots[i] = slot{zombie: true}
	t.live--
}

// release frees a slot at the opening end.
func (t *table) release(i int) {
	if !t.slots[i].zombie {
		t.live--
	}
	t.slots[i] = slot{}
	t.free = append(t.free, uint32(i))
}

// end empties a slot at the answering end, whose last frame leaves with the packet.
func (t *table) end(i int, packet uint64) {
	t.slots[i] = slot{ended: packet}
	t.live--
}

// ring is the round of the calls whose bulk waits for its turn.
type ring struct{ first, last callEnd }

func (r *ring) empty() bool { return r.first == nil }

// single reports whether just one call waits.
func (r *ring) single() bool { return r.first != nil && r.first == r.last }

// push adds a call at the end, unless it is in.
func (r *ring) push(e callEnd) {
	h := e.core()
	if h.inRing {
		return
	}
	h.inRing, h.ringNext = true, nil
	if r.last == nil {
		r.first = e
	} else {
		r.last.core().ringNext = e
	}
	r.last = e
}

// pop takes the first call out.
func (r *ring) pop() callEnd {
	e := r.first
	h := e.core()
	r.first = h.ringNext
	if r.first == nil {
		r.last = nil
	}
	h.inRing, h.ringNext = false, nil
	return e
}
