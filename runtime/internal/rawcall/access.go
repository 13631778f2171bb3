package rawcall

import (
	"context"
	"net/http"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// Caller begins calls, and sends those together that it begins together. It belongs to one goroutine.
type Caller interface {
	// Begin begins c in a namespace of package rpcmesh, and does not block. It reports whether it has: where a
	// call would fail at once or could have to wait, it has done nothing, and the call is one for the namespace's
	// NewClientStream. Flush has it sent.
	Begin(namespace connect.Transport, c *Call) bool
	// Flush has what was begun since the last Flush sent. It does not block.
	Flush()
}

// NewCaller returns a Caller. Package rpcmesh sets it.
var NewCaller func() Caller

// GatewayNode is a node as its gateway uses it.
type GatewayNode interface {
	// Admit returns nil where a call from outside the mesh may begin at the node, and what to tell its caller
	// where the node is shutting down: unavailable, and not started. It is asked for each call, with its
	// request's context.
	Admit(ctx context.Context) error
	// MountGateway has gateway serve what the node serves by no other pattern, as if by the pattern "/" of
	// [http.ServeMux]. Of those requests, the short ones over HTTP/2 are offered to buffered first. It panics where
	// the node has a handler for "/".
	MountGateway(gateway http.Handler, buffered h2serve.BufferedHandlers)
}

// GatewayNodeOf returns an *rpcmesh.Node as its gateway uses it. Package rpcmesh sets it.
var GatewayNodeOf func(node any) GatewayNode

// StubTransport is a transport of package rpcmesh as generated clients call it.
type StubTransport interface {
	// NewClientStream is that of [connect.Transport], for a caller who is in the stream's Send or Receive until a
	// unary call has ended, and then closes it: its context is watched there.
	connect.Transport
	// CallUnary makes a unary call in one go, and reports whether it was one for that: otherwise nothing has been
	// done.
	CallUnary(ctx context.Context, spec connect.Spec, req, res any) (done bool, err error)
}

// StubTransportOf returns a namespace or proxy of package rpcmesh as generated clients call it, and false for any
// other transport. Package rpcmesh sets it.
var StubTransportOf func(t connect.Transport) (StubTransport, bool)
