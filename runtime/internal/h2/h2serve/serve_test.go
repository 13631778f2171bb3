package h2serve

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2/hpack"
)

func TestMain(m *testing.M) {
	// net/http's server, which ours is compared with, does not wait for its connections.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("net/http.(*http2serverConn).serve"), goleak.IgnoreAnyFunction("net/http.(*http2serverConn).readFrames"))
}

// echo is a BufferedHandler that answers with the request's body, from a goroutine of its own.
type echo struct {
	wants  func(*Request) bool
	length func(begin []byte) int
	handle func(*Request) bool
	flush  func()
}

func (e *echo) Wants(r *Request) bool { return e.wants == nil || e.wants(r) }

func (e *echo) Length(_ *Request, begin []byte) int {
	if e.length == nil {
		return 0
	}
	return e.length(begin)
}

func (e *echo) Handle(r *Request) bool {
	if e.handle != nil {
		return e.handle(r)
	}
	body := r.Body
	if !r.Owned {
		body = bytes.Clone(body)
	}
	conn := r.Conn()
	go func() {
		r.Respond(answer(body))
		conn.Flush()
	}()
	return true
}

func (e *echo) Flush() {
	if e.flush != nil {
		e.flush()
	}
}

func (e *echo) Close() {}

// source makes BufferedHandlers.
type source struct{ BufferedHandler }

func (s *source) NewBufferedHandler() BufferedHandler { return s.BufferedHandler }

// by has w take what it wants.
func by(w BufferedHandler) func(*Request) BufferedHandlers {
	s := &source{w}
	return func(*Request) BufferedHandlers { return s }
}

func answer(body []byte) *Response {
	return &Response{
		Head:    []hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "by", Value: "whole"}},
		Body:    [][]byte{body},
		Trailer: []hpack.HeaderField{{Name: "end", Value: "well"}},
	}
}

// serveTCP serves connections until the test ends, and returns the address.
func serveTCP(t testing.TB, o Options) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { _ = Serve(t.Context(), nc, nil, o) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func client(t testing.TB) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: time.Minute}
}

func handler(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("By", "handler")
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	_, _ = w.Write(b)
	w.Header().Set(http.TrailerPrefix+"End", "well")
}

func post(t *testing.T, c *http.Client, addr, body string) (by, end, got string) {
	t.Helper()
	res, err := c.Post("http://"+addr+"/a?b=c", "text/plain", io.MultiReader(strings.NewReader(body)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.Header.Get("By"), res.Trailer.Get("End"), string(b)
}

func TestServe(t *testing.T) {
	for name, source := range map[string]func(*Request) BufferedHandlers{"handler": nil, "whole": by(&echo{})} {
		t.Run(name, func(t *testing.T) {
			addr := serveTCP(t, Options{Handler: http.HandlerFunc(handler), Buffered: source})
			c := client(t)
			var wg sync.WaitGroup
			for i := range 50 {
				wg.Go(func() {
					body := strings.Repeat("x", i*i)
					by, end, got := post(t, c, addr, body)
					if got != body || end != "well" || by != "handler" && name == "handler" {
						t.Errorf("%d: got %.10q by %q, %q", i, got, by, end)
					}
				})
			}
			wg.Wait()
			// Whose one is depends on how fast it comes: on a busy machine the first may be too slow.
			for by := ""; by != name; {
				by, _, _ = post(t, c, addr, "x")
			}
			for _, size := range []int{70_000, MaxBufferedBody} {
				body := strings.Repeat("y", size)
				if _, end, got := post(t, c, addr, body); got != body || end != "well" {
					t.Errorf("%d bytes: got %d, %q", size, len(got), end)
				}
			}
			body := strings.Repeat("z", MaxBufferedBody+1)
			if by, end, got := post(t, c, addr, body); got != body || end != "well" || by != "handler" {
				t.Errorf("long: got %d by %q, %q", len(got), by, end)
			}
		})
	}
}

// A body that trickles in is the Handler's after a while, which has deadlines, however often a piece comes.
func TestTricklingBody(t *testing.T) {
	served := make(chan struct{})
	addr := serveTCP(t, Options{Buffered: by(&echo{}), Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(served)
		_, _ = io.Copy(io.Discard, r.Body)
	})})
	pr, pw := io.Pipe()
	stop := make(chan struct{})
	go func() {
		defer pw.Close()
		tick := time.NewTicker(bufferTimeout / 4)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_, _ = pw.Write([]byte("x"))
			case <-stop:
				return
			}
		}
	}()
	go func() {
		select {
		case <-served:
		case <-time.After(time.Minute):
			t.Error("it was not served")
		}
		close(stop)
	}()
	res, err := client(t).Post("http://"+addr+"/", "text/plain", pr)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}
