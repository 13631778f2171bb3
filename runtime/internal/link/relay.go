package link

import (
	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// A relayed call has two endpoints: upstream answers the call on the session that it came by, downstream opens it on
// the next. What comes in at one endpoint goes out at the other: as it came, but for the call's id, if the other's send
// window allows, and otherwise into the other's queue, which is bounded by the receive window that this endpoint has
// granted. That window is granted again as the other's send window takes data.

// relay is a relayed call.
type relay struct{ upstream, downstream relayEndpoint }

// relayCall forwards a call that the peer opens. caller is who made it, as the peer says.
func (s *Session) relayCall(f *frame.Frame, in *Incoming, to *Route, caller *Caller) error {
	r, err := s.acceptRelay(f, in)
	if r == nil {
		return err
	}
	if to.Namespace != in.Namespace || to.Origin != in.Origin || to.OriginNamespace != in.OriginNamespace || in.Caller != caller {
		f.Raw = f.Readdress(&Callee{Namespace: to.Namespace, Origin: to.Origin, OriginNamespace: to.OriginNamespace}, in.Caller)
	}
	frame.SetHops(f.Raw, in.Hops-1)
	next, down := to.Next, &r.downstream
	var sent forwarded
	next.mu.Lock()
	failed := next.registerLocked(down)
	if failed == nil {
		sent = down.forwardLocked(f, false)
	}
	next.mu.Unlock()
	if failed == nil {
		sent.finish(&r.upstream, s, next)
		return nil
	}
	s.mu.Lock()
	r.upstream.closeLocked(0, s.failure(failed, notStarted).encode(s.cfg.Limits.MaxHeader))
	s.mu.Unlock()
	return nil
}

// acceptRelay accepts an open, and returns nothing where the call is over: it is refused, say. The endpoint that faces
// the caller is in its place before the other can be lost.
func (s *Session) acceptRelay(f *frame.Frame, in *Incoming) (*relay, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted, err := s.acceptOpenLocked(f.Call)
	switch {
	case !accepted:
		return nil, err
	case in.Hops == 0:
		s.refuseOpenLocked(f.Call, errHops)
		return nil, nil
	case !s.admitsOpen(f, relayedCost):
		s.refuseOpenLocked(f.Call, s.errMemory())
		return nil, nil
	}
	r := s.newRelayLocked()
	up := &r.upstream
	up.s, up.id = s, f.Call
	up.sendWindow, up.recvWindow = int(s.peer.Join.GetWindow()), s.cfg.Limits.Window
	s.acceptCallLocked(f.Call, up)
	s.addMemory(relayedCost)
	failed := up.acceptLocked(f)
	if failed == nil && f.Has(frame.FieldCancel) {
		failed = cancelError(connect.Code(f.Cancel))
	}
	if failed != nil {
		up.closeLocked(0, s.failure(failed, notStarted).encode(s.cfg.Limits.MaxHeader))
		return nil, nil
	}
	return r, nil
}

// newRelayLocked returns a relay to use. Only the session's reader calls it: see recycleLocked.
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
// this endpoint, upstream. It is called by the reader of the other session, which is done with the call. Nothing else
// refers to a call that was never queued, but for the reader of this session: and that is who uses the relay again.
func (h *relayEndpoint) recycleLocked() { h.s.relayPool.put(h.relay) }

var errHops = connect.NewError(connect.CodeUnavailable, "the call has crossed too many links")

// forwarded is what came of forwarding a frame. What is left is done by finish once the lock is released.
type forwarded struct {
	result  forwardResult
	granted int // bytes of the source's receive window that are to be granted again
}

type forwardResult uint8

const (
	forwardDropped  forwardResult = iota // the call is over at this endpoint
	forwardDone                          // the frame is sent, or queued
	forwardOverflow                      // there is no memory to queue it
)

// forward sends a frame that came in at the other endpoint, or queues it. Called by the reader of the other endpoint's
// session, without a lock; unqueued says that nothing was ever queued there.
func (h *relayEndpoint) forward(f *frame.Frame, unqueued bool) {
	s, source := h.s, h.other
	from := source.s
	s.mu.Lock()
	sent := h.forwardLocked(f, unqueued)
	s.mu.Unlock()
	sent.finish(source, from, s)
}

// forwardLocked is the part of forward under the lock. It may recycle the relay.
func (h *relayEndpoint) forwardLocked(f *frame.Frame, unqueued bool) forwarded {
	raw, cost, last := f.Raw, f.Cost(), f.Has(frame.FieldEnd)
	if f.Has(frame.FieldWindow) {
		raw = frame.WithoutWindow(raw)
	}
	if h.sent != relayOpen {
		return forwarded{result: forwardDropped}
	}
	switch {
	case h.queueEmptyLocked() && (cost == 0 || h.sendWindow > 0) && h.s.reserveLaneLocked(&h.callState, len(raw)):
		h.appendFrameLocked(raw, cost, last)
	case !h.canQueueLocked(len(raw)):
		return forwarded{result: forwardOverflow}
	default:
		h.enqueueLocked(raw, cost, last)
	}
	granted := h.takeGrantLocked()
	if last && unqueued && granted == 0 && h.queue == nil {
		h.recycleLocked()
	}
	return forwarded{result: forwardDone, granted: granted}
}

// finish does what is left of forwarding a frame from source to the session to. Called by the reader of from, the
// session of source, without a lock; source may be another call's where nothing is left to be done there.
func (r forwarded) finish(source *relayEndpoint, from, to *Session) {
	switch r.result {
	case forwardDropped:
	case forwardDone:
		from.scheduleFlush(to)
		if r.granted > 0 {
			source.grantWindow(r.granted) // written with all else that the reader's packet gives rise to
		}
	case forwardOverflow:
		source.overflow()
	}
}

// overflow ends the call because there is no memory for what came in at this endpoint. Called by its session's reader.
func (h *relayEndpoint) overflow() {
	h.s.mu.Lock()
	after := h.failLocked(h.s.errMemory())
	h.s.mu.Unlock()
	after.run(h.s, nil)
}
