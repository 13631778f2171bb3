package h2

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	_ "golang.org/x/net/http2"
)

// HeadRoom is how many bytes before a packet belong to the carrier.
const HeadRoom = 16

// Procedure is the path of the one call that a connection carries.
const Procedure = "/rpcmesh.link.v1.LinkService/Session"

// ALPN is the protocol id by which a dialler offers this endpoint over TLS, before "h2".
const ALPN = "rpcmesh-h2"

// Options bounds an endpoint. A zero field has its default.
type Options struct {
	// MaxMessage is the longest message received, in bytes. Default 4 MiB.
	MaxMessage int
	// Window is the flow-control window granted to the peer, in bytes. Default 16 MiB.
	Window int
	// HandshakeTimeout bounds the peer's side of the start. Default 5 s.
	HandshakeTimeout time.Duration
	// WriteTimeout bounds how long a peer may keep 64 KiB from being sent. Default 10 s.
	WriteTimeout time.Duration
	// CloseTimeout bounds an orderly close. Default 1 s.
	CloseTimeout time.Duration
}

// Conn is one Connect bidirectional stream on an HTTP/2 connection of its own.
type Conn struct{}

var errSkeleton = errors.New("h2: not yet")

// Open starts the call on a connection to a server.
func Open(ctx context.Context, nc net.Conn, authority, path string, o Options) (*Conn, error) {
	return nil, errSkeleton
}

// Accept waits for the call on a connection from a client.
func Accept(nc net.Conn, o Options) (*Conn, error) { return nil, errSkeleton }

// Send sends p[HeadRoom:] as one message.
func (c *Conn) Send(p []byte) error { return errSkeleton }

// TrySend sends p[HeadRoom:] as one message if that needs no waiting.
func (c *Conn) TrySend(p []byte) (bool, error) { return false, errSkeleton }

// Receive returns the next message, valid until the next Receive.
func (c *Conn) Receive() ([]byte, error) { return nil, errSkeleton }

// Buffered reports whether the next Receive returns without reading from the socket.
func (c *Conn) Buffered() bool { return false }

// Close ends the call and closes the connection.
func (c *Conn) Close(err error) error { return nil }

// Binding returns what binds a proof to this connection's TLS, nil without TLS.
func (c *Conn) Binding() ([]byte, error) { return nil, nil }

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return nil }

// TLS returns the state of the connection's TLS, nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState { return nil }

// Binding returns what Conn.Binding does, for a connection that net/http serves.
func Binding(state *tls.ConnectionState) ([]byte, error) { return nil, errSkeleton }

// ServerTLS returns a copy of cfg that takes links, HTTP/2 and HTTP/1.1.
func ServerTLS(cfg *tls.Config) *tls.Config { return cfg }

// ClientTLS returns a copy of cfg that offers a link, then HTTP/2.
func ClientTLS(cfg *tls.Config) *tls.Config { return cfg }

// Listener is a listener of which the links' connections have been taken out.
type Listener struct{ net.Listener }

// NewListener takes the links' connections out of l.
func NewListener(l net.Listener, o Options, handle func(*Conn) error) *Listener { return &Listener{l} }

// Wait waits until the handler of every link has returned.
func (l *Listener) Wait() {}
