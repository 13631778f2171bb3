package link

import (
	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// Handler has the policy of a session. Route, Table and Ended are called by the session's reader, one at a time, and
// PullTable by the session's writer. They must not block, except for Ended.
type Handler interface {
	// Route says what to do with a call that the peer opens. in is valid until Route returns, except for its strings,
	// Callee and Caller.
	Route(in *Incoming) Route
	// Table receives a piece of the peer's table. An error ends the session as a violation; for one that is found later
	// there is Session.FailViolation.
	Table(t *linkv1.Table) error
	// PullTable returns what the peer is to be told next, of about TableBudget bytes, or nil where there is nothing. It
	// is called after Run has started and after each TableChanged, until it returns nil. With coming there may be more
	// soon, which TableChanged or TableUnchanged will tell: the session does not say goodbye before.
	PullTable() (t *linkv1.Table, coming bool)
	// Ended is called once, when the session has ended and before its calls end: by then it must be known how calls are
	// retried.
	Ended(cause *Ended)
}

// MaxHops is how many links a call may cross after the first one.
const MaxHops = 64

// Callee is what is called. It is shared by calls, and not to be changed.
type Callee = frame.Callee

// Caller is who made a call. It is shared by calls, and not to be changed.
type Caller = frame.Caller

// CallerText returns s as a text of a Caller may be: cut where it is too long, without what is not printable.
func CallerText(s string) string { return frame.CallerText(s) }

// Incoming is a call that the peer opens. Route may replace its Caller: it is what the handler is told, or the next
// link.
type Incoming struct {
	// Session is the session that the call came by.
	Session *Session
	// Hops is how many links the call may cross from here, MaxHops at most whatever the peer says.
	Hops uint32
	frame.Open
}

// Header decodes and returns the request's headers, which are not to be changed.
func (in *Incoming) Header() (*connect.Header, error) { return frame.DecodeHeaders(in.RawHeaders) }

// Route is what to do with a call: forward it, serve it, or refuse it. Exactly one of Next, Serve and
// Err is set.
type Route struct {
	// Next is the session to forward the call to.
	Next *Session
	// Namespace is the called namespace as the next link carries it.
	Namespace string
	// Origin is the node whose origin is called.
	Origin NodeID
	// OriginNamespace is as in Callee.
	OriginNamespace string

	// Serve handles the call on a worker. The call ends as internal if Serve returns without ending it.
	Serve func(*ServerCall)
	// NewHandler may be set with Serve, and returns what handles the call in its place. It must not block.
	NewHandler func() CallHandler

	// Err refuses the call. The caller learns that the handler has not started.
	Err *connect.Error
}
