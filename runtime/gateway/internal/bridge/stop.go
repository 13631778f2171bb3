package bridge

import (
	"context"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// StopMesh is [Pump.StopReceiving] for handlers in the mesh.
func StopMesh(ctx context.Context) {
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		if s, ok := info.TransportInfo.(rawcall.ReceiveStopper); ok {
			s.StopReceiving()
		}
	}
}
