package link

import "github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"

// endpoint is one endpoint of a call on one session: a caller's, a handler's, or one of a relay's two.
type endpoint interface {
	// handleFrameLocked takes a frame that has come from the peer, and returns what the reader, which calls it, is to do
	// once it has released the session's lock.
	handleFrameLocked(f *frame.Frame) afterUnlock
	// appendNextLocked appends the next frame that waits for its turn to the packet, if it may be sent.
	appendNextLocked()
	// state returns what the endpoint has in common with all others.
	state() *callState
	// expire ends the call if its time is up. It is given the session because the endpoint may be in use for another of
	// the session's calls by then: nothing of it may be read without the lock.
	expire(s *Session, now int64)
	// sessionEnded ends the call because its session has ended. It is given the session for the same reason.
	sessionEnded(s *Session, cause *Ended)
}

// callState is what every endpoint of a call has on its session. The session's lock guards it.
type callState struct {
	s  *Session
	id uint32
	// sendWindow is how many bytes of data may be sent; a frame that it allows may take it below zero.
	sendWindow int
	// recvWindow is how many bytes of data the peer may send; likewise.
	recvWindow int
	// deadline is in nanoseconds of the session's clock; 0 is none.
	deadline int64
	// openPacket is the number of the packet that the call's open left with, at the endpoint that opened it.
	openPacket uint64
	// openNumber is which open of this end it was, in the order in which they were sent.
	openNumber uint64
	// lanePacket and laneBytes are how much the call has in the lane of the packet that is being filled.
	lanePacket uint64
	laneBytes  int
	// scheduled and nextScheduled belong to roundRobin.
	scheduled     bool
	nextScheduled endpoint
}

func (h *callState) state() *callState { return h }

// noteOpenLocked notes that the call's open goes into the packet.
func (h *callState) noteOpenLocked() {
	o := &h.s.out
	o.opensSent++
	h.openPacket, h.openNumber = o.packet, o.opensSent
}

// callTable holds the calls that one side of a link has opened, by their slot: the first id of a side has
// slot 0, its next one slot 1.
type callTable struct {
	slots []slot
	free  []uint32 // only in the table of this end's calls
	live  int
	limit int
}

type slot struct {
	endpoint endpoint
	// endPacket is the number of the packet that the end of the slot's last call left with, in the table of the peer's
	// calls. Until that packet is sent, the peer cannot use the id again.
	endPacket uint64
	// canceled: this end has canceled the call and waits for its end. Only in the table of this end's calls.
	canceled bool
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

// reserve takes a slot for a call that this end opens. It reports false where there is none.
func (t *callTable) reserve(end endpoint) (int, bool) {
	i := len(t.slots)
	if n := len(t.free); n > 0 {
		i = int(t.free[n-1])
		t.free = t.free[:n-1]
	} else if i >= t.limit {
		return 0, false
	} else {
		t.slots = append(t.slots, slot{})
	}
	t.slots[i].endpoint = end
	t.live++
	return i, true
}

// set notes a call that the peer has opened.
func (t *callTable) set(i int, end endpoint) {
	t.slots[i].endpoint = end
	t.live++
}

// extend makes sure that slot i is there.
func (t *callTable) extend(i int) {
	missing := i + 1 - len(t.slots)
	if missing > 0 {
		t.slots = append(t.slots, make([]slot, missing)...)
	}
}

// at returns the slot i, or an empty one.
func (t *callTable) at(i int) slot {
	if i >= len(t.slots) {
		return slot{}
	}
	return t.slots[i]
}

// markCanceled notes that this end has canceled the call.
func (t *callTable) markCanceled(i int) {
	t.slots[i] = slot{canceled: true}
	t.live--
}

// release frees the slot of a call that this end opened.
func (t *callTable) release(i int) {
	if !t.slots[i].canceled {
		t.live--
	}
	t.slots[i] = slot{}
	t.free = append(t.free, uint32(i))
}

// endSlot empties the slot of a call that the peer opened, whose end leaves with the packet.
func (t *callTable) endSlot(i int, packet uint64) {
	t.slots[i] = slot{endPacket: packet}
	t.live--
}

// roundRobin holds the calls whose bulk waits for its turn.
type roundRobin struct{ first, last endpoint }

func (r *roundRobin) empty() bool { return r.first == nil }

// single reports whether just one call waits.
func (r *roundRobin) single() bool { return r.first != nil && r.first == r.last }

// push adds a call at the end, unless it is waiting already.
func (r *roundRobin) push(e endpoint) {
	h := e.state()
	if h.scheduled {
		return
	}
	h.scheduled, h.nextScheduled = true, nil
	if r.last == nil {
		r.first = e
	} else {
		r.last.state().nextScheduled = e
	}
	r.last = e
}

// pop takes the first call out.
func (r *roundRobin) pop() endpoint {
	e := r.first
	h := e.state()
	r.first = h.nextScheduled
	if r.first == nil {
		r.last = nil
	}
	h.scheduled, h.nextScheduled = false, nil
	return e
}
