package link

import (
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// Open is what a call is opened with.
type Open struct {
	// Namespace, Procedure, Origin, OriginNamespace and StreamType are as in [Callee] and [frame.Open].
	Namespace       string
	Procedure       string
	Origin          NodeID
	OriginNamespace string
	StreamType      connect.StreamType
	// Hops is how many links the call may cross after the first.
	Hops uint32
	// Deadline ends the call, as the context's does; the earlier counts. Zero is none. It is cheaper
	// than a context of its own.
	Deadline time.Time
	// CallerBlocks says that the caller is in Send or Receive until the call has ended: the end of its context is looked
	// for there, which is cheaper than a function that is called for it.
	CallerBlocks bool
	// Completion, if there is one, is called when the call has ended, and nobody waits in Receive: see [Completion].
	Completion Completion
	// Caller is who makes the call. May be nil.
	Caller *Caller
	// Header is sent when the call is opened; until then it may be changed. May be nil.
	Header *connect.Header
	// ResponseHeader and ResponseTrailer are filled in as they arrive, before the Receive that finds
	// them returns. May be nil.
	ResponseHeader, ResponseTrailer *connect.Header
}

// callee is what the call is to.
func (o *Open) callee() Callee {
	return Callee{Namespace: o.Namespace, Procedure: o.Procedure, Origin: o.Origin, OriginNamespace: o.OriginNamespace}
}

// check returns how long the headers are, or what keeps the call from being opened.
func (o *Open) check(limits *Limits) (headers int, err *connect.Error) {
	callee := o.callee()
	if err := callee.Check(); err != nil {
		return 0, err
	}
	return frame.CheckHeaders("request headers", o.Header, limits.MaxHeader)
}
