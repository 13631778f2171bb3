package link

import (
	"fmt"

	"connectrpc.com/connect/v2"
)

// EndKind says what ended a session.
type EndKind uint8

// What ends a session.
const (
	// EndClosed: this end called Close.
	EndClosed EndKind = iota
	// EndGoodbye: the peer said goodbye.
	EndGoodbye
	// EndBroken: the connection failed, or the peer closed it without a goodbye.
	EndBroken
	// EndSilent: nothing was received for the keepalive timeout.
	EndSilent
	// EndViolation: the peer broke the rules of the wire, or sent a table that the handler refused.
	EndViolation
)

// String returns the kind's name.
func (k EndKind) String() string {
	names := [...]string{"closed", "goodbye", "broken", "silent", "violation"}
	if int(k) >= len(names) {
		return fmt.Sprintf("EndKind(%d)", k)
	}
	return names[k]
}

// Ended is why a session ended: what Run returns.
type Ended struct { //nolint:errname // a session ends in good ways, too
	Kind EndKind
	// Leaving says, with EndGoodbye and EndClosed, that the node that said goodbye leaves the mesh.
	Leaving bool
	// Reason is the text of the goodbye.
	Reason string
	// Err is the cause of the other kinds: a *connect.Error where the peer gave one.
	Err error

	accepted *uint64 // how many opens were accepted, as the goodbye says; nil where it does not
}

// leavesOut reports whether the goodbye says that the open of that number was not accepted.
func (e *Ended) leavesOut(number uint64) bool {
	return e != nil && e.accepted != nil && number > *e.accepted
}

// Error describes the end.
func (e *Ended) Error() string {
	switch e.Kind {
	case EndClosed:
		return "link closed by this end" + colon(e.Reason)
	case EndGoodbye:
		return "link closed by the other end" + colon(e.Reason)
	case EndSilent:
		return "link lost: the other end is silent"
	case EndViolation:
		return fmt.Sprintf("link closed: the other end broke the protocol: %v", e.Err)
	default:
		return fmt.Sprintf("link lost: %v", e.Err)
	}
}

// closeError is the error that the connection is closed with, which the peer is told.
func (e *Ended) closeError() error {
	switch e.Kind {
	case EndClosed, EndGoodbye:
		return nil
	case EndSilent:
		return connect.NewError(connect.CodeUnavailable, "link: nothing was received for too long")
	default:
		return e.Err
	}
}

// Unwrap returns the cause.
func (e *Ended) Unwrap() error { return e.Err }

func colon(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}
