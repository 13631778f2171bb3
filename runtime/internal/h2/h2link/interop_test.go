package h2link

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
)

var errRefused = connect.NewError(connect.CodePermissionDenied, "not you: \"x\" \u00e9").
	WithDetail(&connect.ErrorDetail{Type: "rpcmesh.v1.CallFailure", Value: []byte{8, 1, 0xff}})

// echo answers each message with itself, and "fail" with errRefused.
func echo(s stream) error {
	for {
		p, err := s.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if string(p) == "fail" {
			return errRefused
		}
		if err := s.Send(p); err != nil {
			return err
		}
	}
}

// echoConn is echo with a goroutine that always reads, as a Conn needs it.
func echoConn(c *Conn) error { return echo(&readAhead{Conn: c}) }

// readAhead reads on while others do not receive.
type readAhead struct {
	*Conn
	once  sync.Once
	mu    sync.Mutex
	cond  sync.Cond
	queue [][]byte
	err   error
}

func (r *readAhead) Send(p []byte) error { return r.Conn.Send(packet(p)) }

func (r *readAhead) Receive() ([]byte, error) {
	r.once.Do(func() {
		r.cond.L = &r.mu
		go r.read()
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 {
		if r.err != nil {
			return nil, r.err
		}
		r.cond.Wait()
	}
	p := r.queue[0]
	r.queue = r.queue[1:]
	return p, nil
}

func (r *readAhead) read() {
	for {
		p, err := r.Conn.Receive()
		r.mu.Lock()
		if r.err = err; err == nil {
			r.queue = append(r.queue, bytes.Clone(p))
		}
		r.cond.Signal()
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func listenTLS(t testing.TB, cfg *tls.Config) (inner, l net.Listener) {
	t.Helper()
	inner = listen(t)
	if cfg == nil {
		return inner, inner
	}
	return inner, tls.NewListener(inner, cfg)
}

// stockTLS is what a server that knows nothing of links has.
func stockTLS(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"h2", "http/1.1"}
	return cfg
}

type server struct {
	name  string
	start func(t testing.TB, cfg *tls.Config, o Options) (addr string)
}

var allServers = []server{
	{"own", func(t testing.TB, cfg *tls.Config, o Options) string {
		inner, l := listenTLS(t, cfg)
		serveConns(t, l, o, echoConn)
		return inner.Addr().String()
	}},
	{"listener", func(t testing.TB, cfg *tls.Config, o Options) string {
		inner, l := listenTLS(t, cfg)
		links := NewListener(l, o, echoConn)
		t.Cleanup(links.Wait)
		serveHTTP(t, links, stockMux("", echo))
		return inner.Addr().String()
	}},
	{"stock", func(t testing.TB, cfg *tls.Config, _ Options) string {
		inner, l := listenTLS(t, stockTLS(cfg))
		serveHTTP(t, l, stockMux("", echo))
		return inner.Addr().String()
	}},
	{"proxy to stock", func(t testing.TB, cfg *tls.Config, _ Options) string {
		backend := listen(t)
		serveHTTP(t, backend, stockMux("", echo))
		inner, l := listenTLS(t, stockTLS(cfg))
		serveHTTP(t, l, reverseProxy(backend.Addr().String()))
		return inner.Addr().String()
	}},
	{"proxy to listener", func(t testing.TB, cfg *tls.Config, o Options) string {
		backend := listen(t)
		links := NewListener(backend, o, echoConn)
		t.Cleanup(links.Wait)
		serveHTTP(t, links, stockMux("", echo))
		inner, l := listenTLS(t, stockTLS(cfg))
		serveHTTP(t, l, reverseProxy(backend.Addr().String()))
		return inner.Addr().String()
	}},
}

type client struct {
	name string
	open func(t testing.TB, addr string, cfg *tls.Config, o Options) stream
}

var allClients = []client{
	{"own", func(t testing.TB, addr string, cfg *tls.Config, o Options) stream {
		return connStream{dialConn(t, addr, cfg, o)}
	}},
	{"stock", func(t testing.TB, addr string, cfg *tls.Config, _ Options) stream {
		return stockClientStream{dialStock(t, addr, cfg)}
	}},
}

// eachPair runs test with each client towards each server, with and without TLS, unless both are
// stock.
func eachPair(t *testing.T, o Options, test func(t *testing.T, s stream)) {
	for _, srv := range allServers {
		for _, cl := range allClients {
			if cl.name == "stock" && strings.HasSuffix(srv.name, "stock") {
				continue
			}
			for _, secure := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s to %s, TLS %v", cl.name, srv.name, secure), func(t *testing.T) {
					t.Parallel()
					var sc, cc *tls.Config
					if secure {
						sc, cc = serverTLS(), clientTLS()
					}
					test(t, cl.open(t, srv.start(t, sc, o), cc, o))
				})
			}
		}
	}
}

// roundTrip sends p to an echo, and receives meanwhile: otherwise no window would be granted.
func roundTrip(t testing.TB, s stream, p []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { sent <- s.Send(p) }()
	got, err := s.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, p) {
		t.Fatalf("got %d bytes back for %d, or others", len(got), len(p))
	}
}

func TestEveryPairCarriesEverySize(t *testing.T) {
	eachPair(t, Options{}, func(t *testing.T, s stream) {
		for _, n := range []int{0, 1, 64, 16<<10 - 5, 16 << 10, 65530, 300_000} {
			roundTrip(t, s, noise(n))
		}
	})
}

func TestEveryPairTellsTheError(t *testing.T) {
	eachPair(t, Options{}, func(t *testing.T, s stream) {
		roundTrip(t, s, []byte("hello"))
		if err := s.Send([]byte("fail")); err != nil {
			t.Fatal(err)
		}
		_, err := s.Receive()
		checkRefused(t, err)
	})
}

func checkRefused(t testing.TB, err error) {
	t.Helper()
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok || ce.Code() != errRefused.Code() || ce.Message() != errRefused.Message() || !ce.IsRemote() {
		t.Fatalf("got %v", err)
	}
	if d := ce.Details(); len(d) != 1 || d[0].Type != "rpcmesh.v1.CallFailure" || !bytes.Equal(d[0].Value, []byte{8, 1, 0xff}) {
		t.Fatalf("got details %v", d)
	}
}

func TestEveryPairKeepsOrderInBulk(t *testing.T) {
	eachPair(t, Options{}, func(t *testing.T, s stream) { bulk(t, s, 100, 60_000) })
}

func TestEveryPairKeepsOrderWithTinyWindows(t *testing.T) {
	eachPair(t, Options{Window: 300}, func(t *testing.T, s stream) { bulk(t, s, 50, 4_000) })
}

// bulk sends n messages to an echo while it reads them.
func bulk(t testing.TB, s stream, n, longest int) {
	t.Helper()
	sizes := rand.New(rand.NewPCG(1, 2))
	messages := make([][]byte, n)
	for i := range messages {
		messages[i] = noise(sizes.IntN(1 + longest>>sizes.IntN(10)))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for i, m := range messages {
			if err := s.Send(m); err != nil {
				t.Errorf("message %d: %v", i, err)
				return
			}
		}
	})
	for i, m := range messages {
		got, err := s.Receive()
		if err != nil {
			t.Errorf("message %d: %v", i, err)
			return
		}
		if !bytes.Equal(got, m) {
			t.Errorf("message %d of %d bytes came as %d others", i, len(m), len(got))
			return
		}
	}
}

// noise returns n bytes, other ones for another n.
func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	p := make([]byte, n)
	_, _ = r.Read(p)
	return slices.Clip(p)
}
