package adopt_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestRestart: when the server dies its functions leave the table and its calls end; when it is back so are
// they. With a health service and without, and with a probe that is too rare to find out.
func TestRestart(t *testing.T) {
	for _, test := range []struct {
		name   string
		health bool
		old    bool
	}{{name: "without health"}, {name: "with health", health: true}, {name: "HTTP/1.1", old: true}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStock()
			if test.health {
				s.services = newHealthy().methods()
			}
			cfg := quick(func(cfg *adopt.Config) { cfg.ProbeInterval = time.Hour })
			if test.old {
				cfg.Protocol, cfg.Descriptors = adopt.Connect, greeterSet(t)
			}
			server := serve(t, "127.0.0.1:0", mux(s.server()), nil, test.old)
			node, caller := chained(t)
			ready(t, node, server.url, cfg)
			back(t, caller)
			client := greetv1rpcmesh.NewGreeterClient(caller)
			for range 2 {
				failed := make(chan error, 1)
				go func() {
					_, err := client.Greet(within(t), &greetv1.GreetRequest{Name: "wait"})
					failed <- err
				}()
				<-s.started
				server.stop()
				err := <-failed
				wantCode(t, err, connect.CodeUnavailable)
				wantCertainty(t, err, rpcmesh.CertaintyUnknown)
				gone(t, caller)
				server = serve(t, server.addr, mux(s.server()), nil, test.old)
				back(t, caller)
				if _, err := client.Greet(within(t), &greetv1.GreetRequest{Name: "Ada"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestStreamWhenServerDies: the responses that have come are not lost, and the end says that the call had begun.
func TestStreamWhenServerDies(t *testing.T) {
	s := newStock()
	server := serve(t, "127.0.0.1:0", mux(s.server()), nil, false)
	node := lone(t)
	outer := t // the server outlives the test that starts it again
	for _, protocol := range []adopt.Protocol{adopt.GRPC, adopt.GRPCWeb, adopt.Connect} {
		t.Run(protocol.String(), func(t *testing.T) {
			a := ready(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.Protocol = protocol }))
			stream, err := greetv1rpcmesh.NewGreeterClient(node.Namespace("public")).Chat(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.SendHeaders(); err != nil {
				t.Fatal(err)
			}
			if res, err := stream.Receive(); err != nil || res.GetLine() != "welcome" {
				t.Fatal(res, err)
			}
			server.stop()
			_, err = stream.Receive()
			wantCode(t, err, connect.CodeUnavailable)
			wantCertainty(t, err, rpcmesh.CertaintyStarted)
			server = serve(outer, server.addr, mux(s.server()), nil, false)
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNotStarted: a call for which there is no connection has certainly not begun.
func TestNotStarted(t *testing.T) {
	server := serve(t, "127.0.0.1:0", mux(newStock().server()), nil, false)
	var broken atomic.Bool
	var conns sync.Map
	node := lone(t)
	ready(t, node, server.url, quick(func(cfg *adopt.Config) {
		cfg.ProbeInterval, cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour, time.Hour // too late to withdraw
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if broken.Load() {
				return nil, io.ErrClosedPipe
			}
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				conns.Store(c, c)
			}
			return c, err
		}
	}))
	// The functions stay for a moment after the connection has gone, and calls find out as well.
	ns := node.Namespace("public")
	broken.Store(true)
	conns.Range(func(c, _ any) bool { return c.(net.Conn).Close() == nil })
	for ctx := within(t); ; {
		_, err := greetv1rpcmesh.NewGreeterClient(ns).Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
		if connect.CodeOf(err) == connect.CodeUnimplemented {
			t.Skip("it was withdrawn before it could be called")
		}
		wantCode(t, err, connect.CodeUnavailable)
		if f, ok := rpcmesh.FailureOf(err); ok && f.Certainty == rpcmesh.CertaintyNotStarted {
			if f.NodeName != "lone" {
				t.Errorf("failed at %q", f.NodeName)
			}
			return
		}
	}
}

// TestHealth: what a server says of itself, and of a service, is followed.
func TestHealth(t *testing.T) {
	for _, noWatch := range []bool{false, true} {
		t.Run(map[bool]string{false: "by Watch", true: "by Check"}[noWatch], func(t *testing.T) {
			t.Parallel()
			s, h := newStock(), newHealthy()
			h.noWatch = noWatch
			s.services = h.methods()
			server := serve(t, "127.0.0.1:0", mux(s.server()), nil, false)
			cfg := quick()
			if !noWatch {
				cfg.ProbeInterval = time.Hour
			}
			node := lone(t)
			ns := node.Namespace("public")
			a := ready(t, node, server.url, cfg)
			for _, name := range []string{"", service} {
				back(t, ns)
				h.set(name, 2)
				gone(t, ns)
				if name == "" {
					ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
					wantCode(t, a.Ready(ctx), connect.CodeDeadlineExceeded)
					cancel()
				}
				h.set(name, 1)
				back(t, ns)
				if err := a.Ready(within(t)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestSilentServer: one that takes connections and says nothing any more counts as down, and its calls end.
func TestSilentServer(t *testing.T) {
	s := newStock()
	handler, silent := mux(s.server()), make(chan struct{})
	server := serve(t, "127.0.0.1:0", handler, nil, false)
	pipe := newPipe(t, server.addr, silent)
	node := lone(t)
	ns := node.Namespace("public")
	ready(t, node, "http://"+pipe, quick(func(cfg *adopt.Config) { cfg.ProbeTimeout = time.Second }))
	failed := make(chan error, 1)
	go func() {
		_, err := greetv1rpcmesh.NewGreeterClient(ns).Greet(within(t), &greetv1.GreetRequest{Name: "wait"})
		failed <- err
	}()
	<-s.started
	close(silent)
	gone(t, ns)
	wantCode(t, <-failed, connect.CodeUnavailable)
}

// newPipe passes bytes on to addr until silent is closed, and none after that.
func newPipe(t *testing.T, addr string, silent <-chan struct{}) string {
	l := listen(t, "127.0.0.1:0")
	var tasks sync.WaitGroup
	copies := func(to, from net.Conn) {
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				_ = to.Close()
				return
			}
			select {
			case <-silent:
			default:
				_, _ = to.Write(buf[:n])
			}
		}
	}
	tasks.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", addr)
			if err != nil {
				_ = in.Close()
				continue
			}
			tasks.Go(func() { copies(in, out) })
			tasks.Go(func() { copies(out, in) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		tasks.Wait()
	})
	return l.Addr().String()
}

// TestLateServer: adopting does not wait for the server, which may come later.
func TestLateServer(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	addr := l.Addr().String()
	_ = l.Close()
	node := lone(t)
	a := start(t, node, "http://"+addr, quick())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := a.Ready(ctx)
	wantCode(t, err, connect.CodeDeadlineExceeded)
	if !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v does not say why", err)
	}
	serve(t, addr, mux(newStock().server()), nil, false)
	back(t, node.Namespace("public"))
}

// TestChangedSchema: what the server has when it is back is what is offered.
func TestChangedSchema(t *testing.T) {
	s := newStock()
	server := serve(t, "127.0.0.1:0", mux(s.server()), nil, false)
	node := lone(t)
	ns := node.Namespace("public")
	ready(t, node, server.url, quick())
	back(t, ns)
	server.stop()
	liar := &liar{set: set(t, file("other.proto", "other", "Other"))}
	serve(t, server.addr, liar.handler(), nil, false)
	if err := ns.WaitFor(within(t), "/other.Other/Do"); err != nil {
		t.Fatal(err)
	}
	if got := procedures(ns); !slices.Equal(got, []string{"/other.Other/Do"}) {
		t.Errorf("the node offers %v", got)
	}
}

// TestTaken: a function that another node has is that node's until it goes.
func TestTaken(t *testing.T) {
	node := lone(t)
	ns := node.Namespace("public")
	origin, err := greetv1rpcmesh.RegisterGreeterOrigin(ns, greetv1rpcmesh.UnimplementedGreeterServer{})
	if err != nil {
		t.Fatal(err)
	}
	server := serve(t, "127.0.0.1:0", mux(newStock().server()), nil, false)
	a := start(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.RetryMin, cfg.RetryMax = time.Hour, time.Hour }))
	wantCode(t, a.Ready(within(t)), connect.CodeAlreadyExists)
	_ = origin.Unregister()
	for ctx := within(t); ; {
		res, err := greetv1rpcmesh.NewGreeterClient(ns).Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
		if err == nil && res.GetGreeting() == "Hello, Ada" {
			break
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	for a.Ready(within(t)) != nil {
	}
}

// TestReplicated: two nodes adopt servers that have the same functions, and calls go to both.
func TestReplicated(t *testing.T) {
	c := rpcmeshtest.New(t)
	c.Link("a", "b", "public")
	stocks := []*stock{newStock(), newStock()}
	for i, name := range []string{"a", "b"} {
		server := serve(t, "127.0.0.1:0", mux(stocks[i].server()), nil, false)
		ready(t, c.Node(name), server.url, quick(func(cfg *adopt.Config) { cfg.Policy = rpcmesh.PolicyRoundRobin }))
	}
	client := greetv1rpcmesh.NewGreeterClient(c.Node("a").Namespace("public"))
	for len(stocks[0].calls) == 0 || len(stocks[1].calls) == 0 {
		if _, err := client.Greet(within(t), &greetv1.GreetRequest{Name: "Ada"}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClose: it withdraws, ends the calls that run, and may be called again.
func TestClose(t *testing.T) {
	s := newStock()
	server := serve(t, "127.0.0.1:0", mux(s.server()), nil, false)
	node, caller := chained(t)
	a := ready(t, node, server.url, quick())
	back(t, caller)
	failed := make(chan error, 1)
	go func() {
		_, err := greetv1rpcmesh.NewGreeterClient(caller).Greet(within(t), &greetv1.GreetRequest{Name: "wait"})
		failed <- err
	}()
	<-s.started
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	err := <-failed
	wantCode(t, err, connect.CodeUnavailable)
	wantCertainty(t, err, rpcmesh.CertaintyUnknown)
	gone(t, caller)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	wantCode(t, a.Ready(within(t)), connect.CodeFailedPrecondition)
	<-s.canceled
}

// TestNodeCloses: a node may go before what it has adopted.
func TestNodeCloses(t *testing.T) {
	server := serve(t, "127.0.0.1:0", mux(newStock().server()), nil, false)
	node, err := rpcmesh.NewNode(rpcmesh.Config{AcceptAnyone: true})
	if err != nil {
		t.Fatal(err)
	}
	a := ready(t, node, server.url, quick())
	if err := node.Shutdown(within(t)); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	_, err = adopt.New(node, server.url, quick())
	wantCode(t, err, connect.CodeFailedPrecondition)
}

// TestRedirect: what the server redirects to is not shown the node's token.
func TestRedirect(t *testing.T) {
	var asked atomic.Bool
	other := serve(t, "127.0.0.1:0", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Store(true) }), nil, false)
	server := serve(t, "127.0.0.1:0", http.RedirectHandler(other.url, http.StatusTemporaryRedirect), nil, false)
	node := lone(t)
	a := start(t, node, server.url, quick(func(cfg *adopt.Config) { cfg.Header = http.Header{"Authorization": {"Bearer x"}} }))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := a.Ready(ctx); err == nil || asked.Load() {
		t.Errorf("got %v, asked: %v", err, asked.Load())
	}
}
