package rpcmesh

import (
	"net/http"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// What the packages beside this one use of it, and its users do not.
func init() {
	rawcall.NewCaller = func() rawcall.Caller { return new(rawCaller) }
	rawcall.GatewayNodeOf = func(node any) rawcall.GatewayNode { return (*gatewayNode)(node.(*Node)) }
	rawcall.StubTransportOf = stubTransportOf
}

// gatewayNode is a node as its gateway uses it.
type gatewayNode Node

// MountGateway implements [rawcall.GatewayNode].
func (n *gatewayNode) MountGateway(gateway http.Handler, buffered h2serve.BufferedHandlers) {
	n.server.handlers.mountGateway(gateway, buffered)
}
