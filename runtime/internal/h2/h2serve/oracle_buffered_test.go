package h2serve_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// prompt is a BufferedHandler that answers at once.
type prompt struct {
	resp  h2serve.Response
	given atomic.Int32
}

func (p *prompt) NewBufferedHandler() h2serve.BufferedHandler { return p }
func (p *prompt) Wants(*h2serve.Request) bool                 { return true }

func (*prompt) Length(*h2serve.Request, []byte) int { return 0 }

func (p *prompt) Flush() {}
func (p *prompt) Close() {}
func (p *prompt) Handle(r *h2serve.Request) bool {
	p.given.Add(1)
	resp := p.resp
	r.Respond(&resp)
	return true
}

// TestBufferedAnswersNotRead has a client that asks, and never reads. What is held for it is bounded, be it the
// windows that bound it or, where answers have no body, the streams.
func TestBufferedAnswersNotRead(t *testing.T) {
	head := []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "x", Value: strings.Repeat("x", 1<<10), Sensitive: true}}
	trailer := []hpack.HeaderField{{Name: "grpc-status", Value: "0", Sensitive: true}}
	for name, body := range map[string][][]byte{"no body": nil, "short": {[]byte("hello")}, "long": {make([]byte, 1<<20)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &prompt{resp: h2serve.Response{Head: head, Body: body, Trailer: trailer}}
			near, far := net.Pipe()
			g := targetOver(t, near, far, h2serve.Options{
				MaxStreams: 20, WriteTimeout: 500 * time.Millisecond,
				Buffered: func(*h2serve.Request) h2serve.BufferedHandlers { return p },
			})
			go func() { _, _ = io.ReadFull(g.nc, make([]byte, 10)) }() // the pipe has no buffer: the handshake goes on
			g.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2serve.MaxWindow})
			g.do(g.WriteWindowUpdate(0, h2serve.MaxWindow-65535))
			for id := uint32(1); ; id += 2 {
				if errors.Join(open(g.peer, id, false), g.WriteData(id, true, []byte("x"))) != nil {
					break // the server has ended it
				}
			}
			g.wantError("")
			if n := p.given.Load(); n > 2*300+20 {
				t.Errorf("%d requests were answered", n)
			}
		})
	}
}

// TestBufferedAnswersReadLate has the same client read after all: every answer comes, in full.
func TestBufferedAnswersReadLate(t *testing.T) {
	const requests = 900
	head := []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "x", Value: strings.Repeat("x", 1<<10), Sensitive: true}}
	p := &prompt{resp: h2serve.Response{
		Head: head, Body: [][]byte{make([]byte, 5), make([]byte, 2000)}, Trailer: []hpack.HeaderField{{Name: "end", Value: "well"}},
	}}
	near, far := net.Pipe()
	g := targetOver(t, near, far, h2serve.Options{
		MaxStreams: requests, Buffered: func(*h2serve.Request) h2serve.BufferedHandlers { return p },
		WriteTimeout: patience, // the client reads nothing while it asks, however long that takes
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { // has what was long in coming
			_, _ = rw.Write(make([]byte, 2005))
			rw.Header().Set(http.TrailerPrefix+"End", "well")
		}),
	})
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		g.preface(http2.Setting{ID: http2.SettingInitialWindowSize, Val: h2serve.MaxWindow})
		g.do(g.WriteWindowUpdate(0, h2serve.MaxWindow-65535))
		for i := range uint32(requests) {
			g.do(open(g.peer, 1+2*i, false), g.WriteData(1+2*i, true, []byte("x")))
		}
	}()
	<-asked
	got := 0
	for ended := 0; ended < requests; {
		f, ok := g.next()
		if !ok {
			t.Fatalf("the connection ended after %d answers", ended)
		}
		switch f := f.(type) {
		case *http2.DataFrame:
			got += len(f.Data())
		case *http2.MetaHeadersFrame:
			if f.StreamEnded() {
				ended++
			}
		}
	}
	if got != requests*2005 {
		t.Errorf("got %d bytes", got)
	}
}

// patient is a BufferedHandler that takes requests and does not answer.
type patient struct {
	handled  chan *h2serve.Request
	canceled chan string
}

func newPatient() *patient {
	return &patient{handled: make(chan *h2serve.Request, 10), canceled: make(chan string, 10)}
}

func (p *patient) NewBufferedHandler() h2serve.BufferedHandler { return p }
func (p *patient) Wants(*h2serve.Request) bool                 { return true }

func (*patient) Length(*h2serve.Request, []byte) int { return 0 }

func (p *patient) Flush() {}
func (p *patient) Close() {}
func (p *patient) Handle(r *h2serve.Request) bool {
	path := r.Path
	r.OnCancel(func() { p.canceled <- path })
	p.handled <- r
	return true
}

// TestBufferedDrain has requests that do not come whole: the Handler has them.
func TestBufferedDrain(t *testing.T) {
	tests := map[string]func(g *target){
		"stalls": func(*target) {},
		"stalls within a frame": func(g *target) {
			_, _ = g.nc.Write([]byte{0, 0, 100, 0, 0, 0, 0, 0, 1, 'x'})
		},
		"stalls, while pings come": func(g *target) {
			for g.served.Load() == 0 {
				g.wantAlive()
				<-time.After(time.Millisecond) // more would be a flood
			}
		},
		"comes byte by byte": func(g *target) {
			for g.served.Load() == 0 {
				g.do(g.WriteData(1, false, []byte("x")))
				g.wantAlive()
				<-time.After(time.Millisecond)
			}
		},
		"is too long": func(g *target) {
			go func() {
				for sent := 0; sent <= h2serve.MaxBufferedBody; sent += 1 << 10 {
					if g.WriteData(1, false, make([]byte, 1<<10)) != nil {
						return
					}
				}
			}()
		},
		"has trailers": func(g *target) { g.head(1, true, "x", "y") },
	}
	for name, send := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient()
			begun := make(chan struct{})
			g := newTarget(t, h2serve.Options{
				Buffered: func(*h2serve.Request) h2serve.BufferedHandlers { return p },
				Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					close(begun)
					<-r.Context().Done()
				}),
				StreamWindow: 2 * h2serve.MaxBufferedBody, ConnWindow: 2 * h2serve.MaxBufferedBody,
			})
			g.call()
			send(g)
			<-begun
			_ = g.nc.Close()
			if len(p.handled) > 0 {
				t.Error("the BufferedHandler has it too")
			}
		})
	}
}

// TestBufferedCanceled has clients that let go of requests that have been taken.
func TestBufferedCanceled(t *testing.T) {
	ends := map[string]func(g *target){
		"reset":           func(g *target) { g.do(g.WriteRSTStream(1, http2.ErrCodeCancel)) },
		"breach":          func(g *target) { g.do(g.WriteWindowUpdate(1, 0)) },
		"DATA after it":   func(g *target) { g.do(g.WriteData(1, true, []byte("x"))) },
		"connection lost": func(g *target) { _ = g.nc.Close() },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPatient()
			g := newTarget(t, h2serve.Options{Buffered: func(*h2serve.Request) h2serve.BufferedHandlers { return p }})
			g.call()
			g.do(g.WriteData(1, true, []byte("x")))
			r := <-p.handled
			end(g)
			if path := <-p.canceled; path != "/" {
				t.Errorf("%q was canceled", path)
			}
			r.Respond(answer([]byte("late")))
			r.Conn().Flush()
			_ = g.nc.Close()
			<-g.result
			if len(p.canceled) > 0 {
				t.Error("canceled twice")
			}
		})
	}
	t.Run("answered", func(t *testing.T) {
		p := newPatient()
		g := newTarget(t, h2serve.Options{Buffered: func(*h2serve.Request) h2serve.BufferedHandlers { return p }})
		g.call()
		g.do(g.WriteData(1, true, []byte("x")))
		r := <-p.handled
		r.Respond(answer([]byte("hello")))
		r.Conn().Flush()
		await[*http2.DataFrame](g.peer)
		g.do(g.WriteRSTStream(1, http2.ErrCodeCancel))
		_ = g.nc.Close()
		<-g.result
		if len(p.canceled) > 0 {
			t.Error("canceled after the answer")
		}
	})
}
