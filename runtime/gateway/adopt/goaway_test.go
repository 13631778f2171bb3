package adopt_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// graceful ends the server as GracefulStop of grpc-go does: no connection is taken any more, those that are there
// are told to go, and what runs on them is waited for.
func (r *running) graceful(t *testing.T) {
	t.Helper()
	if err := r.server.Shutdown(within(t)); err != nil {
		t.Errorf("the server waited for its node: %v", err)
	}
	r.stop()
}

// TestGracefulStop: a server that stops in order is let go at once, though nobody calls it and no probe is due.
func TestGracefulStop(t *testing.T) {
	s := newStock()
	s.services = newHealthy().methods()
	server := serve(t, "127.0.0.1:0", mux(s.server()), nil, false)
	node := lone(t)
	ns := node.Namespace("public")
	ready(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.ProbeInterval = time.Hour }))
	for range 3 {
		back(t, ns)
		server.graceful(t)
		gone(t, ns)
		server = serve(t, server.addr, mux(s.server()), nil, false)
	}
}

// TestGracefulStopOfReplicas: the servers of two nodes stop in order and start again, one after the other. No
// call is lost, though none may be repeated that has begun.
func TestGracefulStopOfReplicas(t *testing.T) {
	secure, trusting := certificate()
	for name, cfg := range map[string]*tls.Config{"cleartext": nil, "TLS": secure} {
		t.Run(name, func(t *testing.T) {
			c := rpcmeshtest.New(t)
			c.Node("hub")
			c.Link("caller", "hub", "public")
			caller := c.Node("caller").Namespace("public")
			stocks, servers := []*stock{newStock(), newStock()}, make([]*running, 2)
			for i, name := range []string{"a", "b"} {
				stocks[i].services = newHealthy().methods()
				servers[i] = serve(t, "127.0.0.1:0", mux(stocks[i].server()), cfg, false)
				c.Link(name, "hub", "public")
				ready(t, c.Node(name), servers[i].url, quick(func(cfg *adopt.Config) {
					cfg.Policy, cfg.ProbeInterval = rpcmesh.PolicyRoundRobin, time.Hour
					cfg.TLS = trusting
				}))
			}
			origins := func(n int) { // waits until there are so many
				for range caller.Watch(within(t)) {
					if len(procedures(caller)) == n*len(greeterProcedures) {
						return
					}
				}
			}
			origins(2)
			over := make(chan struct{})
			var callers sync.WaitGroup
			calls := make(chan struct{}, 1000)
			for range 16 {
				callers.Go(func() {
					for {
						select {
						case <-over:
							return
						case calls <- struct{}{}:
						default:
						}
						if _, err := greetv1rpcmesh.NewGreeterClient(caller).Greet(within(t), &greetv1.GreetRequest{Name: "Ada"}); err != nil {
							f, _ := rpcmesh.FailureOf(err)
							t.Errorf("lost: %v (%v)", err, f)
						}
					}
				})
			}
			for i := range 6 {
				for range 200 {
					<-calls
				}
				servers[i%2].graceful(t)
				origins(1)
				servers[i%2] = serve(t, servers[i%2].addr, mux(stocks[i%2].server()), cfg, false)
				origins(2)
			}
			close(over)
			callers.Wait()
		})
	}
}

// TestGoAwayOfServerThatStays: one that only wants another connection, as it has reached an age, keeps its
// functions, and its states are followed on.
func TestGoAwayOfServerThatStays(t *testing.T) {
	s, h := newStock(), newHealthy()
	s.services = h.methods()
	handler := mux(s.server())
	var goAway atomic.Bool
	server := serve(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if goAway.Load() && r.URL.Path == greetv1rpcmesh.GreeterGreetProcedure {
			w.Header().Set("Connection", "close") // which makes it a GOAWAY
		}
		handler.ServeHTTP(w, r)
	}), nil, false)
	node := lone(t)
	ns := node.Namespace("public")
	ready(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.ProbeInterval = time.Hour }))
	goAway.Store(true)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var removed atomic.Int32
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for e := range ns.Watch(ctx) {
			if e.Kind == rpcmesh.FunctionRemoved {
				removed.Add(1)
			}
		}
	}()
	for range 20 {
		if _, err := greetv1rpcmesh.NewGreeterClient(ns).Greet(within(t), &greetv1.GreetRequest{Name: "Ada"}); err != nil {
			t.Error(err)
		}
	}
	cancel()
	<-watched
	if n := removed.Load(); n > 0 {
		t.Errorf("%d functions were withdrawn", n)
	}
	h.set("", 2)
	gone(t, ns)
}

// TestUnprocessed: what a server has certainly not begun with is said not to have started.
func TestUnprocessed(t *testing.T) {
	for name, refuse := range map[string]func(f *http2.Framer, stream uint32) error{
		"refused stream": func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"GOAWAY": func(f *http2.Framer, stream uint32) error {
			return errors.Join(f.WriteGoAway(max(stream, 2)-2, http2.ErrCodeNo, nil), io.EOF)
		},
		"GOAWAY with an error": func(f *http2.Framer, stream uint32) error {
			return errors.Join(f.WriteGoAway(max(stream, 2)-2, http2.ErrCodeEnhanceYourCalm, nil), io.EOF)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := &refuser{refuse: refuse}
			url := server.serve(t)
			node := lone(t)
			ns := node.Namespace("public")
			ready(t, node, url, quick(func(cfg *adopt.Config) { cfg.Descriptors, cfg.ProbeInterval = greeterSet(t), time.Hour }))
			server.refusing.Store(true)
			client := greetv1rpcmesh.NewGreeterClient(ns)
			begin := time.Now()
			_, err := client.Greet(within(t), &greetv1.GreetRequest{Name: "Ada"})
			wantNotStarted(t, "Greet", err)
			back(t, ns)
			stream, err := client.Chat(within(t))
			if err != nil {
				t.Fatal(err)
			}
			_ = stream.Send(&greetv1.ChatRequest{Line: "hello"})
			_, err = stream.Receive()
			wantNotStarted(t, "Chat", err)
			stream.Close()
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %v to be told", took)
			}
		})
	}
}

func wantNotStarted(t *testing.T, what string, err error) {
	t.Helper()
	f, _ := rpcmesh.FailureOf(err)
	if connect.CodeOf(err) != connect.CodeUnavailable || f.Certainty != rpcmesh.CertaintyNotStarted || f.NodeName != "lone" {
		t.Errorf("%s: %v (%v)", what, err, f)
	}
}

// TestStreamsAreRepeated: streams of requests whose connection goes before the server has begun with them are sent
// again on another one, with all that was sent.
func TestStreamsAreRepeated(t *testing.T) {
	for name, refuse := range map[string]func(f *http2.Framer, stream uint32) error{
		"refused stream": func(f *http2.Framer, stream uint32) error {
			return f.WriteRSTStream(stream, http2.ErrCodeRefusedStream)
		},
		"GOAWAY": func(f *http2.Framer, stream uint32) error {
			return errors.Join(f.WriteGoAway(max(stream, 2)-2, http2.ErrCodeNo, nil), io.EOF)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := &refuser{}
			server.refuse = func(f *http2.Framer, stream uint32) error {
				server.refusing.Store(false)
				return refuse(f, stream)
			}
			url := server.serve(t)
			node := lone(t)
			ready(t, node, url, quick(func(cfg *adopt.Config) { cfg.Descriptors, cfg.ProbeInterval = greeterSet(t), time.Hour }))
			client := greetv1rpcmesh.NewGreeterClient(node.Namespace("public"))
			for range 10 {
				server.refusing.Store(true)
				stream, err := client.Chat(within(t))
				if err != nil {
					t.Fatal(err)
				}
				_ = stream.Send(&greetv1.ChatRequest{Line: "hello"})
				_, err = stream.Receive()
				if connect.CodeOf(err) != connect.CodeUnimplemented || server.refusing.Load() {
					t.Errorf("it ends with %v, not as the server ends it", err)
				}
				stream.Close()
			}
		})
	}
}

// refuser is a gRPC server by hand that has no health service, and may refuse all else.
type refuser struct {
	refuse   func(f *http2.Framer, stream uint32) error
	refusing atomic.Bool
}

func (r *refuser) serve(t *testing.T) (url string) {
	l := listen(t, "127.0.0.1:0")
	var tasks sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			tasks.Go(func() {
				defer c.Close()
				_ = r.run(c) // until either end has had enough
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		tasks.Wait()
	})
	return "http://" + l.Addr().String()
}

func (r *refuser) run(c net.Conn) error {
	if _, err := io.CopyN(io.Discard, c, int64(len(http2.ClientPreface))); err != nil {
		return err
	}
	f := http2.NewFramer(c, c)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := f.WriteSettings(); err != nil {
		return err
	}
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return err
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			err = f.WritePing(true, frame.Data)
		case *http2.MetaHeadersFrame:
			err = r.answer(f, frame)
		}
		if err != nil {
			_, _ = io.Copy(io.Discard, c)
			return err
		}
	}
}

// answer says unimplemented, which is what a server without a health service says.
func (r *refuser) answer(f *http2.Framer, h *http2.MetaHeadersFrame) error {
	if r.refusing.Load() && h.PseudoValue("path") != "/grpc.health.v1.Health/Check" {
		return r.refuse(f, h.StreamID)
	}
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":status", "200"}, {"content-type", "application/grpc"}, {"grpc-status", "12"}} {
		if err := e.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: h.StreamID, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
}
