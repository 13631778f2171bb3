package h2link

import (
	"net"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

const (
	// HeadRoom is how many bytes before a packet belong to the carrier: Send writes the frame's
	// header and the message's prefix there, so that both leave in one write with the packet.
	HeadRoom = 16

	// Procedure is the path of the call that a connection carries, unless Options has another.
	Procedure = "/rpcmesh.link.v1.LinkService/Session"
)

// What a peer may make this end hold or do, beside what Options bounds.
const (
	maxFrame           = 1 << 20  // longest frame taken; DATA is never held whole
	maxParsedFrame     = 16 << 10 // longest frame taken that is not DATA
	maxHeaderList      = 16 << 10 // of one header block, as RFC 9113 section 6.5.2 counts it
	maxHeaderBlock     = 48 << 10 // of one header block on the wire, frame headers counted
	maxControl         = 16 << 10 // of control frames that wait to be written
	maxRefusedStreams  = 100      // streams refused on one connection
	maxIdleFrames      = 1000     // frames in a row that are no part of a message and no answer to one, in idleFramesInterval
	idleFramesInterval = 10 * time.Second
)

// Options bounds an endpoint. A zero field has its default.
type Options struct {
	// Path is the path of the call. Default Procedure; a dialler puts the server's prefix before it.
	Path string
	// MaxMessage is the longest message that is received, in bytes. Default 4 MiB.
	MaxMessage int
	// Window is how many bytes the peer may have under way to here. Default 16 MiB, at most
	// 2 GiB - 1. All of it may wait in the socket; here no more than one message is held.
	Window int
	// HandshakeTimeout is how long the peer has to do its part of the start: a client until its
	// request has been read, a server until its response's headers have. Default 5 s.
	HandshakeTimeout time.Duration
	// WriteTimeout is how long the peer may take, by not reading or by not granting a window, for
	// each 64 KiB begun of a packet. Default 10 s.
	WriteTimeout time.Duration
	// HTTP2 is called for each connection of a Listener that is no dialler's but speaks HTTP/2. What it returns
	// serves the connection, on a goroutine of its own, and closes it; head has been read from it. Nil leaves
	// it to net/http, and so does no HTTP2.
	HTTP2 func() (serve func(nc net.Conn, head []byte))
	// Admit is called for each connection that a Listener accepts. If it reports false, the connection is closed;
	// otherwise release is called when it has ended. Nil admits all.
	Admit func(nc net.Conn) (release func(), ok bool)
	// CloseTimeout is how long Close tries to end in order. Default 1 s.
	CloseTimeout time.Duration
}

func (o Options) withDefaults() Options {
	if o.Path == "" {
		o.Path = Procedure
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 4 << 20
	}
	if o.Window <= 0 {
		o.Window = 16 << 20
	}
	o.Window = min(o.Window, h2core.MaxWindow)
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = 5 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 10 * time.Second
	}
	if o.Admit == nil {
		o.Admit = func(net.Conn) (func(), bool) { return func() {}, true }
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = time.Second
	}
	return o
}
