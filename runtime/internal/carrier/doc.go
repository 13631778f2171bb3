// Package carrier carries the packets of a link over HTTP/2. [Dialer] and [Conn] are on our own endpoint,
// package h2link; [ServerConn] is the handler of a stock Connect stream, for a node that is mounted on somebody
// else's mux. All have the method set of link.Conn, and each end works with any other.
//
// A packet is the encoding of one rpcmesh.link.v1.Packet. The codec here passes its bytes through,
// since the link package writes and reads them itself; on the wire it is an ordinary Connect stream
// of the "proto" codec.
//
// The package also explains why a link could not be opened, or was cut by what is in front of the node, to the person who
// can mend it: see [Conn.Explain] and [ProxyResetError]. An explanation quotes what a peer says up to 200 bytes.
//
// The longest packet is the caller's to bound ([Dialer].MaxPacket, [Mount]). An error that ends a stream has a second to be
// written.
package carrier

import (
	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// Procedure is the one that a link is a call of.
const Procedure = h2link.Procedure

// receiveBuffer is the HTTP/2 flow-control window of a stream and of its connection, in bytes. It is
// wide because the link's own windows are what holds a sender back.
const receiveBuffer = 16 << 20

func sessionSpec() connect.Spec {
	service := linkv1.File_rpcmesh_link_v1_link_proto.Services().ByName("LinkService")
	return connect.Spec{
		StreamType: connect.StreamTypeBidi,
		Procedure:  Procedure,
		Schema:     service.Methods().ByName("Session"),
	}
}
