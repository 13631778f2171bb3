package rpcmesh

import (
	"errors"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// Failure is how far a call had come that the mesh ended, and where it ended: see [FailureOf].
type Failure struct {
	// Certainty is how sure it is whether the call's handler ran.
	Certainty Certainty
	// Node and NodeName are those of the node at which the call failed; zero and empty where it is not said, as by a
	// gateway.
	Node     NodeID
	NodeName string
	// ByHandler tells that the handler itself said so, by [NotStarted] or [WithCertainty].
	ByHandler bool
}

// Certainty is how sure it is whether a call's handler ran. The zero Certainty is one that this release does not know.
type Certainty uint8

// What is known of a call's handler.
const (
	// CertaintyNotStarted: the call did not reach its handler. To repeat it is safe for every method.
	CertaintyNotStarted = Certainty(rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED)
	// CertaintyUnknown: the call had been handed on when its way broke. Its handler may have run, and may still run.
	CertaintyUnknown = Certainty(rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN)
	// CertaintyStarted: the handler had answered something, headers or a message, before the way broke.
	CertaintyStarted = Certainty(rpcmeshv1.CallFailure_CERTAINTY_STARTED)
)

// String returns the certainty in words: "not started", "unknown" or "started".
func (c Certainty) String() string {
	switch c {
	case CertaintyNotStarted:
		return "not started"
	case CertaintyUnknown:
		return "unknown"
	case CertaintyStarted:
		return "started"
	}
	return "unspecified"
}

// FailureOf returns how far a call had come that the mesh ended, whatever for: no way to its function, a link
// that broke, a limit, the end of its time or of its context. It returns false for every other error: its
// handler's own verdict, say.
func FailureOf(err error) (Failure, bool) {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return Failure{}, false
	}
	for _, d := range e.Details() {
		if d.Type != failureType {
			continue
		}
		var wire rpcmeshv1.CallFailure
		if proto.Unmarshal(d.Value, &wire) == nil {
			return failureFrom(&wire), true
		}
	}
	return Failure{}, false
}

// failureFrom reads what a detail says, which a peer may have written.
func failureFrom(wire *rpcmeshv1.CallFailure) Failure {
	f := Failure{NodeName: wire.GetNodeName(), ByHandler: wire.GetByHandler()}
	if c := wire.GetCertainty(); c > 0 && c <= rpcmeshv1.CallFailure_CERTAINTY_STARTED {
		f.Certainty = Certainty(c)
	}
	if id := wire.GetNode(); len(id) == len(f.Node) {
		f.Node = NodeID(id)
	}
	return f
}
