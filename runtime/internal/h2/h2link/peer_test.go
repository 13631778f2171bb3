package h2link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// peer is the other end of a Conn, frame by frame.
type peer struct {
	testing.TB
	*http2.Framer
	nc     net.Conn
	writes chan func()
}

func newPeer(t testing.TB, nc net.Conn) *peer {
	p := &peer{TB: t, Framer: http2.NewFramer(nc, nc), nc: nc, writes: make(chan func(), 1000)}
	said := make(chan struct{})
	go func() {
		defer close(said)
		for write := range p.writes {
			write()
		}
	}()
	t.Cleanup(func() {
		close(p.writes)
		_ = nc.Close()
		<-said
	})
	p.AllowIllegalWrites = true
	p.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return p
}

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	return connectTo(t, listen(t))
}

// socketDir returns a directory whose name leaves room for that of a socket, which may have some
// hundred bytes in all.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "h2") //nolint:usetesting // a test's own has its name in it, which is too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func connectTo(t testing.TB, l net.Listener) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// clientOf returns a client, frame by frame, of a Conn that handle has, over TCP. What became of the
// Conn comes over the channel.
func clientOf(t testing.TB, o Options, handle func(*Conn) error) (*peer, <-chan error) {
	t.Helper()
	near, far := tcpPair(t)
	return clientOver(t, near, far, o, handle)
}

func clientOver(t testing.TB, near, far net.Conn, o Options, handle func(*Conn) error) (*peer, <-chan error) {
	t.Helper()
	p := newPeer(t, near)
	result := p.run(far, func() error {
		c, err := Accept(far, o)
		if err != nil {
			return err
		}
		err = handle(c)
		c.Close(err)
		return err
	})
	return p, result
}

// serverOf returns a server, frame by frame, of a Conn that use has, over TCP.
func serverOf(t testing.TB, o Options, use func(*Conn) error) (*peer, <-chan error) {
	t.Helper()
	far, near := tcpPair(t)
	return serverOver(t, near, far, o, use)
}

func serverOver(t testing.TB, near, far net.Conn, o Options, use func(*Conn) error) (*peer, <-chan error) {
	t.Helper()
	p := newPeer(t, near)
	result := p.run(far, func() error {
		c, err := Open(t.Context(), far, "node.test", o)
		if err != nil {
			return err
		}
		err = use(c)
		c.Close(err)
		return err
	})
	return p, result
}

// run runs the other end, until the test ends at the latest.
func (p *peer) run(far net.Conn, end func() error) <-chan error {
	result, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		result <- end()
	}()
	p.Cleanup(func() {
		_ = p.nc.Close()
		_ = far.Close()
		<-done
	})
	return result
}

// wantError takes the result of the other end, which must be an error with the code that says part.
func wantError(t testing.TB, result <-chan error, code connect.Code, part string) {
	t.Helper()
	err := <-result
	if err == nil || connect.CodeOf(err) != code || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want %s and %q in it", err, code, part)
	}
}

// drainConn receives until that ends.
func drainConn(c *Conn) error {
	for {
		if _, err := c.Receive(); err != nil {
			return err
		}
	}
}

// enqueue has write called after what was said before. It does not wait for it: a pipe takes it only
// when the other end reads.
func (p *peer) enqueue(write func()) { p.writes <- write }

// check fails the test if one of the writes failed. Any goroutine may call it.
func (p *peer) check(errs ...error) {
	p.Helper()
	if err := errors.Join(errs...); err != nil {
		p.Error(err)
	}
}

func (p *peer) preface(settings ...http2.Setting) {
	p.Helper()
	_, err := io.WriteString(p.nc, http2.ClientPreface)
	p.check(err, p.WriteSettings(settings...))
}

var callHead = []string{
	":method", "POST", ":scheme", "http", ":authority", "node.test", ":path", Procedure,
	"content-type", contentType, "connect-protocol-version", "1",
}

// head writes HEADERS of name and value pairs.
func (p *peer) head(stream uint32, end bool, pairs ...string) {
	p.Helper()
	p.check(p.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: encodeHeaderBlock(pairs...), EndStream: end, EndHeaders: true,
	}))
}

// call opens the call on stream 1.
func (p *peer) call() {
	p.Helper()
	p.preface()
	p.head(1, false, callHead...)
}

// answer takes the request of a client and answers it.
func (p *peer) answer() {
	p.Helper()
	p.request()
	p.check(p.WriteSettings())
	p.head(1, false, ":status", "200", "content-type", contentType)
}

// request reads a client's preface and request.
func (p *peer) request() *http2.MetaHeadersFrame {
	p.Helper()
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(p.nc, preface); err != nil || string(preface) != http2.ClientPreface {
		p.Fatalf("read %q, %v", preface, err)
	}
	return await[*http2.MetaHeadersFrame](p)
}

// await reads frames until one is an F.
func await[F http2.Frame](p *peer) F {
	p.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		f, err := p.ReadFrame()
		if err != nil {
			var none F
			p.Fatalf("waiting for a %T: %v", none, err)
		}
		if f, ok := f.(F); ok {
			return f
		}
	}
}

// wantGoAway reads frames until a GOAWAY, which must have the code.
func (p *peer) wantGoAway(code http2.ErrCode) {
	p.Helper()
	if f := await[*http2.GoAwayFrame](p); f.ErrCode != code {
		p.Errorf("got GOAWAY %s %q, want %s", f.ErrCode, f.DebugData(), code)
	}
}

// wantData reads DATA frames until they make up want.
func (p *peer) wantData(want []byte) {
	p.Helper()
	var got []byte
	for len(got) < len(want) {
		got = append(got, await[*http2.DataFrame](p).Data()...)
	}
	if !bytes.Equal(got, want) {
		p.Errorf("got DATA %q, want %q", got, want)
	}
}

// flood writes what frame does until the peer has had enough, which it must say with the code.
func (p *peer) flood(code http2.ErrCode, frame func(i uint32) error) {
	p.Helper()
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		for i := range uint32(1 << 20) {
			if frame(i) != nil {
				return
			}
		}
	}()
	defer func() {
		_ = p.nc.Close()
		<-stop
	}()
	p.wantGoAway(code)
}

// envelope is a message as it stands in DATA.
func envelope(flags byte, body string) []byte {
	p := packet([]byte(body))
	_ = putPrefix(p, flags)
	return p[prefixOffset:]
}
