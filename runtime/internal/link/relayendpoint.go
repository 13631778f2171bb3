package link

import (
	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// relayEndpoint is one endpoint of a relayed call. The lock of its own session guards it; other is fixed.
type relayEndpoint struct {
	callState
	relay     *relay
	other     *relayEndpoint
	opener    bool          // this endpoint opened the call on its session
	received  relayReceived // from the peer
	sent      relaySent     // to the peer
	queue     *queue        // what came in at the other endpoint and waits here; most calls need none
	charged   int           // of the memory of the other endpoint's session, for queue
	ungranted int           // bytes of the other endpoint's receive window to be granted there
}

// relayReceived is how far the peer has come with its messages. It only moves on.
//
//	relayNothing ──► relayHeaders ──► relayData ──► relayLast
//	                 (an answerer's)                (an opener's close_send)
type relayReceived uint8

const (
	relayNothing relayReceived = iota
	relayHeaders
	relayData
	relayLast
)

// relaySent is how far this endpoint has come.
//
//	             the end has to wait in the queue            it is sent
//	relayOpen ───────────────────────────────────► relayEnding ────────► relayClosed
//	    │                                                                    ▲
//	    └────────────────────────────────────────────────────────────────────┘
//	             the end is sent or received, a cancel is sent, or the session has ended
type relaySent uint8

const (
	relayOpen   relaySent = iota
	relayEnding           // nothing follows what is in the queue
	relayClosed           // nothing more is sent, and nothing taken
)

// relayEnd is how a call ends at one endpoint because of what happened at the other.
type relayEnd struct {
	code    connect.Code // of the cancel, to an answerer
	failure callFailure  // to an opener
}

func (h *relayEndpoint) handleFrameLocked(f *frame.Frame) afterUnlock {
	if h.sent == relayClosed {
		return afterUnlock{}
	}
	err := h.acceptLocked(f)
	switch {
	case err != nil:
		return h.failLocked(err)
	case f.Has(frame.FieldCancel):
		return h.failLocked(cancelError(connect.Code(f.Cancel)))
	case !f.Has(frame.FieldOpen | frame.ForwardedFields), h.sent == relayEnding:
		return afterUnlock{}
	}
	after := afterUnlock{kind: afterForward, relay: h.other}
	if h.queue == nil {
		after.kind = afterForwardUnqueued
	}
	if f.Has(frame.FieldEnd) {
		i, _ := idSlot(h.id)
		h.s.localCalls.release(i)
		h.shutLocked()
	}
	return after
}

// acceptLocked notes what a frame says, or says what is wrong with it.
func (h *relayEndpoint) acceptLocked(f *frame.Frame) *connect.Error {
	if f.Has(frame.FieldWindow) {
		if !frame.WindowFits(h.sendWindow, f.Window) {
			return connect.NewError(connect.CodeResourceExhausted, "link: too much credit")
		}
		h.sendWindow += int(f.Window)
		h.scheduleLocked()
	}
	if f.Has(frame.FieldHeaders) {
		if h.received != relayNothing {
			return errUnexpectedHeaders
		}
		h.received = relayHeaders
	}
	if f.Has(frame.FieldData) {
		if h.received == relayLast {
			return errDataAfterClose
		}
		if h.recvWindow <= 0 {
			return errWindowExceeded
		}
		h.received = relayData
		h.recvWindow -= f.Cost()
	}
	if f.Has(frame.FieldCloseSend) {
		if h.received == relayLast {
			return errDataAfterClose
		}
		h.received = relayLast
	}
	return nil
}

// answeredLocked reports whether the handler has said something, at an endpoint that opened the call.
func (h *relayEndpoint) answeredLocked() bool { return h.received != relayNothing }

// failLocked ends the call at both endpoints, because of what came in at this one.
func (h *relayEndpoint) failLocked(err *connect.Error) afterUnlock {
	code := connect.CodeCanceled
	if err.Code() == connect.CodeDeadlineExceeded {
		code = err.Code()
	}
	certainty := unknown // what the other endpoint knows is guarded by another lock
	if h.opener {
		certainty = h.certaintyLocked(h.answeredLocked())
	}
	f := h.s.failure(err, certainty)
	h.closeLocked(code, f.encode(h.s.cfg.Limits.MaxHeader))
	return afterUnlock{kind: afterEnd, relay: h.other, end: &relayEnd{code: code, failure: f}}
}

// endFor ends the call at this endpoint because of what happened at the other. Called without a lock.
func (h *relayEndpoint) endFor(end *relayEnd) {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.opener {
		h.closeLocked(end.code, nil)
	} else {
		h.enqueueEndLocked(end.failure.encode(s.cfg.Limits.MaxHeader))
	}
	s.wakeWriterLocked()
}

// closeLocked tells the peer at once that the call is over: by a cancel with code, or by end, the body of an End.
func (h *relayEndpoint) closeLocked(code connect.Code, end []byte) {
	if h.sent == relayClosed {
		return
	}
	h.shutLocked()
	if h.opener {
		h.s.cancelLocked(&h.callState, code)
	} else {
		h.s.sendEndLocked(&h.callState, end)
	}
}

// enqueueEndLocked puts an end behind all that waits.
func (h *relayEndpoint) enqueueEndLocked(end []byte) {
	if h.sent != relayOpen {
		return
	}
	if h.queueEmptyLocked() {
		h.closeLocked(0, end)
		return
	}
	f := frame.Outgoing{Fields: frame.FieldEnd, End: end}
	h.enqueueLocked(f.Encode(), 0, true)
}

// shutLocked notes that this endpoint sends and takes nothing more.
func (h *relayEndpoint) shutLocked() {
	if h.sent != relayClosed && !h.opener {
		h.s.addMemory(-relayedCost)
	}
	h.sent = relayClosed
	h.dropQueueLocked()
}

// canQueueLocked reports whether a frame of n bytes may be added to the queue.
func (h *relayEndpoint) canQueueLocked(n int) bool {
	s, held := h.other.s, relayedCost+h.charged
	return s.fitsMemory(held, n) || s.onlyUser(held, h.charged+n)
}

// enqueueLocked puts a frame into the queue.
func (h *relayEndpoint) enqueueLocked(raw []byte, cost int, last bool) {
	if h.queue == nil {
		h.queue = new(queue)
	}
	h.queue.append(raw, false, false)
	h.queue.endRecord(cost, last)
	h.updateChargeLocked()
	if last {
		h.sent = relayEnding
	}
	h.scheduleLocked()
}

func (h *relayEndpoint) queueEmptyLocked() bool { return h.queue == nil || h.queue.empty() }

func (h *relayEndpoint) dropQueueLocked() {
	if h.queue != nil {
		h.queue.discard()
		h.updateChargeLocked()
	}
}

// updateChargeLocked brings what is counted for the queue up to date, at the session where it came from.
func (h *relayEndpoint) updateChargeLocked() {
	n := h.queue.memory() - h.charged
	if n != 0 {
		h.charged += n
		h.other.s.addMemory(n)
	}
}

// firstIsDueLocked reports whether the first frame of the queue may be sent.
func (h *relayEndpoint) firstIsDueLocked() bool {
	if h.sent == relayClosed || h.queueEmptyLocked() {
		return false
	}
	_, r := h.queue.peek()
	return r.cost == 0 || h.sendWindow > 0
}

// scheduleLocked lets the endpoint take its turn if its first frame may be sent.
func (h *relayEndpoint) scheduleLocked() {
	if h.firstIsDueLocked() {
		h.s.out.bulk.push(h)
	}
}

// appendNextLocked puts the first frame of the queue into the packet.
func (h *relayEndpoint) appendNextLocked() {
	if !h.firstIsDueLocked() {
		return
	}
	raw, r := h.queue.pop()
	h.appendFrameLocked(raw, r.cost, r.last)
	h.queue.release()
	h.updateChargeLocked()
	h.scheduleLocked()
	n := h.takeGrantLocked()
	if n > 0 {
		h.s.out.grants = append(h.s.out.grants, windowGrant{to: h.other, n: n})
	}
}

// appendFrameLocked puts a frame into the packet.
func (h *relayEndpoint) appendFrameLocked(raw []byte, cost int, last bool) {
	o := &h.s.out
	if h.opener && h.openPacket == 0 {
		h.noteOpenLocked()
	}
	h.sendWindow -= cost
	h.ungranted += cost
	o.buf = frame.AppendForwarded(o.buf, raw, h.id)
	if last {
		h.shutLocked()
		h.s.endPeerCallLocked(h.id)
	}
}

// takeGrantLocked returns what is to be granted at the other endpoint, once that is worth a frame.
func (h *relayEndpoint) takeGrantLocked() int {
	if 2*h.ungranted < h.other.s.cfg.Limits.Window {
		return 0
	}
	n := h.ungranted
	h.ungranted = 0
	return n
}

// grantWindow gives n bytes of this endpoint's receive window back. Called without locks, by the reader or writer of
// the other endpoint's session, who sees to it that it is written.
func (h *relayEndpoint) grantWindow(n int) {
	s := h.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.sent == relayClosed || h.received == relayLast {
		return
	}
	h.recvWindow += n
	s.out.buf = frame.AppendWindow(s.out.buf, h.id, n)
}

func (h *relayEndpoint) expire(*Session, int64) {}

func (h *relayEndpoint) sessionEnded(s *Session, cause *Ended) {
	s.mu.Lock()
	h.shutLocked()
	end := relayEnd{code: connect.CodeCanceled, failure: s.failure(s.errSessionEnded(cause), s.certaintyLocked(&h.callState, h.answeredLocked()))}
	s.mu.Unlock()
	h.other.endFor(&end)
}
