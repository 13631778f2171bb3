package link

import "github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"

// NodeID is the id of a node.
type NodeID = nodeid.ID

// HeadRoom is the number of bytes before each packet that Send is given and that belong to the
// carrier: enough for an HTTP/2 frame's header and a Connect envelope's, so that all leaves in one write.
const HeadRoom = 16

// MaxPacket is the length in bytes that no packet exceeds. A Conn need not carry longer ones, and a
// session treats one as a violation.
const MaxPacket = 256 << 10

// Conn carries the packets of one link, in order and whole.
type Conn interface {
	// Send sends the packet p[HeadRoom:]. p[:HeadRoom], and what capacity p has behind its end, is the
	// carrier's to overwrite. It may block, is called by one goroutine at a time, and does not keep p.
	Send(p []byte) error
	// Receive returns the next packet, which is valid until the next Receive. It is called by one goroutine at a time.
	// The error is a *connect.Error where the peer closed with one, and io.EOF where it closed with none.
	Receive() ([]byte, error)
	// Close ends the connection and lets Send and Receive return. A *connect.Error tells the peer why. It may be called
	// by any goroutine and more than once; only the first call counts.
	Close(err error)
	// Binding returns keying material that both ends of the connection share and nobody else has, such
	// as the TLS exporter's (RFC 5705, RFC 9266), or nil where there is none. It is called after the
	// first Receive.
	Binding() ([]byte, error)
}

// TrySender is a Conn that can send without waiting.
type TrySender interface {
	// TrySend is Send for one who may not wait. It reports whether it has sent the packet; if not, it
	// has done nothing. It may be a Conn that never can.
	TrySend(p []byte) (bool, error)
}

// ReadAheadConn is a Conn that knows what it has read ahead.
type ReadAheadConn interface {
	// Buffered reports whether the next Receive returns without waiting. The goroutine that calls
	// Receive asks.
	Buffered() bool
}

// LivenessConn is a Conn that knows of each sign of life, even of a part of a packet. Its methods may be called by any
// goroutine.
type LivenessConn interface {
	// BytesReceived returns how many bytes have been read, a number that changes with each read.
	BytesReceived() uint64
	// Unread reports whether something has come in, or the connection has ended, that Receive has yet to find.
	Unread() bool
}

// PacketLimiter is a Conn that can bound the packets that it receives.
type PacketLimiter interface {
	// LimitMessage sets the length of the longest packet to come. The goroutine that calls Receive calls it.
	LimitMessage(n int)
}

// limitPackets bounds the packets that c receives from now on, if it can.
func limitPackets(c Conn, n int) {
	if l, ok := c.(PacketLimiter); ok {
		l.LimitMessage(n)
	}
}

// CongestionConn is a Conn that knows how much is in flight.
type CongestionConn interface {
	// Congested reports whether bulk had better wait, so that what is sent next is not delayed by it.
	Congested() bool
	// OnUncongested sets what the goroutine in Receive calls when Congested begins to report false. It is called
	// once, while nobody is in Receive.
	OnUncongested(f func())
}
