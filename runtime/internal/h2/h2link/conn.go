package h2link

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// aLongTimeAgo is a deadline that ends a read at once.
var aLongTimeAgo = time.Unix(1, 0)

// Conn is one Connect bidirectional stream on an HTTP/2 connection of its own. Open and Accept make
// one; who has it closes it. Receive and Buffered belong to one goroutine; all else may be called
// by any, at any time.
//
// Errors are *connect.Error, apart from io.EOF for an end in order.
type Conn struct {
	nc        net.Conn
	raw       nonblockingWriter // nil where nc is no socket that can be written to without waiting
	socket    *netio.Socket     // what is under TLS, if that is a socket
	bytesRead atomic.Uint64     // bytes read
	stage     atomic.Int32      // a Stage
	tlsSocket *socketConn       // under TLS, where that is such a socket
	client    bool
	opts      Options

	closing atomic.Bool
	closed  chan struct{}  // when Close is done
	wg      sync.WaitGroup // goroutines that write what must not wait for a writer

	readMu  sync.Mutex // whose turn it is to read; Close alone contends with Receive
	reading reader

	writing writer // of whoever has the socket: state.busy

	congested     atomic.Bool // state.flight is
	onUncongested func()

	mu    sync.Mutex // never held while reading or writing
	cond  sync.Cond  // something has changed for those who wait
	state state      // guarded by mu
}

// nonblockingWriter is a socket that can be written to without waiting.
type nonblockingWriter interface {
	// TryWrite returns how much of p the socket took.
	TryWrite(p []byte) (int, error)
}

// state is what readers and writers share.
type state struct {
	err         error      // why both directions are over
	connErr     *connError // what the peer is told about that
	closed      bool       // Close has begun
	recvStopped bool       // nothing more will be read
	writeBroken bool       // nothing more can be written
	goAway      string     // what the peer's GOAWAY said

	busy           bool // somebody has the socket to write
	sending        bool // a packet is under way, perhaps between two of its frames
	partialMessage bool // a packet was left in the middle

	streamID     uint32 // the call's stream; 0: none
	lastStream   uint32 // the highest that the peer has opened
	localClosed  bool   // END_STREAM has been sent, or a reset received
	remoteClosed bool   // END_STREAM or a reset has been received
	control      controlQueue
	framer       *http2.Framer // appends to control

	maxFrame         int   // longest frame that the peer takes
	initialWindow    int64 // the peer's SETTINGS_INITIAL_WINDOW_SIZE
	streamSendWindow int64 // how much the peer takes on the stream; may be negative
	connSendWindow   int64 // and on the connection
	progress         bool  // DATA has been sent since the reader last looked
	flight           flight
}

func newConn(nc net.Conn, client bool, head []byte, o Options) *Conn {
	c := &Conn{nc: nc, client: client, opts: o.withDefaults(), closed: make(chan struct{})}
	c.cond.L = &c.mu
	c.state = state{
		maxFrame: initialMaxFrame, initialWindow: initialWindow,
		streamSendWindow: initialWindow, connSendWindow: initialWindow,
		flight: flight{limit: minInFlight},
	}
	c.state.framer = http2.NewFramer(&c.state.control, nil)
	var src io.Reader = nc
	c.socket = netio.NewSocket(c.netConn())
	if c.socket != nil && c.netConn() == nc {
		src, c.raw = c.socket, c.socket
	} else if tc, ok := nc.(*tls.Conn); ok {
		c.tlsSocket, _ = tc.NetConn().(*socketConn)
	}
	c.reading.init(&countingReader{src, &c.bytesRead}, head, c.flush)
	// The peer may send by these SETTINGS as soon as it has them, and by those of RFC 9113 until it has said so.
	c.reading.streamRecvWindow = max(initialWindow, c.opts.Window)
	_ = c.setReadDeadline(time.Now().Add(c.opts.HandshakeTimeout))
	return c
}

// RemoteAddr returns the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr returns this end's address.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// TLS returns the state of the connection's TLS, nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	tc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	state := tc.ConnectionState()
	return &state
}

// Binding returns what binds a proof to this connection's TLS; see the function Binding.
func (c *Conn) Binding() ([]byte, error) { return Binding(c.TLS()) }

// netConn returns what is below TLS.
func (c *Conn) netConn() net.Conn {
	if tc, ok := c.nc.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return c.nc
}

// BytesReceived returns how many bytes have been read.
func (c *Conn) BytesReceived() uint64 { return c.bytesRead.Load() }

// Unread reports whether there is something that has come in and is yet to be read.
func (c *Conn) Unread() bool { return c.socket != nil && c.socket.Unread() }

// countingReader counts what is read.
type countingReader struct {
	io.Reader
	n *atomic.Uint64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.n.Add(uint64(n))
	return n, err
}

// setReadDeadline sets the deadline of reading while nothing has ended it.
func (c *Conn) setReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.err != nil {
		return c.state.err
	}
	return c.nc.SetReadDeadline(t)
}

// fail ends both directions with err, unless they have ended already, and returns what they ended
// with. It does not block.
func (c *Conn) fail(err error) error { return c.failWith(c.callerError(err), asConnError(err)) }

// failWith is fail with an error that a caller may see.
func (c *Conn) failWith(err error, b *connError) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.err == nil {
		s.err, s.connErr = err, b
		_ = c.nc.SetReadDeadline(aLongTimeAgo)
		c.cond.Broadcast()
	}
	return s.err
}
