package h2serve_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// leaver is a client that notes what it is told while its server drains.
type leaver struct {
	*target
	drain context.CancelFunc
	ended chan struct{}

	mu     sync.Mutex
	notes  []string
	answer bool // to PINGs, at once
}

// leave serves one connection, on which requests of /long are answered once finish is closed.
func leave(t *testing.T, finish chan struct{}) *leaver {
	near, far := net.Pipe()
	drain, cancel := context.WithCancel(t.Context())
	l := &leaver{drain: cancel, answer: true, target: targetOver(t, near, far, h2serve.Options{Drain: drain, Handler: http.HandlerFunc(
		func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/long" {
				<-finish
			}
		})})}
	l.ended = l.frames(l.note)
	l.preface()
	synctest.Wait()
	return l
}

func (l *leaver) note(f http2.Frame) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch f := f.(type) {
	case *http2.GoAwayFrame:
		l.notes = append(l.notes, fmt.Sprintf("go away after %d: %v", f.LastStreamID, f.ErrCode))
	case *http2.PingFrame:
		if l.answer {
			l.do(l.WritePing(true, f.Data))
		}
	case *http2.MetaHeadersFrame:
		l.notes = append(l.notes, fmt.Sprintf("%d: %s", f.StreamID, f.PseudoValue("status")))
	case *http2.RSTStreamFrame:
		l.notes = append(l.notes, fmt.Sprintf("%d: %v", f.StreamID, f.ErrCode))
	}
}

// want checks what the client was told since the last want.
func (l *leaver) want(notes ...string) {
	l.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.notes, notes) {
		l.Errorf("told %q, want %q", l.notes, notes)
	}
	l.notes = nil
}

var asked = fmt.Sprintf("go away after %d: NO_ERROR", math.MaxInt32)

func path(p string) []string { return append(get[:6:6], ":path", p) }

// TestDrain: a client is asked to leave, what it has asked before it knows is answered, and what comes later refused.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		finish := make(chan struct{})
		l := leave(t, finish)
		l.answer = false
		l.head(1, true, path("/long")...)
		synctest.Wait()
		l.drain()
		l.want(asked)
		l.head(3, true, path("/")...)
		l.want("3: 200")
		l.do(l.WritePing(true, [8]byte{'w', 'h', 'o'})) // not the answer that is waited for
		l.want()
		time.Sleep(2 * time.Second) // fake time
		l.want("go away after 3: NO_ERROR")
		l.head(5, true, path("/")...)
		l.want("5: REFUSED_STREAM")
		select {
		case <-l.ended:
			t.Error("the connection has ended over a stream")
		default:
		}
		close(finish)
		<-l.ended
		l.want("1: 200", "go away after 3: NO_ERROR")
	})
}

// TestDrainIdle: a connection without streams ends as soon as its client has read that it is to.
func TestDrainIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := leave(t, nil)
		begin := time.Now()
		l.drain()
		<-l.ended
		l.want(asked, "go away after 0: NO_ERROR", "go away after 0: NO_ERROR")
		if took := time.Since(begin); took > 0 {
			t.Errorf("it ended after %v", took)
		}
	})
}

// TestDrainEarly: a connection that begins while the server drains is told so behind its SETTINGS.
func TestDrainEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		drain, cancel := context.WithCancel(t.Context())
		cancel()
		g := targetOver(t, near, far, h2serve.Options{Drain: drain})
		first := http2.FrameData
		var once sync.Once
		ended := g.frames(func(f http2.Frame) { once.Do(func() { first = f.Header().Type }) })
		g.preface()
		<-ended
		if first != http2.FrameSettings {
			t.Errorf("the first frame is %v", first)
		}
	})
}

// rounds is the context of the connections that are not drained yet.
type rounds struct {
	mu  sync.Mutex
	now context.Context //nolint:containedctx // it is all that this is for
	end context.CancelFunc
}

// next drains all connections that there are.
func (r *rounds) next(t *testing.T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.end != nil {
		r.end()
	}
	r.now, r.end = context.WithCancel(t.Context())
}

func (r *rounds) context() context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// TestDrainClients: net/http's client loses no request when its connections are drained under it, and none is served
// twice. Bodies can be read again: its own race with GOAWAY costs it those that cannot.
func TestDrainClients(t *testing.T) {
	l := listen(t)
	var now rounds
	now.next(t)
	var served sync.WaitGroup
	var requests atomic.Int64
	served.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			o := h2serve.Options{Drain: now.context(), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.Copy(rw, r.Body)
			})}
			served.Go(func() { _ = h2serve.Serve(t.Context(), nc, nil, o) })
		}
	})
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: transport}
	var calls atomic.Int64
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for n := calls.Add(1); n <= 1000; n = calls.Add(1) {
				if n%50 == 0 {
					now.next(t)
				}
				res, err := client.Post("http://"+l.Addr().String(), "text/plain", strings.NewReader("again"))
				if err != nil {
					t.Errorf("request %d: %v", n, err)
					continue
				}
				if got, err := io.Copy(io.Discard, res.Body); err != nil || got != 5 {
					t.Errorf("request %d: %d bytes, %v", n, got, err)
				}
				_ = res.Body.Close()
			}
		})
	}
	callers.Wait()
	_ = l.Close()
	now.next(t)
	transport.CloseIdleConnections()
	served.Wait()
	if got := requests.Load(); got != 1000 {
		t.Errorf("%d requests were served, not 1000", got)
	}
}
