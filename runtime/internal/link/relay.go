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
type relay struct{ upstream, downstream relayEndpoint }

// relayEndpoint is one end of a relayed call. The lock of its own session guards it; other is fixed.
type relayEndpoint struct {
	callState
	relay *relay
	other *relayEndpoint
	// opener: this half opened the call on its session.
	opener    bool
	queue     *queue // what came in at the other half and waits here; most calls need none
	charged   int    // of the other half's session's memory, for queue
	ungranted int    // bytes of the other half's window to be granted there
	// What the other end of this half's session has said.
	gotHeaders, gotData, gotLast bool
	// ending: the end is in the queue, and nothing follows it.
	ending bool
	// closed: this half says and takes nothing more.
	closed bool
}

// relayCall forwards a call that the other end opens, which said who made it.
func (s *Session) relayCall(f *frame, in *Incoming, to *Route, said *Caller) error {
	r, err := s.acceptRelay(f, in)
	if r == nil {
		return err
	}
	next, down := to.Next, &r.downstream
	next.mu.Lock()
	if err := next.registerLocked(down); err != nil {
		next.mu.Unlock()
		s.mu.Lock()
		r.upstream.closeLocked(0, s.failure(err, notStarted).encode(s.cfg.Limits.MaxHeader))
		s.mu.Unlock()
		return nil
	}
	if to.Namespace != in.Namespace || to.Origin != in.Origin || to.OriginNamespace != in.OriginNamespace || in.Caller != said {
		f.raw = rewriteOpen(f, to, in.Caller)
	}
	binary.LittleEndian.PutUint32(f.raw[6:], in.Hops-1)
	down.forwardLocked(f, false)
	return nil
}

// acceptRelay takes an open in, and returns nothing where the call is over: it is refused, say. The half that faces the
// caller is in its place before the other can be lost.
func (s *Session) acceptRelay(f *frame, in *Incoming) (*relay, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, err := s.acceptOpenLocked(f.call)
	switch {
	case !taken:
		return nil, err
	case in.Hops == 0:
		s.refuseOpenLocked(f.call, errHops)
		return nil, nil
	case !s.admitsOpen(f, relayedCost):
		s.refuseOpenLocked(f.call, s.errMemory())
		return nil, nil
	}
	r := s.newRelayLocked()
	up := &r.upstream
	up.s, up.id = s, f.call
	up.sendWindow, up.recvWindow = int(s.peer.Join.GetWindow()), s.cfg.Limits.Window
	s.acceptCallLocked(f.call, up)
	s.addMemory(relayedCost)
	failed := up.acceptLocked(f)
	if failed == nil && f.has&hasCancel != 0 {
		failed = cancelError(connect.Code(f.cancel))
	}
	if failed != nil {
		up.closeLocked(0, s.failure(failed, notStarted).encode(s.cfg.Limits.MaxHeader))
		return nil, nil
	}
	return r, nil
}

// newRelayLocked returns a relay to use. Only the session's reader calls it: see recycle.
func (s *Session) newRelayLocked() *relay {
	r, ok := s.relayPool.get()
	if ok {
		*r = relay{}
	} else {
		r = new(relay)
	}
	r.upstream.relay, r.downstream.relay = r, r
	r.upstream.other, r.downstream.other = &r.downstream, &r.upstream
	r.downstream.opener = true
	return r
}

// recycleLocked keeps a relay for a later call over the session that this one came by, whose end has just gone out at
// this half, up. It is called by the reader of the other session, which is done with the call. Nothing else has hold
// of a call that was never queued, but for the reader of this session: and that is who uses the relay again.
func (h *relayEndpoint) recycleLocked() { h.s.relayPool.put(h.relay) }

var errHops = connect.NewError(connect.CodeUnavailable, "the call has crossed too many links")

// handleFrameLocked takes a frame that came in at this half.
func (h *relayEndpoint) handleFrameLocked(f *frame) {
	if h.closed {
		h.s.mu.Unlock()
		return
	}
	err := h.acceptLocked(f)
	switch {
	case err != nil:
		h.rejectLocked(err)
	case f.has&hasCancel != 0:
		h.rejectLocked(cancelError(connect.Code(f.cancel)))
	case f.has&(hasOpen|forwarded) == 0 || h.ending:
		h.s.mu.Unlock()
	default:
		unqueued := h.queue == nil
		if f.has&hasEnd != 0 {
			i, _ := idSlot(h.id)
			h.s.localCalls.release(i)
			h.shutLocked()
		}
		h.s.mu.Unlock()
		h.other.s.mu.Lock()
		h.other.forwardLocked(f, unqueued)
	}
}

// acceptLocked notes what a frame says, or says what is wrong with it. The lock is held.
func (h *relayEndpoint) acceptLocked(f *frame) *connect.Error {
	if f.has&hasWindow != 0 {
		if !windowFits(h.sendWindow, f.window) {
			return connect.NewError(connect.CodeResourceExhausted, "link: too much credit")
		}
		h.sendWindow += int(f.window)
		h.scheduleLocked()
	}
	if f.has&hasHeaders != 0 {
		if h.gotHeaders || h.gotData {
			return errUnexpectedHeaders
		}
		h.gotHeaders = true
	}
	if f.has&hasData != 0 {
		if h.gotLast {
			return errDataAfterClose
		}
		if h.recvWindow <= 0 {
			return errWindowExceeded
		}
		h.gotData = true
		h.recvWindow -= f.cost()
	}
	if f.has&hasCloseSend != 0 {
		if h.gotLast {
			return errDataAfterClose
		}
		h.gotLast = true
	}
	return nil
}

// rejectLocked ends the call at both halves, because of what came in at this one. The lock is held, and
// released.
func (h *relayEndpoint) rejectLocked(err *connect.Error) {
	code := connect.CodeCanceled
	if err.Code() == connect.CodeDeadlineExceeded {
		code = err.Code()
	}
	certainty := unknown // the other half's lock is not held
	if h.opener {
		certainty = h.certaintyLocked(h.gotHeaders || h.gotData)
	}
	f := h.s.failure(err, certainty)
	h.closeLocked(code, f.encode(h.s.cfg.Limits.MaxHeader))
	h.s.mu.Unlock()
	o := h.other
	o.s.mu.Lock()
	if o.opener {
		o.closeLocked(code, nil)
	} else {
		o.enqueueEndLocked(f.encode(o.s.cfg.Limits.MaxHeader))
	}
	o.s.wakeWriterLocked()
	o.s.mu.Unlock()
}

// closeLocked tells the other end of this half's session at once that the call is over: by a cancel, or by
// end, the body of an End. The lock is held.
func (h *relayEndpoint) closeLocked(code connect.Code, end []byte) {
	if h.closed {
		return
	}
	h.shutLocked()
	if h.opener {
		h.s.cancelLocked(&h.callState, code)
	} else {
		h.s.sendEndLocked(&h.callState, end)
	}
}

// enqueueEndLocked puts an end behind all that waits. The lock is held.
func (h *relayEndpoint) enqueueEndLocked(end []byte) {
	if h.closed || h.ending {
		return
	}
	if h.queueEmptyLocked() {
		h.closeLocked(0, end)
		return
	}
	f := outFrame{hasEnd: true, end: end}
	h.enqueueLocked(f.appendFields([]byte{tagCall, 0, 0, 0, 0}, nil), 0, true)
}

// shutLocked notes that this half says and takes nothing more. The lock is held.
func (h *relayEndpoint) shutLocked() {
	if !h.closed && !h.opener {
		h.s.addMemory(-relayedCost)
	}
	h.closed = true
	h.dropQueueLocked()
}

// forwardLocked sends a frame that came in at the other half, or queues it. Called by the other half's reader, which tells whether
// nothing was ever queued there. The lock is held, and released.
func (h *relayEndpoint) forwardLocked(f *frame, unqueued bool) {
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
	case h.queueEmptyLocked() && (cost == 0 || h.sendWindow > 0) && s.reserveLaneLocked(&h.callState, len(raw)):
		h.appendFrameLocked(raw, cost, last)
	case !h.canQueueLocked(len(raw)):
		s.mu.Unlock()
		other.overrun()
		return
	default:
		h.enqueueLocked(raw, cost, last)
	}
	from, granted := other.s, h.takeGrantLocked()
	if last && unqueued && granted == 0 && h.queue == nil {
		h.recycleLocked()
	}
	s.mu.Unlock()
	from.scheduleFlush(s)
	if granted > 0 {
		other.grantWindow(granted) // written with all else that the reader's packet gives rise to
	}
}

// canQueueLocked reports whether a frame of n bytes may be added to the queue. The lock is held.
func (h *relayEndpoint) canQueueLocked(n int) bool {
	s, held := h.other.s, relayedCost+h.charged
	return s.fitsMemory(held, n) || s.onlyUser(held, h.charged+n)
}

// overrun ends the call because there is no memory for what came in at this half.
func (h *relayEndpoint) overrun() {
	h.s.mu.Lock()
	h.rejectLocked(h.s.errMemory())
}

// enqueueLocked puts a frame into the queue. The lock is held.
func (h *relayEndpoint) enqueueLocked(raw []byte, cost int, last bool) {
	if h.queue == nil {
		h.queue = new(queue)
	}
	h.queue.append(raw, false, false)
	h.queue.endRecord(cost, last)
	h.updateChargeLocked()
	h.ending = h.ending || last
	h.scheduleLocked()
}

func (h *relayEndpoint) queueEmptyLocked() bool { return h.queue == nil || h.queue.empty() }

func (h *relayEndpoint) dropQueueLocked() {
	if h.queue != nil {
		h.queue.discard()
		h.updateChargeLocked()
	}
}

// updateChargeLocked brings what is counted for the queue up to date, where it came from. The lock is held.
func (h *relayEndpoint) updateChargeLocked() {
	if n := h.queue.memory() - h.charged; n != 0 {
		h.charged += n
		h.other.s.addMemory(n)
	}
}

// scheduleLocked puts the half into the ring if its first frame may be sent. The lock is held.
func (h *relayEndpoint) scheduleLocked() {
	if h.closed || h.queueEmptyLocked() {
		return
	}
	if _, r := h.queue.peek(); r.cost == 0 || h.sendWindow > 0 {
		h.s.out.bulk.push(h)
	}
}

// appendNextLocked puts the first frame of the queue into the packet.
func (h *relayEndpoint) appendNextLocked() {
	if h.closed || h.queueEmptyLocked() {
		return
	}
	if _, r := h.queue.peek(); r.cost > 0 && h.sendWindow <= 0 {
		return
	}
	raw, r := h.queue.pop()
	h.appendFrameLocked(raw, r.cost, r.last)
	h.queue.release()
	h.updateChargeLocked()
	h.scheduleLocked()
	if n := h.takeGrantLocked(); n > 0 {
		h.s.out.grants = append(h.s.out.grants, windowGrant{to: h.other, n: n})
	}
}

// appendFrameLocked puts a frame into the packet. The lock is held.
func (h *relayEndpoint) appendFrameLocked(raw []byte, cost int, last bool) {
	o := &h.s.out
	if h.opener && h.openPacket == 0 {
		h.noteOpenLocked()
	}
	h.sendWindow -= cost
	h.ungranted += cost
	o.buf = appendForwarded(o.buf, raw, h.id)
	if last {
		h.shutLocked()
		h.s.endPeerCallLocked(h.id)
	}
}

// takeGrantLocked returns what is to be granted at the other half, once that is worth a frame. The lock is
// held.
func (h *relayEndpoint) takeGrantLocked() int {
	if 2*h.ungranted < h.other.s.cfg.Limits.Window {
		return 0
	}
	n := h.ungranted
	h.ungranted = 0
	return n
}

// grantWindow gives n bytes of this half's window back. Called without locks, by the reader or writer of the
// other half's session, who sees to it that it is written.
func (h *relayEndpoint) grantWindow(n int) {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.closed || h.gotLast {
		return
	}
	h.recvWindow += n
	s.out.buf = appendWindow(s.out.buf, h.id, n)
}

func (h *relayEndpoint) expire(*Session, int64) {}

func (h *relayEndpoint) sessionEnded(s *Session, cause *Ended) {
	s.mu.Lock()
	h.shutLocked()
	f := s.failure(s.errSessionEnded(cause), s.certaintyLocked(&h.callState, h.gotHeaders || h.gotData))
	s.mu.Unlock()

	o := h.other
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	if o.opener {
		o.closeLocked(connect.CodeCanceled, nil)
	} else {
		o.enqueueEndLocked(f.encode(o.s.cfg.Limits.MaxHeader))
	}
	o.s.wakeWriterLocked()
}
