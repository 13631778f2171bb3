package h2link

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
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

	writing writer // belongs to who has the socket: state.socket

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
	phase   phase
	err     error             // why both directions have ended; nil: they have not
	connErr *h2core.ConnError // what the GOAWAY has, nil: NO_ERROR
	goAway  string            // the peer's GOAWAY, as text

	socket   socketState
	writeErr error // why nothing more can be written
	message  messageState
	control  controlQueue

	stream     h2core.StreamState // that of the call
	streamID   uint32             // its id; 0: none
	lastStream uint32             // the highest that the peer has opened

	peer          h2core.Settings
	streamOutflow h2core.Outflow
	connOutflow   h2core.Outflow
	flight        flight
}

// phase is how far a connection has come to its end.
//
//	phaseOpen -- Close --> phaseClosing -- the peer has closed, or its time is over --> phaseStopped
//	     '----------------------- abort ---------------------------------------------------^
type phase uint8

const (
	phaseOpen    phase = iota
	phaseClosing       // what the peer asks for is not answered any more
	phaseStopped       // nothing more is read, so no window will be granted
)

// socketState says who has the socket to write.
type socketState uint8

const (
	socketFree    socketState = iota
	socketBusy                // a Send, a TrySend, or one who writes control frames
	socketClosing             // Close, for good
)

// messageState is where Send is.
//
//	noMessage <-- Send --> messageSending -- the connection ends --> messageCut
type messageState uint8

const (
	noMessage      messageState = iota
	messageSending              // a Send has its turn, perhaps between two DATA frames
	messageCut                  // some of a message has been sent, and no more will be
)

func newConn(nc net.Conn, client bool, head []byte, o Options) *Conn {
	c := &Conn{nc: nc, client: client, opts: o.withDefaults(), closed: make(chan struct{})}
	c.cond.L = &c.mu
	c.state = state{
		peer:          h2core.InitialSettings(),
		streamOutflow: h2core.NewOutflow(h2core.InitialWindow), connOutflow: h2core.NewOutflow(h2core.InitialWindow),
		flight: flight{limit: minInFlight},
	}
	var src io.Reader = nc
	c.socket = netio.NewSocket(c.netConn())
	if c.socket != nil && c.netConn() == nc {
		src = c.socket
		c.raw = c.socket
	} else if tc, ok := nc.(*tls.Conn); ok {
		c.tlsSocket, _ = tc.NetConn().(*socketConn)
	}
	c.reading.init(&countingReader{src, &c.bytesRead}, head, c.flush, c.opts.Window)
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
func (c *Conn) fail(err error) error {
	connErr, _ := errors.AsType[*h2core.ConnError](err)
	return c.failWith(c.callerError(err), connErr)
}

// failWith is fail with an error that a caller may see.
func (c *Conn) failWith(err error, connErr *h2core.ConnError) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.err == nil {
		s.err = err
		s.connErr = connErr
		_ = c.nc.SetReadDeadline(aLongTimeAgo)
		c.cond.Broadcast()
	}
	return s.err
}
