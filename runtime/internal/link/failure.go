package link

import (
	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// Certainty is how sure it is whether a call's handler ran.
type Certainty = rpcmeshv1.CallFailure_Certainty

const (
	notStarted = rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
	unknown    = rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN
	started    = rpcmeshv1.CallFailure_CERTAINTY_STARTED
)

// callFailure is an error of a call that says how far the call had come, as all do that the mesh makes: there is no
// other way to end a call without its handler.
type callFailure struct {
	err    *connect.Error
	detail *rpcmeshv1.CallFailure
}

// failure is the error of a call that this end of the session ends.
func (s *Session) failure(err *connect.Error, certainty Certainty) callFailure {
	return callFailure{err, &rpcmeshv1.CallFailure{Certainty: certainty, Node: s.cfg.Node[:], NodeName: s.cfg.Name}}
}

// failure is the error of a call that ends at its handler's end. A local one's caller knows which node that is.
func (c *ServerCall) failure(err *connect.Error, certainty Certainty) callFailure {
	if s := c.session; s != nil {
		return s.failure(err, certainty)
	}
	return callFailure{err, &rpcmeshv1.CallFailure{Certainty: certainty}}
}

// encode returns the body of an End.
func (f callFailure) encode(limit int) []byte {
	end, tooLong := encodeEnd(f.err, nil, f.detail, limit)
	if tooLong != nil {
		end, _ = encodeEnd(tooLong, nil, f.detail, limit) // which is short
	}
	return end
}

// outcome is how a call that was on its way ended, as its caller sees it.
func (f callFailure) outcome() outcome { return outcome{err: f.err.WithRemote(), failure: f.detail} }

// certaintyLocked is how sure it is whether the handler ran, for a call that this end opened on a session which has
// ended: what was not being written then never will be. The session's lock is held.
func (s *Session) certaintyLocked(h *callState, answered bool) Certainty {
	if !answered && (h.openPacket > s.out.lastBegun || s.cause.leavesOut(h.openNumber)) {
		return notStarted
	}
	return h.certaintyLocked(answered)
}

// certaintyLocked is how sure it is whether the handler ran, for a call that this end has opened, or will. The lock is held.
func (h *callState) certaintyLocked(answered bool) Certainty {
	switch {
	case answered:
		return started
	case h.openPacket == 0:
		return notStarted
	default:
		return unknown
	}
}

// certaintyLocked is how far the call has come, as its caller can know. mu is held.
func (e *callerEndpoint) certaintyLocked() Certainty {
	switch {
	case e.pair == nil:
		return e.callState.certaintyLocked(e.answered)
	case e.answered || e.recvClosed || e.headers != nil || !e.inbox.empty() || e.partialCost > 0:
		return started
	default:
		return unknown // its handler was started, and may wait for a processor yet
	}
}

// Certainty says how sure it is whether the call's handler ran: now, or when the call ended. It is of use where
// this end gave the call up; of an end that came from the mesh Failure says more.
func (c *ClientCall) Certainty() Certainty {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.endpoint != nil:
		return c.endpoint.certaintyLocked()
	case c.over:
		return c.outcome.certainty
	default:
		return notStarted
	}
}
