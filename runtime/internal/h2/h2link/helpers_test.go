package h2link

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"go.uber.org/goleak"

	"github.com/rpcmesh/rpcmesh/runtime/internal/certtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stream is one end of a call, ours or the stock library's.
type stream interface {
	Send(p []byte) error
	Receive() ([]byte, error)
}

// connStream gives packets of a Conn the head room they need.
type connStream struct{ *Conn }

func (s connStream) Send(p []byte) error { return s.Conn.Send(packet(p)) }

func packet(p []byte) []byte { return append(make([]byte, HeadRoom), p...) }

// rawCodec passes messages as they are: *[]byte.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) MarshalWrite(_ context.Context, dst io.Writer, msg any) error {
	_, err := dst.Write(*msg.(*[]byte))
	return err
}

func (rawCodec) UnmarshalRead(_ context.Context, src io.Reader, msg any) error {
	b, err := io.ReadAll(src)
	*msg.(*[]byte) = b
	return err
}

type stockServerStream struct{ connect.ServerStream }

func (s stockServerStream) Send(p []byte) error { return s.ServerStream.Send(&p) }

func (s stockServerStream) Receive() (p []byte, err error) {
	err = s.ServerStream.Receive(&p)
	return p, err
}

type stockClientStream struct{ connect.ClientStream }

func (s stockClientStream) Send(p []byte) error { return s.ClientStream.Send(&p) }

func (s stockClientStream) Receive() (p []byte, err error) {
	err = s.ClientStream.Receive(&p)
	return p, err
}

var spec = connect.Spec{Procedure: Procedure, StreamType: connect.StreamTypeBidi}

// stockMux serves handle at prefix with the stock library.
func stockMux(prefix string, handle func(stream) error) http.Handler {
	srv := connect.NewServer()
	srv.Register(connect.Method{Spec: spec, Handler: func(_ context.Context, _ connect.Spec, s connect.ServerStream) error {
		return handle(stockServerStream{s})
	}})
	inner := http.NewServeMux()
	connecthttp.Mount(inner, srv, connecthttp.WithCodecs(rawCodec{}), connecthttp.WithReadMaxBytes(8<<20))
	mux := http.NewServeMux()
	mux.Handle(prefix+"/", http.StripPrefix(prefix, inner))
	mux.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "hello over "+r.Proto)
	})
	return mux
}

func bothProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// serveHTTP serves h at l until the test ends.
func serveHTTP(t testing.TB, l net.Listener, h http.Handler) {
	t.Helper()
	srv := &http.Server{
		Handler: h, Protocols: bothProtocols(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() {
		_ = srv.Close()
		wg.Wait()
	})
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

var testCert = sync.OnceValues(certtest.New)

func serverTLS() *tls.Config {
	cert, _ := testCert()
	return ServerTLS(&tls.Config{Certificates: []tls.Certificate{cert}})
}

func clientTLS() *tls.Config {
	_, pool := testCert()
	return ClientTLS(&tls.Config{RootCAs: pool, ServerName: "node.test"})
}

// dialConn opens a call to addr with a Conn.
func dialConn(t testing.TB, addr string, cfg *tls.Config, o Options) *Conn {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if cfg != nil {
		nc = tls.Client(nc, cfg)
	}
	c, err := Open(t.Context(), nc, addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(errTestOver) })
	return c
}

var errTestOver = connect.NewError(connect.CodeCanceled, "the test is over")

// dialStock opens a call to addr with the stock library.
func dialStock(t testing.TB, addr string, cfg *tls.Config) connect.ClientStream {
	t.Helper()
	p := new(http.Protocols)
	scheme := "http"
	if cfg != nil {
		scheme = "https"
		cfg = cfg.Clone()
		cfg.NextProtos = nil // net/http's own
		p.SetHTTP2(true)
	} else {
		p.SetUnencryptedHTTP2(true)
	}
	tr := &http.Transport{TLSClientConfig: cfg, Protocols: p}
	t.Cleanup(tr.CloseIdleConnections)
	ct := connecthttp.NewTransport(&http.Client{Transport: tr}, scheme+"://"+addr,
		connecthttp.WithCodecs(rawCodec{}), connecthttp.WithReadMaxBytes(8<<20))
	cs, err := connect.NewClient(ct).CallClientStream(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cs.Close() })
	return cs
}

// Accept is accept of a connection of which nothing has been read.
func Accept(nc net.Conn, o Options) (*Conn, error) { return accept(nc, nil, o) }

// serveConns accepts at l, each connection with a Conn that handle has.
func serveConns(t testing.TB, l net.Listener, o Options, handle func(*Conn) error) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				if c, err := Accept(nc, o); err == nil {
					c.Close(handle(c))
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		wg.Wait()
	})
}

// decoupled keeps the transport from reading the body that came in: a ReverseProxy whose server
// answers first would wait for ever for its end.
type decoupled struct{ http.RoundTripper }

func (d decoupled) RoundTrip(r *http.Request) (*http.Response, error) {
	body := r.Body
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, body)
		_ = pw.CloseWithError(err)
	}()
	r = r.Clone(r.Context())
	r.Body = pr
	return d.RoundTripper.RoundTrip(r)
}

// reverseProxy forwards to the server at addr, HTTP/2 on both sides.
func reverseProxy(addr string) http.Handler {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: addr}) },
		Transport:     decoupled{&http.Transport{Protocols: p}},
		ErrorLog:      slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // it logs each client that closes
		FlushInterval: -1,
	}
}
