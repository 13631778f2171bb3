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

// longAgo is a deadline that ends a read at once.
var longAgo = time.Unix(1, 0)

// Conn is one Connect bidirectional stream on an HTTP/2 connection of its own. Open and Accept make
// one; who has it closes it. Receive and Buffered belong to one goroutine; all else may be called
// by any, at any time.
//
// Errors are *connect.Error, apart from io.EOF for an end in order.
type Conn struct {
	nc     net.Conn
	raw    tryWriter     // nil where nc is no socket that can be written to without waiting
	below  *netio.Socket // what is under TLS, if that is a socket
	heard  atomic.Uint64 // bytes read
	stage  atomic.Int32  // a Stage
	direct *direct       // under TLS, where that is such a socket
	client bool
	opts   Options

	closing atomic.Bool
	closed  chan struct{}  // when Close is done
	wg      sync.WaitGroup // goroutines that write what must not wait for a writer

	readMu  sync.Mutex // whose turn it is to read; Close alone contends with Receive
	reading reader

	writing writer // of whoever has the socket: state.busy

	crowded  atomic.Bool // state.flight is
	relieved func()

	mu    sync.Mutex // never held while reading or writing
	cond  sync.Cond  // something has changed for those who wait
	state state      // guarded by mu
}

// tryWriter is a socket that can be written to without waiting.
type tryWriter interface {
	// Try returns how much of p the socket took.
	Try(p []byte) (int, error)
}

// state is what readers and writers share.
type state struct {
	err    error   // why both directions are over
	breach *breach // what the peer is told about that
	closed bool    // Close has begun
	deaf   bool    // nothing more will be read
	broken bool    // nothing more can be written
	goAway string  // what the peer's GOAWAY said

	busy    bool // somebody has the socket to write
	sending bool // a packet is under way, perhaps between two of its frames
	partial bool // a packet was left in the middle

	stream     uint32 // the call's stream; 0: none
	lastStream uint32 // the highest that the peer has opened
	answered   bool   // END_STREAM has been sent, or a reset received
	remoteEnd  bool   // END_STREAM or a reset has been received
	control    controlQueue
	frames     *http2.Framer // appends to control

	maxFrame    int   // longest frame that the peer takes
	firstWindow int64 // the peer's SETTINGS_INITIAL_WINDOW_SIZE
	streamOut   int64 // how much the peer takes on the stream; may be negative
	connOut     int64 // and on the connection
	progress    bool  // DATA has been sent since the reader last looked
	flight      flight
}

func newConn(nc net.Conn, client bool, head []byte, o Options) *Conn {
	c := &Conn{nc: nc, client: client, opts: o.withDefaults(), closed: make(chan struct{})}
	c.cond.L = &c.mu
	c.state = state{
		maxFrame: initialMaxFrame, firstWindow: initialWindow,
		streamOut: initialWindow, connOut: initialWindow,
		flight: flight{limit: minFlight},
	}
	c.state.frames = http2.NewFramer(&c.state.control, nil)
	var src io.Reader = nc
	c.below = netio.NewSocket(c.socket())
	if c.below != nil && c.socket() == nc {
		src, c.raw = c.below, c.below
	} else if tc, ok := nc.(*tls.Conn); ok {
		c.direct, _ = tc.NetConn().(*direct)
	}
	c.reading.init(&counted{src, &c.heard}, head, c.flush)
	// The peer may send by these SETTINGS as soon as it has them, and by those of RFC 9113 until it has said so.
	c.reading.streamIn = max(initialWindow, c.opts.Window)
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

// socket returns what is below TLS.
func (c *Conn) socket() net.Conn {
	if tc, ok := c.nc.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return c.nc
}

// Heard returns how many bytes have been read.
func (c *Conn) Heard() uint64 { return c.heard.Load() }

// Unread reports whether there is something that has come in and is yet to be read.
func (c *Conn) Unread() bool { return c.below != nil && c.below.Unread() }

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Uint64
}

func (r *counted) Read(p []byte) (int, error) {
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
func (c *Conn) fail(err error) error { return c.end(c.surface(err), asBreach(err)) }

// end is fail with an error that a caller may see.
func (c *Conn) end(err error, b *breach) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.err == nil {
		s.err, s.breach = err, b
		_ = c.nc.SetReadDeadline(longAgo)
		c.cond.Broadcast()
	}
	return s.err
}
