package bridge

import (
	"context"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// StopMesh is [Pump.StopReceiving] for handlers in the mesh.
func StopMesh(ctx context.Context) {
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		if s, ok := info.TransportInfo.(rpcmesh.ReceiveStopper); ok {
			s.StopReceiving()
		}
	}
}
