package carrier_test

import (
	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// A session looks by type assertion for what a connection can do besides: a method by another name would go unnoticed.
var _ interface {
	link.Conn
	link.TrySender
	link.ReadAheadConn
	link.LivenessConn
	link.PacketLimiter
	link.CongestionConn
} = (*h2link.Conn)(nil)
