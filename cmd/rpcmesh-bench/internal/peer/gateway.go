package peer

import (
	"context"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1/benchv1rpcmesh"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

// gatewayPeer is meshPeer's mesh, called by grpc-go through the gateway of its last node: the only one
// there is, or the last relay.
type gatewayPeer struct{ grpcPeer }

func (gatewayPeer) Traits() Traits {
	return Traits{
		Name: "gateway", Note: "grpc-go's client calls into rpcmesh through the gateway of a node",
		MaxRelays: 3, Streams: true, TLS: true,
	}
}

func (gatewayPeer) Serve(ctx context.Context, _ string, o Options) (string, error) {
	node, err := newMeshNode(ctx, o)
	if err != nil {
		return "", err
	}
	if _, err := benchv1rpcmesh.RegisterEchoServiceOrigin(node.Namespace(meshNamespace), meshEcho{}); err != nil {
		return "", err
	}
	if err := gateway.Mount(node, gatewayConfig); err != nil {
		return "", err
	}
	return serveMesh(ctx, node)
}

func (gatewayPeer) Relay(ctx context.Context, upstream string, o Options) (string, error) {
	node, err := linkMesh(ctx, upstream, o)
	if err != nil {
		return "", err
	}
	if err := gateway.Mount(node, gatewayConfig); err != nil {
		return "", err
	}
	return serveMesh(ctx, node)
}

var gatewayConfig = gateway.Config{Namespace: meshNamespace, Open: true}
