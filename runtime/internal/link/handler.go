package link

import (
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// Handler decides what a session leaves open. Route, Table and Ended are called on the session's reader, one
// at a time, and PullTable on the session's writer. But for Ended they must not block.
type Handler interface {
	// Route says what to do with a call that the other end opens. in and what it holds is valid until
	// Route returns, but for its strings.
	Route(in *Incoming) Route
	// Table takes a piece of the other end's table. An error closes the session as a violation; of what is
	// found later Session.Violation tells.
	Table(t *linkv1.Table) error
	// PullTable returns what the other end is to be told next, of about TableBudget bytes, and nil where there
	// is nothing. It is called after Run has started and after each TableChanged, until nil. With coming there
	// may be more, of which TableChanged or NoTable tell: the session does not say goodbye before.
	PullTable() (t *linkv1.Table, coming bool)
	// Ended is called once, when the session has ended and before its calls are: what they are tried
	// again over is to be known by then.
	Ended(cause *Ended)
}

// MaxHops is how many links a call may cross after the first one.
const MaxHops = 64

// Callee is what is called. It is shared by calls, and not to be changed.
type Callee struct {
	// Namespace is the called namespace as the link carries it.
	Namespace string
	// Procedure is "/pkg.Service/Method".
	Procedure string
	// Origin is the node whose origin is called.
	Origin NodeID
	// OriginNamespace is the namespace in which that node holds the origin, empty where it is Namespace.
	OriginNamespace string
	// Cached tells that later calls over the session which begin by the same bytes have this very Callee: what is found
	// out about it is worth keeping.
	Cached bool
}

// Incoming is a call that the other end opens.
type Incoming struct {
	// Session is the session that the call came by.
	Session *Session
	*Callee
	// Hops is how many links the call may cross from here, MaxHops at most whatever the other end says.
	Hops uint32
	// Timeout is the time left for the call, 0 where there is no limit.
	Timeout time.Duration
	// StreamType is the method's kind.
	StreamType connect.StreamType
	// Caller is who made the call, as the other end says; nil where it does not. What Route leaves here is what
	// the handler is told, or the next link.
	Caller *Caller

	rawHeader []byte
}

// Route is what to do with a call: forward it, serve it, or refuse it. Exactly one of Next, Serve and
// Err is set.
type Route struct {
	// Next is the session to forward the call to.
	Next *Session
	// Namespace is the called namespace as the next link carries it.
	Namespace string
	// Origin is the node whose origin is called.
	Origin NodeID
	// OriginNamespace is as in Incoming.
	OriginNamespace string

	// Serve handles the call on a worker. The call ends as internal if Serve returns without ending it.
	Serve func(*ServerCall)
	// NewHandler may be set with Serve, and returns what handles the call in its place. It must not block.
	NewHandler func() CallHandler

	// Err refuses the call, which its caller learns has not started.
	Err *connect.Error
}
