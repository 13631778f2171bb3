package h2serve

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// Conn is one connection. Its methods may be called by any goroutine.
type Conn struct {
	nc   net.Conn
	raw  *netio.Socket // nil where nc is no socket that can be written to without waiting
	tls  *tls.ConnectionState
	addr string
	opts Options
	ctx  context.Context //nolint:containedctx // what requests' contexts derive from
	wg   sync.WaitGroup  // handlers, and goroutines that write what the reader must not wait for

	reading reader

	mu    sync.Mutex // never held while reading, writing or calling a BufferedHandler
	state state      // guarded by mu, as all below

	deadline netio.WriteDeadline // belongs to the writer

	out          []byte // frames that wait to be written
	spare        []byte
	writing      bool // somebody writes
	broken       bool // nothing more can be written
	controlBytes int  // bytes of out that are answers to control frames
	cond         sync.Cond

	drainTimer *time.Timer // once the first GOAWAY has been sent

	hpackBuf bytes.Buffer // of the encoder
	encoder  *hpack.Encoder
	idle     idleTimer

	heldResponses []*stream // streams whose answer waits until less is to be written
	pending       []*stream // streams whose answer waits for a window, in turn
}

// state is of the protocol.
type state struct {
	err        error // why the connection is over
	drain      drainState
	lastStream uint32 // the last stream that is served, once leaving is gone
	connErr    *h2core.ConnError
	streams    map[uint32]*stream
	open       int    // streams, and handlers that still run
	lastOpened uint32 // the highest stream that the client has opened
	resets     h2core.ResetStreams

	peer     h2core.Settings
	outflow  h2core.Outflow // of the connection, as inflow
	inflow   h2core.Inflow
	progress bool // DATA has come or gone, or something was answered, since the reader last looked
}

// Serve serves nc until it ends, or ctx does, from which the requests' contexts derive. head is what has been
// read from nc already. It returns why the connection ended, io.EOF if the client closed it, when every
// handler has returned. nc is closed then.
func Serve(ctx context.Context, nc net.Conn, head []byte, o Options) error {
	ctx, cancel := context.WithCancel(context.WithValue(ctx, http.LocalAddrContextKey, nc.LocalAddr()))
	defer cancel()
	c := newConn(ctx, nc, head, o.withDefaults())
	stop := context.AfterFunc(ctx, func() { _ = c.fail(errConn) })
	stopIdle := c.watchIdle()
	err := c.handshake()
	undrain := context.AfterFunc(c.opts.Drain, c.goAway)
	if err == nil {
		err = c.read()
	}
	err = c.fail(err)
	undrain()
	c.stopDrainPing()
	stop()
	stopIdle()
	c.close()
	cancel()
	c.wg.Wait()
	for _, w := range c.reading.buffered {
		w.Close()
	}
	return err
}

func newConn(ctx context.Context, nc net.Conn, head []byte, o Options) *Conn {
	c := &Conn{nc: nc, ctx: ctx, opts: o, addr: nc.RemoteAddr().String()}
	c.cond.L = &c.mu
	var src io.Reader = nc
	if s := netio.NewSocket(nc); s != nil {
		src, c.raw = s, s
	}
	c.state = state{
		streams: map[uint32]*stream{}, peer: h2core.InitialSettings(),
		outflow: h2core.NewOutflow(h2core.InitialWindow), inflow: h2core.NewInflow(o.ConnWindow),
	}
	c.encoder = hpack.NewEncoder(&c.hpackBuf)
	c.reading.init(c, src, head)
	return c
}

// handshake does this end's part of the start, and reads the client's preface.
func (c *Conn) handshake() error {
	_ = c.nc.SetReadDeadline(time.Now().Add(c.opts.HandshakeTimeout))
	if tc, ok := c.nc.(*tls.Conn); ok {
		ctx, cancel := context.WithTimeout(c.ctx, c.opts.HandshakeTimeout)
		defer cancel()
		if err := tc.HandshakeContext(ctx); err != nil {
			return err
		}
		state := tc.ConnectionState()
		if err := h2core.CheckTLS(state); err != nil {
			return h2core.ConnErrorf(http2.ErrCodeInadequateSecurity, "%s", err)
		}
		c.tls = &state
	}
	c.sendSettings()
	return c.reading.frames.Preface()
}

// fail ends the connection with err, unless it has ended already, and returns what it ended with. It does
// not block.
func (c *Conn) fail(err error) error {
	c.mu.Lock()
	if c.state.err != nil {
		defer c.mu.Unlock()
		return c.state.err
	}
	c.state.err = err
	c.state.connErr, _ = errors.AsType[*h2core.ConnError](err)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	var canceled []func()
	for _, st := range c.state.streams {
		canceled = append(canceled, c.closeStreamLocked(st, errConn))
	}
	c.heldResponses, c.pending = nil, nil
	c.cond.Broadcast()
	c.mu.Unlock()
	for _, f := range canceled {
		f()
	}
	return err
}

// close sends a GOAWAY and closes the connection.
func (c *Conn) close() {
	kill := time.AfterFunc(closeTimeout, func() { _ = c.tcpConn().Close() })
	defer kill.Stop()
	c.mu.Lock()
	for c.writing {
		c.cond.Wait()
	}
	b := c.state.connErr
	if b == nil {
		b = &h2core.ConnError{Code: http2.ErrCodeNo}
	}
	c.putGoAwayLocked(c.lastServedLocked(), b)
	c.writing = true // for good
	out, broken := c.out, c.broken
	c.out = nil
	c.mu.Unlock()
	if !broken {
		_ = c.nc.SetWriteDeadline(time.Now().Add(closeTimeout))
		if _, err := c.nc.Write(out); err == nil {
			c.lingerClose()
		}
	}
	_ = c.nc.Close()
}

// lingerClose lets the client read the last frames: closing a socket that has unread input resets the connection, and
// discards what has not been delivered.
func (c *Conn) lingerClose() {
	if errors.Is(c.state.err, io.EOF) || !netio.CloseWrite(c.nc) {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(closeTimeout))
	for p := make([]byte, 4<<10); ; {
		if _, err := c.nc.Read(p); err != nil {
			return
		}
	}
}

// tcpConn returns what is below TLS.
func (c *Conn) tcpConn() net.Conn {
	if tc, ok := c.nc.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return c.nc
}
