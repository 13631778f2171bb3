package rpcmesh_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/certtest"
)

// The tests of this file use real sockets on loopback, and real time.

// certificate returns a certificate for 127.0.0.1 and who trusts it.
func certificate() (server, client *tls.Config) {
	cert, roots := certtest.New()
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: roots}
}

// listen returns a listener on loopback.
func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serveNode starts a node that serves itself on loopback, and returns its URL.
func serveNode(t testing.TB, cfg rpcmesh.Config) (*rpcmesh.Node, string) {
	t.Helper()
	n := mustNode(t, cfg)
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- n.Serve(context.Background(), l) }() //nolint:usetesting // until it is closed, below
	t.Cleanup(func() {
		n.Close()
		// A test may be over before Serve has begun: it then finds the node closed.
		if err := <-served; err != nil && connect.CodeOf(err) != connect.CodeFailedPrecondition {
			t.Errorf("Serve: %v", err)
		}
	})
	if cfg.TLS != nil {
		return n, "https://" + l.Addr().String()
	}
	return n, "http://" + l.Addr().String()
}

// serveHTTP starts a server on loopback and returns its URL.
func serveHTTP(t testing.TB, server *http.Server) string {
	t.Helper()
	l := listen(t)
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	scheme, serve := "http://", server.Serve
	if server.TLSConfig != nil {
		scheme, serve = "https://", func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = serve(l) }) // ends with the server
	t.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	return scheme + l.Addr().String()
}

// mustLink links n to a URL and waits until the link is ready.
func mustLink(t testing.TB, n *rpcmesh.Node, to string, namespaces ...string) *rpcmesh.Link {
	t.Helper()
	l, err := n.Link(to, namespaces...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := l.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return l
}

// mustWaitFor waits until ns has all of a Greeter.
func mustWaitFor(t testing.TB, ns *rpcmesh.Namespace, procedures ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := ns.WaitFor(ctx, procedures...); err != nil {
		t.Fatal(err)
	}
}

// exchange has a and b, which are linked, call each other in all kinds.
func exchange(t *testing.T, a, b *rpcmesh.Node) {
	t.Helper()
	for _, end := range [][2]*rpcmesh.Node{{a, b}, {b, a}} {
		origin, caller := end[0].Namespace("public"), end[1].Namespace("public")
		o := register(t, origin, greeter{})
		mustWaitFor(t, caller, greeterProcedures...)
		client := greetv1rpcmesh.NewGreeterClient(caller)
		res, err := client.Greet(t.Context(), &greetv1.GreetRequest{Name: "Ada"})
		if err != nil || res.GetGreeting() != "Hello, Ada" {
			t.Errorf("unary: %v, %v", res, err)
		}
		if err := drainCount(t.Context(), client, 1000); err != nil {
			t.Errorf("server stream: %v", err)
		}
		sum, err := client.Sum(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if err := sum.Send(&greetv1.SumRequest{Number: 2}); err != nil {
				t.Fatal(err)
			}
		}
		if res, err := sum.CloseAndReceive(); err != nil || res.GetSum() != 2000 {
			t.Errorf("client stream: %v, %v", res, err)
		}
		chat := mustChat(t, caller)
		mustSend(t, chat, "hi")
		wantLines(t, chat, "HI")
		chat.Close()
		o.Unregister()
		if err := origin.WaitVisible(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestServe: a node serves itself, with TLS or without, and answers HTTP beside its links.
func TestServe(t *testing.T) {
	server, client := certificate()
	for name, config := range map[string]*tls.Config{"cleartext": nil, "TLS": server} {
		t.Run(name, func(t *testing.T) {
			a, aURL := serveNode(t, rpcmesh.Config{Name: "a", Secret: "s", TLS: config})
			a.Namespace("public")
			b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s", DialTLS: client})
			mustLink(t, b, aURL, "public")
			exchange(t, a, b)
			browser := &http.Client{Transport: &http.Transport{TLSClientConfig: client}}
			defer browser.CloseIdleConnections()
			res, err := browser.Get(aURL + "/favicon.ico")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != http.StatusNotFound {
				t.Errorf("HTTP/1.1: %v", res.Status)
			}
		})
	}
}

// TestServeEnds: Serve returns nil when its context ends, and takes its links with it; the node goes on.
func TestServeEnds(t *testing.T) {
	a := mustNode(t, rpcmesh.Config{Name: "a", Secret: "s"})
	register(t, a.Namespace("public"), says("a"))
	ctx, cancel := context.WithCancel(t.Context())
	l := listen(t)
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, l) }()
	b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s"})
	mustLink(t, b, "http://"+l.Addr().String(), "public")
	stream := mustChat(t, b.Namespace("public"))
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := stream.Receive(); err == nil {
		t.Error("the link goes on")
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("the listener is open")
	}
	wantGreeting(t, a.Namespace("public"), "a")
}

// TestServeWithoutCertificate: TLS that cannot work is an error at once.
func TestServeWithoutCertificate(t *testing.T) {
	n := mustNode(t, rpcmesh.Config{Secret: "s", TLS: new(tls.Config)})
	err := n.Serve(t.Context(), listen(t))
	wantError(t, err, connect.CodeInvalidArgument, "certificate")
}

// TestMount: a node on a mux of the user's own, under any path, beside other handlers, with and without TLS.
func TestMount(t *testing.T) {
	certified, client := certificate()
	servers := map[string]func(t *testing.T, h http.Handler) string{
		"cleartext": func(t *testing.T, h http.Handler) string {
			p := h2c()
			p.SetHTTP1(true)
			return serveHTTP(t, &http.Server{Handler: h, Protocols: p})
		},
		"TLS": func(t *testing.T, h http.Handler) string {
			return serveHTTP(t, &http.Server{Handler: h, TLSConfig: certified.Clone()})
		},
		"httptest": func(t *testing.T, h http.Handler) string {
			s := httptest.NewUnstartedServer(h)
			s.EnableHTTP2 = true
			s.TLS = certified.Clone()
			s.StartTLS()
			t.Cleanup(s.Close)
			return s.URL
		},
	}
	for name, serve := range servers {
		for _, path := range []string{"", "/mesh", "/mesh/", "/some/where/deep"} {
			t.Run(name+" "+path, func(t *testing.T) {
				a := mustNode(t, rpcmesh.Config{Name: "a", Secret: "s"})
				a.Namespace("public")
				mux := http.NewServeMux()
				mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
				if path == "" {
					a.Mount(mux)
				} else {
					trimmed := strings.TrimSuffix(path, "/")
					mux.Handle(trimmed+"/", http.StripPrefix(trimmed, a.Handler()))
				}
				base := serve(t, mux)
				b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s", DialTLS: client})
				mustLink(t, b, base+path, "public")
				exchange(t, a, b)
				p, err := rpcmesh.Dial(t.Context(), base+path, rpcmesh.ProxyConfig{Namespace: "public", Secret: "s", TLS: client})
				if err != nil {
					t.Fatal(err)
				}
				p.Close()
				browser := &http.Client{Transport: &http.Transport{TLSClientConfig: client}}
				defer browser.CloseIdleConnections()
				res, err := browser.Get(base + "/hello")
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if body, _ := io.ReadAll(res.Body); string(body) != "hello" {
					t.Errorf("the other handler says %q", body)
				}
				b.Close() // before the server, which waits for its connections
				a.Close()
			})
		}
	}
}

// TestMountOutlivesTimeouts: a server's own time-outs are for requests, and a link lives on.
func TestMountOutlivesTimeouts(t *testing.T) {
	a := mustNode(t, rpcmesh.Config{Name: "a", Secret: "s"})
	register(t, a.Namespace("public"), funcs{chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
		<-time.After(500 * time.Millisecond) // longer than the time-outs
		return stream.Send(&greetv1.ChatResponse{Line: "still here"})
	}})
	base := serveHTTP(t, &http.Server{
		Handler: a.Handler(), Protocols: h2c(),
		ReadTimeout: 100 * time.Millisecond, WriteTimeout: 100 * time.Millisecond, IdleTimeout: 100 * time.Millisecond,
	})
	b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s"})
	mustLink(t, b, base, "public")
	wantLines(t, mustChat(t, b.Namespace("public")), "still here")
	b.Close()
	a.Close()
}

// TestReverseProxy: a link goes through a reverse proxy that speaks HTTP/2 on both sides.
func TestReverseProxy(t *testing.T) {
	certified, client := certificate()
	a, backend := serveNode(t, rpcmesh.Config{Name: "a", Secret: "s"})
	a.Namespace("public")
	target, err := url.Parse(backend)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{Protocols: h2c()}
	t.Cleanup(transport.CloseIdleConnections)
	front := serveHTTP(t, &http.Server{
		TLSConfig: certified.Clone(),
		Handler: &httputil.ReverseProxy{
			Transport: transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		},
	})
	// TLS ends at the proxy, so the two ends of the link have no channel in common to bind their proof to.
	c := mustNode(t, rpcmesh.Config{Name: "c", Secret: "s", DialTLS: client})
	link, err := c.Link(front, "public")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	wantError(t, link.Ready(ctx), connect.CodeUnauthenticated, "")
	link.Close()

	plain := serveHTTP(t, &http.Server{
		Protocols: h2c(),
		Handler: &httputil.ReverseProxy{
			Transport: transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
			Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		},
	})
	b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s"})
	mustLink(t, b, plain, "public")
	exchange(t, a, b)
	b.Close()
}

// TestManInTheMiddle: whoever ends the TLS of both ends, and passes on what they say, gets no link: the proofs are
// bound to the channel.
func TestManInTheMiddle(t *testing.T) {
	certified, trusting := certificate()
	a, aURL := serveNode(t, rpcmesh.Config{Name: "a", Secret: "s", TLS: certified})
	a.Namespace("public")
	between, trustingBoth := certificate()
	trustingBoth.RootCAs.AddCert(certified.Certificates[0].Leaf)
	l := listen(t)
	var passing sync.WaitGroup
	t.Cleanup(passing.Wait)
	passing.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { intercept(conn, between, trusting, aURL[len("https://"):]) })
		}
	})
	// Who has nothing to prove notices nothing.
	browser := &http.Client{Transport: &http.Transport{TLSClientConfig: trustingBoth, ForceAttemptHTTP2: true}}
	res, err := browser.Get("https://" + l.Addr().String() + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	browser.CloseIdleConnections()
	if res.StatusCode != http.StatusNotFound || res.ProtoMajor != 2 {
		t.Errorf("the man in the middle does not pass on what he should: %v", res)
	}
	b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s", DialTLS: trustingBoth})
	link, err := b.Link("https://"+l.Addr().String(), "public")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	wantError(t, link.Ready(ctx), connect.CodeUnauthenticated, "")
	b.Close()
	l.Close()
	// The same without the man in the middle.
	c := mustNode(t, rpcmesh.Config{Name: "c", Secret: "s", DialTLS: trustingBoth})
	mustLink(t, c, aURL, "public")
}

// intercept passes what conn says on to addr, and back, in TLS that it ends itself, with the protocol that both
// agree on.
func intercept(conn net.Conn, server, client *tls.Config, addr string) {
	defer conn.Close()
	var onward *tls.Conn
	config := server.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c := client.Clone()
		c.NextProtos = hello.SupportedProtos
		var err error
		if onward, err = tls.Dial("tcp", addr, c); err != nil {
			return nil, err
		}
		answer := server.Clone()
		answer.NextProtos = []string{onward.ConnectionState().NegotiatedProtocol}
		return answer, nil
	}
	victim := tls.Server(conn, config)
	if victim.Handshake() != nil {
		return
	}
	defer onward.Close()
	var both sync.WaitGroup
	both.Go(func() {
		_, _ = io.Copy(onward, victim)
		onward.Close()
	})
	_, _ = io.Copy(victim, onward)
	victim.Close()
	both.Wait()
}

// TestPeerCertificate: the hook sees the other end's TLS, and can go by its certificate.
func TestPeerCertificate(t *testing.T) {
	certified, trusting := certificate()
	identity, _ := certificate()
	clients := x509.NewCertPool()
	clients.AddCert(identity.Certificates[0].Leaf)
	certified.ClientAuth, certified.ClientCAs = tls.VerifyClientCertIfGiven, clients
	certified.Certificates[0].Leaf.ExtKeyUsage = nil
	var mu sync.Mutex
	var names []string
	a, aURL := serveNode(t, rpcmesh.Config{Name: "a", TLS: certified, Authenticate: func(_ context.Context, p rpcmesh.Peer) error {
		if p.TLS == nil || len(p.TLS.PeerCertificates) == 0 {
			return connect.NewError(connect.CodeUnauthenticated, "no certificate")
		}
		mu.Lock()
		defer mu.Unlock()
		names = append(names, p.TLS.PeerCertificates[0].Subject.CommonName)
		return nil
	}})
	a.Namespace("public")
	anonymous := mustNode(t, rpcmesh.Config{Name: "anonymous", AcceptAnyone: true, DialTLS: trusting})
	link, err := anonymous.Link(aURL, "public")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	wantError(t, link.Ready(ctx), connect.CodeUnauthenticated, "")
	withCertificate := trusting.Clone()
	withCertificate.Certificates = identity.Certificates
	known := mustNode(t, rpcmesh.Config{Name: "known", AcceptAnyone: true, DialTLS: withCertificate})
	mustLink(t, known, aURL, "public")
	mu.Lock()
	defer mu.Unlock()
	if len(names) != 1 || names[0] != "test" {
		t.Errorf("it saw %v", names)
	}
}

// TestUntrustedCertificate: a listener whose certificate is not trusted is not linked to, and the link says why.
func TestUntrustedCertificate(t *testing.T) {
	certified, _ := certificate()
	a, aURL := serveNode(t, rpcmesh.Config{Name: "a", Secret: "s", TLS: certified})
	a.Namespace("public")
	b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s"})
	link, err := b.Link(aURL, "public")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	wantError(t, link.Ready(ctx), connect.CodeUnauthenticated, "certificate")
}
