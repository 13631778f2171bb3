package h2serve_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// target is a connection of package h2serve that a test attacks, frame by frame.
type target struct {
	*peer

	result  chan error   // of Serve
	running atomic.Int32 // handlers
	most    atomic.Int32
	served  atomic.Int32
}

func tcpPair(t testing.TB) (near, far net.Conn) {
	t.Helper()
	l := listen(t)
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if far, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return near, far
}

func newTarget(t testing.TB, o h2serve.Options) *target {
	t.Helper()
	near, far := tcpPair(t)
	return targetOver(t, near, far, o)
}

func targetOver(t testing.TB, near, far net.Conn, o h2serve.Options) *target {
	t.Helper()
	g := &target{peer: newPeer(t, near), result: make(chan error, 1)}
	if o.Handler == nil {
		o.Handler = http.HandlerFunc(drain)
	}
	o.Handler = g.counting(o.Handler)
	ctx, cancel := context.WithCancel(context.Background()) //nolint:usetesting // it ends before the test's
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.result <- h2serve.Serve(ctx, far, nil, o)
	}()
	t.Cleanup(func() {
		_ = near.Close()
		cancel()
		<-done
		if n := g.running.Load(); n != 0 {
			t.Errorf("%d handlers run when Serve has returned", n)
		}
	})
	return g
}

func (g *target) counting(h http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n := g.running.Add(1)
		for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
		}
		g.served.Add(1)
		defer g.running.Add(-1)
		h.ServeHTTP(rw, r)
	})
}

// drain answers what has been read whole.
func drain(rw http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err == nil {
		_, _ = io.WriteString(rw, "drained")
	}
}

// wedged is a handler that does not heed its context.
func wedged(free <-chan struct{}) http.HandlerFunc {
	return func(http.ResponseWriter, *http.Request) { <-free }
}

func await[F http2.Frame](p *peer) F {
	p.Helper()
	for {
		f, ok := p.next()
		if !ok {
			var none F
			p.Fatalf("the connection has ended before a %T", none)
		}
		if f, ok := f.(F); ok {
			return f
		}
		if f, ok := f.(*http2.GoAwayFrame); ok {
			p.Logf("GOAWAY %s %q", f.ErrCode, f.DebugData())
		}
	}
}

// wantGoAway reads until a GOAWAY, which must have the code, and the end of the connection.
func (g *target) wantGoAway(code http2.ErrCode) {
	g.Helper()
	if f := await[*http2.GoAwayFrame](g.peer); f.ErrCode != code {
		g.Errorf("got GOAWAY %s %q, want %s", f.ErrCode, f.DebugData(), code)
	}
	_ = g.nc.Close()
	g.wantError(code.String())
}

// wantError waits for Serve to return, with an error that has part in it.
func (g *target) wantError(part string) {
	g.Helper()
	if err := <-g.result; err == nil || !strings.Contains(err.Error(), part) {
		g.Errorf("Serve returned %v, want %q in it", err, part)
	}
}

// wantReset reads until the stream is reset with the code, and then that the connection goes on.
func (g *target) wantReset(id uint32, code http2.ErrCode) {
	g.Helper()
	for {
		if f := await[*http2.RSTStreamFrame](g.peer); f.StreamID == id {
			if f.ErrCode != code {
				g.Errorf("got RST_STREAM %s, want %s", f.ErrCode, code)
			}
			break
		}
	}
	g.wantAlive()
}

// wantAlive pings.
func (g *target) wantAlive() {
	g.Helper()
	g.do(g.WritePing(false, [8]byte{'a', 'l', 'i', 'v', 'e'}))
	for await[*http2.PingFrame](g.peer).Data[0] != 'a' {
	}
}

// call opens stream 1.
func (g *target) call() {
	g.Helper()
	g.preface()
	g.head(1, false, get...)
}

// flood writes what frame does until the server has had enough, which it must say with the code.
func (g *target) flood(code http2.ErrCode, frame func(i uint32) error) {
	g.Helper()
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
		_ = g.nc.Close()
		<-stop
	}()
	g.wantGoAway(code)
}

func open(p *peer, id uint32, end bool) error {
	return p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: encode(get...), EndHeaders: true, EndStream: end})
}

func TestFloods(t *testing.T) {
	floods := map[string]func(p *peer, i uint32) error{
		"rapid reset": func(p *peer, i uint32) error {
			return errors.Join(open(p, 3+2*i, false), p.WriteRSTStream(3+2*i, http2.ErrCodeCancel))
		},
		"rapid reset of whole requests": func(p *peer, i uint32) error {
			return errors.Join(open(p, 3+2*i, true), p.WriteRSTStream(3+2*i, http2.ErrCodeCancel))
		},
		"made you reset, by windows": func(p *peer, i uint32) error {
			return errors.Join(open(p, 3+2*i, true), p.WriteWindowUpdate(3+2*i, 0))
		},
		"made you reset, by large windows": func(p *peer, i uint32) error {
			return errors.Join(open(p, 3+2*i, true), p.WriteWindowUpdate(3+2*i, h2serve.MaxWindow))
		},
		"made you reset, by DATA": func(p *peer, i uint32) error {
			return errors.Join(open(p, 3+2*i, true), p.WriteData(3+2*i, true, nil))
		},
		"made you reset, by priority": func(p *peer, i uint32) error {
			return errors.Join(open(p, 3+2*i, true), p.WritePriority(3+2*i, http2.PriorityParam{StreamDep: 3 + 2*i}))
		},
		"made you reset, by headers": func(p *peer, i uint32) error {
			return p.WriteHeaders(http2.HeadersFrameParam{
				StreamID: 3 + 2*i, BlockFragment: encode("x", "no request"), EndHeaders: true, EndStream: true,
			})
		},
		"made you reset, by trailers": func(p *peer, i uint32) error {
			return errors.Join(open(p, 3+2*i, false), open(p, 3+2*i, true))
		},
		"SETTINGS":      func(p *peer, _ uint32) error { return p.WriteSettings() },
		"PING":          func(p *peer, _ uint32) error { return p.WritePing(false, [8]byte{}) },
		"PING ack":      func(p *peer, _ uint32) error { return p.WritePing(true, [8]byte{}) },
		"empty DATA":    func(p *peer, _ uint32) error { return p.WriteData(1, false, nil) },
		"padding":       func(p *peer, _ uint32) error { return p.WriteDataPadded(1, false, nil, make([]byte, 9)) },
		"WINDOW_UPDATE": func(p *peer, _ uint32) error { return p.WriteWindowUpdate(0, 1) },
		"WINDOW_UPDATE of a stream": func(p *peer, _ uint32) error {
			return p.WriteWindowUpdate(1, 1)
		},
		"PRIORITY": func(p *peer, _ uint32) error {
			return p.WritePriority(1, http2.PriorityParam{StreamDep: 3})
		},
		"PRIORITY of idle streams": func(p *peer, i uint32) error {
			return p.WritePriority(3+2*i, http2.PriorityParam{StreamDep: 1})
		},
		"unknown frames": func(p *peer, _ uint32) error { return p.WriteRawFrame(0xfe, 0, 1, []byte("x")) },
		"GOAWAY":         func(p *peer, _ uint32) error { return p.WriteGoAway(0, http2.ErrCodeNo, nil) },
		"settings that change the window": func(p *peer, i uint32) error {
			return p.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: i % 2})
		},
		"settings that change the table": func(p *peer, i uint32) error {
			return p.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: i % 4096})
		},
	}
	for name, frame := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newTarget(t, h2serve.Options{MaxStreams: 20})
			g.call()
			g.flood(http2.ErrCodeEnhanceYourCalm, func(i uint32) error { return frame(g.peer, i) })
			if most := g.most.Load(); most > 20 {
				t.Errorf("%d handlers ran at once", most)
			}
		})
	}
}

// Streams that are refused because too many handlers run cost nothing but the frame, and not for ever.
func TestFloodOfRequests(t *testing.T) {
	free := make(chan struct{})
	g := newTarget(t, h2serve.Options{MaxStreams: 20, Handler: wedged(free)})
	t.Cleanup(func() { close(free) })
	g.preface()
	// Resets do not make room: the handlers have not returned.
	go func() {
		for i := range uint32(1 << 20) {
			if errors.Join(open(g.peer, 1+2*i, true), g.WriteRSTStream(1+2*i, http2.ErrCodeCancel)) != nil {
				return
			}
		}
	}()
	if f := await[*http2.RSTStreamFrame](g.peer); f.ErrCode != http2.ErrCodeRefusedStream || f.StreamID != 41 {
		t.Errorf("got %v %s", f, f.ErrCode)
	}
	if f := await[*http2.GoAwayFrame](g.peer); f.ErrCode != http2.ErrCodeEnhanceYourCalm {
		t.Errorf("got %v", f)
	}
	for g.served.Load() < 20 {
		runtime.Gosched() // they have been started, and begin
	}
	if n := g.served.Load(); n != 20 {
		t.Errorf("%d handlers ran", n)
	}
}

func TestHeaderFloods(t *testing.T) {
	floods := map[string]func(p *peer, i uint32) error{
		"empty": func(p *peer, _ uint32) error { return p.WriteContinuation(1, false, nil) },
		"short": func(p *peer, _ uint32) error { return p.WriteContinuation(1, false, encode("x", "1")) },
		"long": func(p *peer, _ uint32) error {
			return p.WriteContinuation(1, false, encode("x", strings.Repeat("1", 10_000)))
		},
	}
	for name, frame := range floods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := newTarget(t, h2serve.Options{MaxHeader: 16 << 10})
			g.preface()
			g.do(g.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encode(get...)}))
			g.flood(http2.ErrCodeEnhanceYourCalm, func(i uint32) error { return frame(g.peer, i) })
		})
	}
}

// Headers that are in the table cost a byte each, and are answered without being kept.
func TestHeaderBomb(t *testing.T) {
	g := newTarget(t, h2serve.Options{MaxHeader: 16 << 10})
	g.preface()
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for round := range uint32(5) {
		b.Reset()
		for i := 0; i < len(get); i += 2 {
			_ = e.WriteField(hpack.HeaderField{Name: get[i], Value: get[i+1]})
		}
		for range 10_000 {
			_ = e.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("y", 3000)})
		}
		g.do(g.WriteHeaders(http2.HeadersFrameParam{StreamID: 1 + 2*round, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true}))
		if f := await[*http2.MetaHeadersFrame](g.peer); f.PseudoValue("status") != "431" {
			t.Errorf("got status %s", f.PseudoValue("status"))
		}
	}
	if n := g.served.Load(); n != 0 {
		t.Errorf("%d requests got to the handler", n)
	}
	// What has been seen of the table before is right after.
	b.Reset()
	for i := 0; i < len(get); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: get[i], Value: get[i+1]})
	}
	g.do(g.WriteHeaders(http2.HeadersFrameParam{StreamID: 101, BlockFragment: b.Bytes(), EndHeaders: true, EndStream: true}))
	if f := await[*http2.MetaHeadersFrame](g.peer); f.PseudoValue("status") != "200" {
		t.Errorf("got status %s", f.PseudoValue("status"))
	}
}

// Up to its limits a client may do what is useless.
func TestLimitsAreExact(t *testing.T) {
	t.Run("frames", func(t *testing.T) {
		g := newTarget(t, h2serve.Options{})
		g.call()
		g.wantAlive()
		g.do(g.WriteData(1, true, nil))
		await[*http2.DataFrame](g.peer) // makes room for as many again
		for range 2*h2serve.MaxIdleFrames - 10 {
			g.do(g.WritePing(true, [8]byte{}))
		}
		g.wantAlive()
		for range 10 {
			_ = g.WritePing(true, [8]byte{})
		}
		g.wantGoAway(http2.ErrCodeEnhanceYourCalm)
	})
	t.Run("resets", func(t *testing.T) {
		g := newTarget(t, h2serve.Options{})
		g.preface()
		for i := range uint32(h2serve.MaxResets) {
			g.do(open(g.peer, 1+2*i, false), g.WriteRSTStream(1+2*i, http2.ErrCodeCancel))
			for i%100 == 99 && (g.served.Load() <= int32(i) || g.running.Load() > 0) { // or streams would be refused
				runtime.Gosched()
			}
		}
		g.wantAlive()
		_ = errors.Join(open(g.peer, 100_001, false), g.WriteRSTStream(100_001, http2.ErrCodeCancel))
		g.wantGoAway(http2.ErrCodeEnhanceYourCalm)
	})
	t.Run("streams", func(t *testing.T) {
		g := newTarget(t, h2serve.Options{MaxStreams: 3})
		g.preface()
		for id := uint32(1); id <= 7; id += 2 {
			g.head(id, false, get...)
		}
		g.wantReset(7, http2.ErrCodeRefusedStream)
		g.do(g.WriteData(1, true, nil))
		await[*http2.DataFrame](g.peer)
		g.wantAlive()
		g.head(9, true, get...)
		await[*http2.DataFrame](g.peer)
	})
}
