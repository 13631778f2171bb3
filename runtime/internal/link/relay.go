package link

import (
	"encoding/binary"

	"connectrpc.com/connect/v2"
)

// A relayed call is two halves that are glued together: one answers the call on the session it came by,
// the other opens it on the next. What comes in at one half goes out at the other: as it came, but for
// the call's id, if the other half has credit, and otherwise into that half's queue, which is bounded by
// the window that this half has granted. Credit is granted back as the other half's credit takes data.

// relay is a relayed call.
type relay struct{ up, down relayHalf }

// relayHalf is one end of a relayed call. The lock of its own session guards it; other is fixed.
type relayHalf struct {
	half
	relay *relay
	other *relayHalf
	// opener: this half opened the call on its session.
	opener  bool
	queue   *queue // what came in at the other half and waits here; most calls need none
	charged int    // of the other half's session's memory, for queue
	taken   int    // bytes of the other half's window to be granted there
	// What the other end of this half's session has said.
	gotHeaders, gotData, gotLast bool
	// ending: the end is in the queue, and nothing follows it.
	ending bool
	// closed: this half says and takes nothing more.
	closed bool
}

// relay forwards a call that the other end opens, which said who made it.
func (s *Session) relay(f *frame, in *Incoming, to *Route, said *Caller) error {
	r, err := s.takeRelay(f, in)
	if r == nil {
		return err
	}
	next, down := to.Next, &r.down
	next.mu.Lock()
	if err := next.openCall(down); err != nil {
		next.mu.Unlock()
		s.mu.Lock()
		r.up.close(0, s.failed(err, notStarted).end(s.cfg.Limits.MaxHeader))
		s.mu.Unlock()
		return nil
	}
	if to.Namespace != in.Namespace || to.Origin != in.Origin || to.OriginNamespace != in.OriginNamespace || in.Caller != said {
		f.raw = readdress(f, to, in.Caller)
	}
	binary.LittleEndian.PutUint32(f.raw[6:], in.Hops-1)
	down.pass(f, false)
	return nil
}

// takeRelay takes an open in, and returns nothing where the call is over: it is refused, say. The half that faces the
// caller is in its place before the other can be lost.
func (s *Session) takeRelay(f *frame, in *Incoming) (*relay, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, err := s.takeOpenLocked(f.call)
	switch {
	case !taken:
		return nil, err
	case in.Hops == 0:
		s.refuseLocked(f.call, errHops)
		return nil, nil
	case !s.admitsOpen(f, relayedCost):
		s.refuseLocked(f.call, s.errMemory())
		return nil, nil
	}
	r := s.newRelayLocked()
	up := &r.up
	up.s, up.id = s, f.call
	up.credit, up.window = int(s.peer.Join.GetWindow()), s.cfg.Limits.Window
	s.takeIn(f.call, up)
	s.use(relayedCost)
	failed := up.accept(f)
	if failed == nil && f.has&hasCancel != 0 {
		failed = cancelError(connect.Code(f.cancel))
	}
	if failed != nil {
		up.close(0, s.failed(failed, notStarted).end(s.cfg.Limits.MaxHeader))
		return nil, nil
	}
	return r, nil
}

// newRelayLocked returns a relay to use. Only the session's reader calls it: see recycle.
func (s *Session) newRelayLocked() *relay {
	r, ok := s.spareRelays.take()
	if ok {
		*r = relay{}
	} else {
		r = new(relay)
	}
	r.up.relay, r.down.relay = r, r
	r.up.other, r.down.other = &r.down, &r.up
	r.down.opener = true
	return r
}

// recycleLocked keeps a relay for a later call over the session that this one came by, whose end has just gone out at
// this half, up. It is called by the reader of the other session, which is done with the call. Nothing else has hold
// of a call that was never queued, but for the reader of this session: and that is who uses the relay again.
func (h *relayHalf) recycleLocked() { h.s.spareRelays.put(h.relay) }

var errHops = connect.NewError(connect.CodeUnavailable, "the call has crossed too many links")

// frame takes a frame that came in at this half.
func (h *relayHalf) frame(f *frame) {
	if h.closed {
		h.s.mu.Unlock()
		return
	}
	err := h.accept(f)
	switch {
	case err != nil:
		h.reject(err)
	case f.has&hasCancel != 0:
		h.reject(cancelError(connect.Code(f.cancel)))
	case f.has&(hasOpen|forwarded) == 0 || h.ending:
		h.s.mu.Unlock()
	default:
		unqueued := h.queue == nil
		if f.has&hasEnd != 0 {
			i, _ := idSlot(h.id)
			h.s.own.release(i)
			h.shut()
		}
		h.s.mu.Unlock()
		h.other.s.mu.Lock()
		h.other.pass(f, unqueued)
	}
}

// accept notes what a frame says, or says what is wrong with it. The lock is held.
func (h *relayHalf) accept(f *frame) *connect.Error {
	if f.has&hasWindow != 0 {
		if !mayGrant(h.credit, f.window) {
			return connect.NewError(connect.CodeResourceExhausted, "link: too much credit")
		}
		h.credit += int(f.window)
		h.turn()
	}
	if f.has&hasHeaders != 0 {
		if h.gotHeaders || h.gotData {
			return errHeaders
		}
		h.gotHeaders = true
	}
	if f.has&hasData != 0 {
		if h.gotLast {
			return errAfterLast
		}
		if h.window <= 0 {
			return errWindow
		}
		h.gotData = true
		h.window -= f.cost()
	}
	if f.has&hasCloseSend != 0 {
		if h.gotLast {
			return errAfterLast
		}
		h.gotLast = true
	}
	return nil
}

// reject ends the call at both halves, because of what came in at this one. The lock is held, and
// released.
func (h *relayHalf) reject(err *connect.Error) {
	code := connect.CodeCanceled
	if err.Code() == connect.CodeDeadlineExceeded {
		code = err.Code()
	}
	certainty := unknown // the other half's lock is not held
	if h.opener {
		certainty = h.certainty(h.gotHeaders || h.gotData)
	}
	f := h.s.failed(err, certainty)
	h.close(code, f.end(h.s.cfg.Limits.MaxHeader))
	h.s.mu.Unlock()
	o := h.other
	o.s.mu.Lock()
	if o.opener {
		o.close(code, nil)
	} else {
		o.end(f.end(o.s.cfg.Limits.MaxHeader))
	}
	o.s.wakeWriter()
	o.s.mu.Unlock()
}

// close tells the other end of this half's session at once that the call is over: by a cancel, or by
// end, the body of an End. The lock is held.
func (h *relayHalf) close(code connect.Code, end []byte) {
	if h.closed {
		return
	}
	h.shut()
	if h.opener {
		h.s.letGo(&h.half, code)
	} else {
		h.s.answer(&h.half, end)
	}
}

// end puts an end behind all that waits. The lock is held.
func (h *relayHalf) end(end []byte) {
	if h.closed || h.ending {
		return
	}
	if h.nothingWaits() {
		h.close(0, end)
		return
	}
	f := outFrame{hasEnd: true, end: end}
	h.push(f.appendFields([]byte{tagCall, 0, 0, 0, 0}, nil), 0, true)
}

// shut notes that this half says and takes nothing more. The lock is held.
func (h *relayHalf) shut() {
	if !h.closed && !h.opener {
		h.s.use(-relayedCost)
	}
	h.closed = true
	h.dropQueue()
}

// pass sends a frame that came in at the other half, or queues it. Called by the other half's reader, which tells whether
// nothing was ever queued there. The lock is held, and released.
func (h *relayHalf) pass(f *frame, unqueued bool) {
	raw, cost, last := f.raw, f.cost(), f.has&hasEnd != 0
	if f.has&hasWindow != 0 {
		raw = withoutWindow(raw)
	}
	s, other := h.s, h.other
	if h.closed || h.ending {
		s.mu.Unlock()
		return
	}
	switch {
	case h.nothingWaits() && (cost == 0 || h.credit > 0) && s.room(&h.half, len(raw)):
		h.emit(raw, cost, last)
	case !h.mayQueue(len(raw)):
		s.mu.Unlock()
		other.overrun()
		return
	default:
		h.push(raw, cost, last)
	}
	from, granted := other.s, h.takeGrant()
	if last && unqueued && granted == 0 && h.queue == nil {
		h.recycleLocked()
	}
	s.mu.Unlock()
	from.touch(s)
	if granted > 0 {
		other.grant(granted) // written with all else that the reader's packet gives rise to
	}
}

// mayQueue reports whether a frame of n bytes may be added to the queue. The lock is held.
func (h *relayHalf) mayQueue(n int) bool {
	s, held := h.other.s, relayedCost+h.charged
	return s.fits(held, n) || s.alone(held, h.charged+n)
}

// overrun ends the call because there is no memory for what came in at this half.
func (h *relayHalf) overrun() {
	h.s.mu.Lock()
	h.reject(h.s.errMemory())
}

// push puts a frame into the queue. The lock is held.
func (h *relayHalf) push(raw []byte, cost int, last bool) {
	if h.queue == nil {
		h.queue = new(queue)
	}
	h.queue.extend(raw, false, false)
	h.queue.seal(cost, last)
	h.count()
	h.ending = h.ending || last
	h.turn()
}

func (h *relayHalf) nothingWaits() bool { return h.queue == nil || h.queue.empty() }

func (h *relayHalf) dropQueue() {
	if h.queue != nil {
		h.queue.drop()
		h.count()
	}
}

// count brings what is counted for the queue up to date, where it came from. The lock is held.
func (h *relayHalf) count() {
	if n := h.queue.memory() - h.charged; n != 0 {
		h.charged += n
		h.other.s.use(n)
	}
}

// turn puts the half into the ring if its first frame may be sent. The lock is held.
func (h *relayHalf) turn() {
	if h.closed || h.nothingWaits() {
		return
	}
	if _, r := h.queue.front(); r.cost == 0 || h.credit > 0 {
		h.s.out.ring.push(h)
	}
}

// pull puts the first frame of the queue into the packet.
func (h *relayHalf) pull() {
	if h.closed || h.nothingWaits() {
		return
	}
	if _, r := h.queue.front(); r.cost > 0 && h.credit <= 0 {
		return
	}
	raw, r := h.queue.next()
	h.emit(raw, r.cost, r.last)
	h.queue.release()
	h.count()
	h.turn()
	if n := h.takeGrant(); n > 0 {
		h.s.out.grants = append(h.s.out.grants, grant{to: h.other, n: n})
	}
}

// emit puts a frame into the packet. The lock is held.
func (h *relayHalf) emit(raw []byte, cost int, last bool) {
	o := &h.s.out
	if h.opener && h.opened == 0 {
		h.noteOpen()
	}
	h.credit -= cost
	h.taken += cost
	o.buf = appendRaw(o.buf, raw, h.id)
	if last {
		h.shut()
		h.s.endTheirs(h.id)
	}
}

// takeGrant returns what is to be granted at the other half, once that is worth a frame. The lock is
// held.
func (h *relayHalf) takeGrant() int {
	if 2*h.taken < h.other.s.cfg.Limits.Window {
		return 0
	}
	n := h.taken
	h.taken = 0
	return n
}

// grant gives n bytes of this half's window back. Called without locks, by the reader or writer of the
// other half's session, who sees to it that it is written.
func (h *relayHalf) grant(n int) {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.closed || h.gotLast {
		return
	}
	h.window += n
	s.out.buf = appendWindow(s.out.buf, h.id, n)
}

func (h *relayHalf) expire(*Session, int64) {}

func (h *relayHalf) lose(s *Session, cause *Ended) {
	s.mu.Lock()
	h.shut()
	f := s.failed(s.lost(cause), s.certainty(&h.half, h.gotHeaders || h.gotData))
	s.mu.Unlock()

	o := h.other
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.opener {
		o.close(connect.CodeCanceled, nil)
	} else {
		o.end(f.end(o.s.cfg.Limits.MaxHeader))
	}
	o.s.wakeWriter()
}
