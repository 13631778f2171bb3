package link

import (
	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// isLocal reports whether the call of that id is one that this end opened.
func (s *Session) isLocal(id uint32) bool {
	_, odd := idSlot(id)
	return odd == s.dialler
}

// registerLocked gives a call of this end an id.
func (s *Session) registerLocked(e endpoint) *connect.Error {
	if err := s.closedErrorLocked(); err != nil {
		return err
	}
	i, ok := s.localCalls.reserve(e)
	if !ok {
		return connect.Errorf(connect.CodeResourceExhausted,
			"the link from node %q has as many calls open as the Limits.MaxCalls of %d at its other end allows: try again later", s.cfg.Name, s.localCalls.limit)
	}
	h := e.state()
	h.s, h.id = s, slotID(i, s.dialler)
	h.sendWindow = int(s.peer.Join.GetWindow())
	h.recvWindow = s.cfg.Limits.Window
	if h.deadline != 0 {
		s.armDeadlineLocked(h.deadline)
	}
	return nil
}

// cancelLocked cancels a call of this end, and keeps its id until the peer has sent its end.
func (s *Session) cancelLocked(h *callState, code connect.Code) {
	i, _ := idSlot(h.id)
	if h.openPacket == 0 {
		s.localCalls.release(i)
		return
	}
	s.localCalls.markCanceled(i)
	s.out.buf = frame.AppendCancel(s.out.buf, h.id, code)
}

// releaseCanceledLocked frees the id of a call that this end has canceled, as the peer has sent its end.
func (s *Session) releaseCanceledLocked(id uint32) {
	i, _ := idSlot(id)
	if s.localCalls.at(i).canceled {
		s.localCalls.release(i)
	}
}

// sendEndLocked ends a call of the peer's: end is the body of an End.
func (s *Session) sendEndLocked(h *callState, end []byte) {
	f := frame.Outgoing{Fields: frame.FieldEnd, End: end}
	s.out.buf = f.AppendTo(s.out.buf, h.id, nil)
	s.endPeerCallLocked(h.id)
}

// endPeerCallLocked frees the slot of a call of the peer's whose end is in the packet that is being filled.
func (s *Session) endPeerCallLocked(id uint32) {
	i, _ := idSlot(id)
	s.peerCalls.endSlot(i, s.out.packet)
	s.signalDrainedLocked()
}

// acceptCallLocked gives a call of the peer's, whose open is being handled, its endpoint here.
func (s *Session) acceptCallLocked(id uint32, end endpoint) {
	i, _ := idSlot(id)
	s.peerCalls.set(i, end)
	s.opening.Store(false)
}

// Drained is closed once the peer has no call open here, served or relayed, or the session has ended.
func (s *Session) Drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained == nil {
		s.drained = make(chan struct{})
	}
	drained := s.drained
	s.signalDrainedLocked()
	return drained
}

// signalDrainedLocked tells those who wait for Drained.
func (s *Session) signalDrainedLocked() {
	if s.drained != nil && s.peerCalls.live == 0 && !s.opening.Load() {
		close(s.drained)
		s.drained = nil
	}
}
