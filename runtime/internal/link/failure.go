package link

import (
	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// Certainty is how sure it is whether a call's handler ran.
type Certainty = rpcmeshv1.CallFailure_Certainty

const (
	notStarted = rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
	unknown    = rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN
	started    = rpcmeshv1.CallFailure_CERTAINTY_STARTED
)

// callFailure is an error of a call, with how far the call had come. All errors are such that the mesh makes: there is
// no other way to end a call without its handler.
type callFailure struct {
	err    *connect.Error
	detail *rpcmeshv1.CallFailure
}

// failure is the error of a call that this end of the session ends.
func (s *Session) failure(err *connect.Error, certainty Certainty) callFailure {
	return callFailure{err, &rpcmeshv1.CallFailure{Certainty: certainty, Node: s.cfg.Node[:], NodeName: s.cfg.Name}}
}

// failure is the error of a call that ends at its handler's endpoint. The caller of a local call knows which node that
// is.
func (c *ServerCall) failure(err *connect.Error, certainty Certainty) callFailure {
	if s := c.session; s != nil {
		return s.failure(err, certainty)
	}
	return callFailure{err, &rpcmeshv1.CallFailure{Certainty: certainty}}
}

// encode returns the body of an End.
func (f callFailure) encode(limit int) []byte {
	end, tooLong := frame.EncodeEnd(f.err, nil, f.detail, limit)
	if tooLong != nil {
		end, _ = frame.EncodeEnd(tooLong, nil, f.detail, limit) // which is short
	}
	return end
}

// outcome is how a call that was on its way ended, as its caller sees it.
func (f callFailure) outcome() outcome {
	return outcome{End: frame.End{Err: f.err.WithRemote(), Failure: f.detail}}
}

// certaintyLocked is how sure it is whether the handler ran, for a call that this end opened on a session which has
// ended: what was not being written by then never will be.
func (s *Session) certaintyLocked(h *callState, answered bool) Certainty {
	if !answered && (h.openPacket > s.out.lastBegun || s.cause.leavesOut(h.openNumber)) {
		return notStarted
	}
	return h.certaintyLocked(answered)
}

// certaintyLocked is how sure it is whether the handler ran, for a call that this end has opened, or will.
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

// certaintyLocked is how sure it is whether the handler ran, as the caller can know.
func (e *callerEndpoint) certaintyLocked() Certainty {
	switch {
	case e.pair == nil:
		return e.callState.certaintyLocked(e.answered)
	case e.answered || e.recv.closed() || e.headers != nil || !e.inbox.empty() || e.partialCost > 0:
		return started
	default:
		return unknown // its handler was started, and may not have run yet
	}
}

// Certainty says how sure it is whether the call's handler ran: now, or when the call ended. It is of use where this end
// abandoned the call; of an end that the mesh made, Failure says more.
func (c *ClientCall) Certainty() Certainty {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.endpoint != nil:
		return c.endpoint.certaintyLocked()
	case c.isOver():
		return c.outcome.certainty
	default:
		return notStarted
	}
}
