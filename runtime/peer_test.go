package rpcmesh_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// The tests of this file have a node meet what does not speak its protocol, or not as it should: as a listener,
// and when it dials.

// strangers are what a node may find at a URL. Each serves one connection.
var strangers = map[string]func(conn net.Conn){
	"one that hangs up":     func(net.Conn) {},
	"one that says nothing": func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
	"one that talks nonsense": func(conn net.Conn) {
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		_, _ = conn.Write(bytes.Repeat([]byte{0xa5, 0, 1}, 100_000))
	},
	"HTTP/1.1": func(conn net.Conn) {
		_, _ = bufio.NewReader(conn).ReadString('\n')
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	},
	"SMTP": func(conn net.Conn) {
		_, _ = io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
		_, _ = io.Copy(io.Discard, conn)
	},
	"HTTP/2 without the service": serveHTTP2(http.NotFoundHandler()),
	"HTTP/2 that answers anything": serveHTTP2(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, strings.Repeat("hello ", 10_000))
	})),
	"HTTP/2 that never answers": serveHTTP2(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})),
	"HTTP/2 that answers, and says nothing": serveHTTP2(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/connect+proto")
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})),
	"a service that echoes": serveHTTP2(connectHandler(func(stream connect.ServerStream) error {
		for {
			p := new(linkv1.Packet)
			if err := stream.Receive(p); err != nil {
				return err
			}
			if err := stream.Send(p); err != nil {
				return err
			}
		}
	})),
	"a service that ends well": serveHTTP2(connectHandler(func(connect.ServerStream) error { return nil })),
	"a service of empty packets": serveHTTP2(connectHandler(func(stream connect.ServerStream) error {
		for {
			if err := stream.Send(new(linkv1.Packet)); err != nil {
				return err
			}
		}
	})),
}

// serveHTTP2 speaks HTTP/2 on one connection.
func serveHTTP2(h http.Handler) func(net.Conn) {
	return func(conn net.Conn) {
		closed := make(chan struct{})
		server := &http.Server{Handler: h, Protocols: h2c(), ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateClosed || s == http.StateHijacked {
				close(closed)
			}
		}}
		_ = server.Serve(&oneListener{conn: conn, done: closed})
		_ = server.Close()
	}
}

func h2c() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// oneListener accepts one connection, and then waits until done.
type oneListener struct {
	conn net.Conn
	done chan struct{}
	once sync.Once
}

func (l *oneListener) Accept() (net.Conn, error) {
	var conn net.Conn
	l.once.Do(func() { conn = l.conn })
	if conn != nil {
		return conn, nil
	}
	<-l.done
	return nil, io.EOF
}

func (*oneListener) Close() error     { return nil }
func (l *oneListener) Addr() net.Addr { return l.conn.LocalAddr() }

// sessionSpec is the method that a link is a call of.
func sessionSpec() connect.Spec {
	return connect.Spec{StreamType: connect.StreamTypeBidi, Procedure: "/rpcmesh.link.v1.LinkService/Session"}
}

func connectHandler(serve func(connect.ServerStream) error) http.Handler {
	server := connect.NewServer()
	server.Register(connect.Method{Spec: sessionSpec(), Handler: func(_ context.Context, _ connect.Spec, s connect.ServerStream) error {
		return serve(s)
	}})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	return mux
}

// TestDiallingAStranger: the link does not come up, says why, keeps trying with its pauses, and comes up once
// there is a node at last.
func TestDiallingAStranger(t *testing.T) {
	for name, serve := range strangers {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				l, err := c.Listen("a")
				if err != nil {
					t.Fatal(err)
				}
				var conns sync.WaitGroup
				conns.Go(func() {
					for {
						conn, err := l.Accept()
						if err != nil {
							return
						}
						conns.Go(func() {
							defer conn.Close()
							serve(conn)
						})
					}
				})
				var d dials
				b := c.Node("b", d.count)
				link, err := b.Link(rpcmeshtest.URL("a"), "public")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if err := link.Ready(ctx); err == nil || len(err.Error()) < 20 || len(err.Error()) > 500 {
					t.Errorf("ready: %.600v", err)
				}
				<-ctx.Done()
				if got := len(d.take()); got < 3 || got > 40 {
					t.Errorf("it was dialled %d times in a minute", got)
				}
				if got := linksOf(b); len(got) != 1 || got[""].Up || got[""].Err == nil {
					t.Errorf("links: %+v", got)
				}
				l.Close()
				c.ResetAll("a")
				conns.Wait()
				register(t, c.Node("a").Namespace("public"), says("a"))
				time.Sleep(15 * time.Second) // fake time
				wantGreeting(t, b.Namespace("public"), "a")
			})
		})
	}
}

// dialRaw connects to a.
func dialRaw(t testing.TB, c *rpcmeshtest.Cluster, from string) net.Conn {
	t.Helper()
	conn, err := c.Dialer(from)(t.Context(), "tcp", "a:80")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// untilClosed reads until the other end closes, and returns how long that took.
func untilClosed(conn net.Conn) time.Duration {
	begin := time.Now()
	_, _ = io.Copy(io.Discard, conn)
	return time.Since(begin)
}

// unharmed runs test with a node a that a stranger meets, and checks that its friends notice nothing.
func unharmed(t *testing.T, test func(t *testing.T, c *rpcmeshtest.Cluster)) {
	t.Helper()
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		register(t, c.Node("a").Namespace("public"), funcs{chat: echo})
		c.Node("b")
		c.Link("b", "a", "public")
		synctest.Wait()
		stream := mustChat(t, c.Node("b").Namespace("public"))
		mustSend(t, stream, "before")
		wantLines(t, stream, "before")
		test(t, c)
		mustSend(t, stream, "after")
		wantLines(t, stream, "after")
		synctest.Wait()
		if got := linksOf(c.Node("a")); len(got) != 1 {
			t.Errorf("a has the links %+v", got)
		}
	})
}

// TestStrangersDial: whatever connects and is no node is answered or hung up on in time, and nobody else notices.
func TestStrangersDial(t *testing.T) {
	garbage := make([]byte, 1<<20)
	rand.Read(garbage)
	for name, says := range map[string][]byte{
		"nothing":                            nil,
		"a byte":                             {0},
		"garbage":                            garbage,
		"half a preface":                     []byte("PRI * HTTP/2.0\r\n\r\n"),
		"a preface":                          []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		"a preface and garbage":              append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), garbage...),
		"a preface, then a frame cut short":  []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x03"),
		"a preface, then a frame too long":   []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00"),
		"TLS, in cleartext":                  []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"HTTP/1.1 for something else":        []byte("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
		"HTTP/1.1 for the service":           []byte("POST /rpcmesh.link.v1.LinkService/Session HTTP/1.1\r\nHost: a\r\nContent-Type: application/connect+proto\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
		"HTTP/1.1 that does not end":         []byte("GET / HTTP/1.1\r\nHost: a\r\nX: "),
		"HTTP/1.1 with a header out of size": append([]byte("GET / HTTP/1.1\r\nHost: a\r\nX: "), bytes.Repeat([]byte("x"), 2<<20)...),
	} {
		t.Run(name, func(t *testing.T) {
			unharmed(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				conn := dialRaw(t, c, "x")
				go func() { _, _ = conn.Write(says) }()
				if took := untilClosed(conn); took > 10*time.Second {
					t.Errorf("it was hung up on after %v", took)
				}
			})
		})
	}
}

// packets opens a link's stream to a as a stock Connect client does.
func packets(t testing.TB, c *rpcmeshtest.Cluster) connect.ClientStream {
	t.Helper()
	transport := &http.Transport{DialContext: c.Dialer("x"), Protocols: h2c()}
	t.Cleanup(transport.CloseIdleConnections)
	client := connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, rpcmeshtest.URL("a")))
	stream, err := client.CallClientStream(t.Context(), sessionSpec())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	return stream
}

// refusal receives until the stream ends, and returns what ended it.
func refusal(stream connect.ClientStream) error {
	for {
		if err := stream.Receive(new(linkv1.Packet)); err != nil {
			return err
		}
	}
}

// TestHelloThatNeverComes: who opens a stream and says nothing, or not enough, is refused after five seconds.
func TestHelloThatNeverComes(t *testing.T) {
	for name, says := range map[string][]*linkv1.Packet{
		"nothing":     nil,
		"hello alone": {control(&linkv1.Control{Body: &linkv1.Control_Hello{Hello: hello()}})},
	} {
		t.Run(name, func(t *testing.T) {
			unharmed(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				stream := packets(t, c)
				begin := time.Now()
				if err := stream.SendHeaders(); err != nil {
					t.Fatal(err)
				}
				for _, p := range says {
					if err := stream.Send(p); err != nil {
						t.Fatal(err)
					}
				}
				wantError(t, refusal(stream), connect.CodeDeadlineExceeded, "")
				if took := time.Since(begin); took != 5*time.Second {
					t.Errorf("it took %v, want 5s", took)
				}
			})
		})
	}
}

func hello() *linkv1.Hello {
	return &linkv1.Hello{Version: 1, Node: bytes.Repeat([]byte{7}, 16), Incarnation: 1, Nonce: bytes.Repeat([]byte{9}, 32)}
}

func control(controls ...*linkv1.Control) *linkv1.Packet { return &linkv1.Packet{Controls: controls} }

// TestStartOutOfOrder: whoever does not begin as the protocol says is refused at once, and has been told nothing.
func TestStartOutOfOrder(t *testing.T) {
	helloWith := func(change func(*linkv1.Hello)) *linkv1.Packet {
		h := hello()
		change(h)
		return control(&linkv1.Control{Body: &linkv1.Control_Hello{Hello: h}})
	}
	good := helloWith(func(*linkv1.Hello) {})
	proof := control(&linkv1.Control{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{Mac: bytes.Repeat([]byte{1}, 32)}}})
	for name, says := range map[string][]*linkv1.Packet{
		"an empty packet":        {{}},
		"a call":                 {{Frames: []*linkv1.Frame{{Call: 1, Open: &linkv1.Open{Procedure: "/a.B/C"}}}}},
		"a table":                {control(&linkv1.Control{Body: &linkv1.Control_Table{Table: &linkv1.Table{}}})},
		"a ping":                 {control(&linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{}}})},
		"a join":                 {control(&linkv1.Control{Body: &linkv1.Control_Join{Join: &linkv1.Join{}}})},
		"a proof":                {proof},
		"a hello that is empty":  {helloWith(func(h *linkv1.Hello) { h.Reset() })},
		"another version":        {helloWith(func(h *linkv1.Hello) { h.Version = 2 })},
		"a short id":             {helloWith(func(h *linkv1.Hello) { h.Node = h.Node[:15] })},
		"a long id":              {helloWith(func(h *linkv1.Hello) { h.Node = append(h.Node, 0) })},
		"a short nonce":          {helloWith(func(h *linkv1.Hello) { h.Nonce = h.Nonce[:31] })},
		"a thousand features":    {helloWith(func(h *linkv1.Hello) { h.Features = make([]string, 1000) })},
		"a hello of a megabyte":  {helloWith(func(h *linkv1.Hello) { h.Features = []string{strings.Repeat("x", 1<<20)} })},
		"two hellos":             {good, good},
		"two hellos in a packet": {control(append(append([]*linkv1.Control{}, good.GetControls()...), good.GetControls()...)...)},
		"a wrong proof":          {good, proof},
		"a proof cut short":      {good, control(&linkv1.Control{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{Mac: []byte{1}}}})},
		"no proof at all":        {good, control(&linkv1.Control{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{}}})},
		"a join without a proof": {good, control(&linkv1.Control{Body: &linkv1.Control_Join{Join: &linkv1.Join{}}})},
		"a call without a proof": {good, {Frames: []*linkv1.Frame{{Call: 1, Open: &linkv1.Open{Procedure: "/a.B/C"}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			unharmed(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				stream := packets(t, c)
				begin := time.Now()
				for _, p := range says {
					if err := stream.Send(p); err != nil && !errors.Is(err, io.EOF) {
						t.Fatal(err)
					}
				}
				heard := 0
				err := error(nil)
				for err == nil {
					p := new(linkv1.Packet)
					if err = stream.Receive(p); err == nil {
						for _, control := range p.GetControls() {
							if control.GetHello() == nil {
								t.Errorf("it was told %v", control)
							}
							heard++
						}
					}
				}
				if took := time.Since(begin); took > time.Second || heard > 1 {
					t.Errorf("it was refused after %v and %d hellos", took, heard)
				}
				if code := connect.CodeOf(err); errors.Is(err, io.EOF) || code == connect.CodeUnknown || code == connect.CodeUnavailable {
					t.Errorf("it was refused with %v", err)
				}
				if text := fmt.Sprint(err); strings.Contains(text, "public") || strings.Contains(text, "Greeter") {
					t.Errorf("it was told of the mesh: %s", text)
				}
			})
		})
	}
}
