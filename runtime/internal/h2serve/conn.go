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

	mu    sync.Mutex // never held while reading, writing or calling a Whole
	state state      // guarded by mu, as all below

	deadline time.Time // of writing; whoever writes has it

	out     []byte // frames that wait to be written
	spare   []byte
	writing bool // somebody writes
	broken  bool // nothing more can be written
	control int  // bytes of out that the client has had this end say
	cond    sync.Cond

	partingTimer *time.Timer // once the client was asked to leave

	head     bytes.Buffer // of the encoder
	encoder  *hpack.Encoder
	idleness idleness

	held    []*stream // streams whose answer waits until less is to be written
	waiters []*stream // streams whose answer waits for a window, in turn
}

// state is of the protocol.
type state struct {
	err     error // why the connection is over
	leaving leaving
	final   uint32 // the last stream that is served, once leaving is gone
	breach  *breach
	streams map[uint32]*stream
	open    int              // streams, and handlers that still run
	last    uint32           // the highest stream that the client has opened
	resets  [forgotten]reset // the streams that this end has reset last
	next    int              // where the next one goes

	maxFrame    int   // longest frame that the client takes
	firstWindow int64 // the client's SETTINGS_INITIAL_WINDOW_SIZE
	window      int64 // how much the client takes on the connection
	progress    bool  // DATA has come or gone, or something was answered, since the reader last looked
	in, eaten   int   // how much the client may still send on it, and what has been read since that was told
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
	c.stopParting()
	stop()
	stopIdle()
	c.farewell()
	cancel()
	c.wg.Wait()
	for _, w := range c.reading.wholes {
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
		streams: map[uint32]*stream{}, maxFrame: initialMaxFrame,
		firstWindow: initialWindow, window: initialWindow,
		in: o.ConnWindow,
	}
	c.encoder = hpack.NewEncoder(&c.head)
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
		c.tls = &state
	}
	c.sendSettings()
	in := &c.reading.in
	if err := in.Wait(len(http2.ClientPreface)); err != nil {
		return err
	}
	if !bytes.Equal(in.Next(len(http2.ClientPreface)), []byte(http2.ClientPreface)) {
		return breachf(http2.ErrCodeProtocol, "no HTTP/2 preface")
	}
	return nil
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
	c.state.breach, _ = errors.AsType[*breach](err)
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	var canceled []func()
	for _, st := range c.state.streams {
		canceled = append(canceled, c.endWith(st, errConn))
	}
	c.held, c.waiters = nil, nil
	c.cond.Broadcast()
	c.mu.Unlock()
	for _, f := range canceled {
		f()
	}
	return err
}

// farewell tells the client that the connection ends, and closes it.
func (c *Conn) farewell() {
	kill := time.AfterFunc(lastWords, func() { _ = c.socket().Close() })
	defer kill.Stop()
	c.mu.Lock()
	for c.writing {
		c.cond.Wait()
	}
	b := c.state.breach
	if b == nil {
		b = &breach{code: http2.ErrCodeNo}
	}
	c.putGoAway(c.lastServedLocked(), b)
	c.writing = true // for good
	out, broken := c.out, c.broken
	c.out = nil
	c.mu.Unlock()
	if !broken {
		_ = c.nc.SetWriteDeadline(time.Now().Add(lastWords))
		if _, err := c.nc.Write(out); err == nil {
			c.drain()
		}
	}
	_ = c.nc.Close()
}

// halfCloser is a connection that can end writing alone.
type halfCloser interface{ CloseWrite() error }

// drain lets the client read what was said last: a socket that is closed while there is something to read takes
// what it has not delivered with it.
func (c *Conn) drain() {
	hc, ok := c.nc.(halfCloser)
	if !ok || errors.Is(c.state.err, io.EOF) || hc.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lastWords))
	for p := make([]byte, 4<<10); ; {
		if _, err := c.nc.Read(p); err != nil {
			return
		}
	}
}

// socket returns what is below TLS.
func (c *Conn) socket() net.Conn {
	if tc, ok := c.nc.(*tls.Conn); ok {
		return tc.NetConn()
	}
	return c.nc
}
