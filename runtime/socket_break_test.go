package rpcmesh_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// forwarder is a stretch of cable between a dialler and a listener that can be pulled in three ways.
type forwarder struct {
	t  testing.TB
	to string
	l  net.Listener

	mu     sync.Mutex
	conns  []*net.TCPConn
	silent chan struct{} // closed while nothing passes
}

func newForwarder(t testing.TB, to string) *forwarder {
	t.Helper()
	f := &forwarder{t: t, to: to, l: listen(t), silent: make(chan struct{})}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			conn, err := f.l.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { f.forward(conn.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() {
		f.l.Close()
		f.fin()
		passing.Wait()
	})
	return f
}

func (f *forwarder) url() string { return "http://" + f.l.Addr().String() }

func (f *forwarder) forward(in *net.TCPConn) {
	conn, err := net.Dial("tcp", f.to)
	if err != nil {
		in.Close()
		return
	}
	out := conn.(*net.TCPConn)
	f.mu.Lock()
	f.conns = append(f.conns, in, out)
	silent := f.silent
	f.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { pass(out, in, silent) })
	pass(in, out, silent)
	both.Wait()
	in.Close()
	out.Close()
}

// pass copies until the end of src, or until it is to be silent.
func pass(dst, src *net.TCPConn, silent <-chan struct{}) {
	buf := make([]byte, 32<<10)
	for {
		n, err := src.Read(buf)
		select {
		case <-silent:
			_, _ = io.Copy(io.Discard, src) // until it is closed
			return
		default:
		}
		if _, errWrite := dst.Write(buf[:n]); err != nil || errWrite != nil {
			dst.CloseWrite()
			return
		}
	}
}

// take returns the open connections and forgets them.
func (f *forwarder) take() []*net.TCPConn {
	f.mu.Lock()
	defer f.mu.Unlock()
	conns := f.conns
	f.conns = nil
	return conns
}

// fin closes the connections in order.
func (f *forwarder) fin() {
	for _, c := range f.take() {
		c.Close()
	}
}

// rst breaks the connections by TCP resets.
func (f *forwarder) rst() {
	for _, c := range f.take() {
		_ = c.SetLinger(0)
		c.Close()
	}
}

// silence has the connections lose all that is sent. New ones are not concerned.
func (f *forwarder) silence() {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.silent)
	f.silent = make(chan struct{})
}

// TestSocketBreaks: a link lost by FIN, by RST and by silence is noticed in time at both ends, its calls end, what lay
// behind it goes, and it comes back.
func TestSocketBreaks(t *testing.T) {
	// FIN and RST are noticed by themselves, long before keepalive would: that much a busy machine allows.
	const keepalive = 3 * time.Second
	for name, c := range map[string]struct {
		lose   func(*forwarder)
		within time.Duration
	}{
		"FIN":     {(*forwarder).fin, keepalive / 2},
		"RST":     {(*forwarder).rst, keepalive / 2},
		"silence": {(*forwarder).silence, 10 * keepalive},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := func(name string) rpcmesh.Config {
				return rpcmesh.Config{Name: name, Secret: "s", Keepalive: keepalive}
			}
			a, url := serveNode(t, cfg("a"))
			register(t, a.Namespace("public"), funcs{chat: echo})
			cable := newForwarder(t, url[len("http://"):])
			b, bURL := serveNode(t, cfg("b"))
			mustLink(t, b, cable.url(), "public")
			d := mustNode(t, cfg("d"))
			mustLink(t, d, bURL, "public")
			mustRegister(t, d.Namespace("public"), work("/test.v1.At/D", "d"))
			mustWaitFor(t, d.Namespace("public"), greeterProcedures...)
			mustWaitFor(t, a.Namespace("public"), "/test.v1.At/D")
			stream := mustChat(t, d.Namespace("public"))
			mustSend(t, stream, "hello")
			wantLines(t, stream, "hello")

			begin := time.Now()
			c.lose(cable)
			_, err := stream.Receive()
			wantFailure(t, err, started, "b")
			ctx, cancel := context.WithTimeout(t.Context(), c.within)
			defer cancel()
			waitGone(ctx, a.Namespace("public"))
			if took := time.Since(begin); took > c.within {
				t.Errorf("it was noticed after %v, want within %v", took, c.within)
			}
			chatAgain(t, d.Namespace("public"))
		})
	}
}

// chatAgain has a line echoed once the way to the function is whole again. Until then, where the caller has not heard of
// the break yet, calls fail on their way.
func chatAgain(t *testing.T, ns *rpcmesh.Namespace) {
	t.Helper()
	ctx, cancel := context.WithTimeout(rpcmesh.WaitForReady(t.Context()), 30*time.Second)
	defer cancel()
	for {
		res, err := chatOnce(ctx, ns)
		if err == nil && res.GetLine() == "again" {
			return
		}
		if connect.CodeOf(err) != connect.CodeUnavailable {
			t.Fatalf("received %q, %v", res.GetLine(), err)
		}
	}
}

func chatOnce(ctx context.Context, ns *rpcmesh.Namespace) (*greetv1.ChatResponse, error) {
	stream, err := greetv1rpcmesh.NewGreeterClient(ns).Chat(ctx)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if err := stream.Send(&greetv1.ChatRequest{Line: "again"}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return stream.Receive()
}

// waitGone waits until a function of another node has gone from ns.
func waitGone(ctx context.Context, ns *rpcmesh.Namespace) {
	for e := range ns.Watch(ctx) {
		if e.Kind == rpcmesh.FunctionRemoved || len(functionsOf(ns)) == len(greeterProcedures) {
			return
		}
	}
}

// TestSocketRing: a ring of three nodes, of which each cable is pulled in turn, while calls are made that may be
// repeated. Each of them succeeds, one way round or the other.
func TestSocketRing(t *testing.T) {
	names := []string{"a", "b", "c"}
	nodes, urls := map[string]*rpcmesh.Node{}, map[string]string{}
	for _, name := range names {
		nodes[name], urls[name] = serveNode(t, rpcmesh.Config{Name: name, Secret: "s", RedialMax: 200 * time.Millisecond})
		g := group(t, nodes[name], "ring", []string{"left", "right"}, rpcmesh.Bridged())
		spec := connect.Spec{Procedure: "/test.v1.At/" + name, IdempotencyLevel: connect.IdempotencyNoSideEffects}
		mustRegister(t, g, unary(spec, func(context.Context, string) (string, error) { return name, nil }))
	}
	var cables []*forwarder
	var lasting []*rpcmesh.Link
	links := [][3]string{{"b", "a", "left"}, {"c", "b", "left"}, {"a", "c", "right"}}
	for i, link := range links {
		cables = append(cables, newForwarder(t, urls[link[1]][len("http://"):]))
		lasting = append(lasting, mustLink(t, nodes[link[0]], cables[i].url(), link[2]))
	}
	allKnow := func() {
		t.Helper()
		for _, name := range names {
			if err := nodes[name].Namespace("ring").WaitVisible(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	allKnow()
	over := make(chan struct{})
	var callers sync.WaitGroup
	var calls atomic.Int64
	for i := range 12 {
		from, to := names[i%3], names[(i+1+i/3%2)%3]
		ns := nodes[from].Namespace("ring")
		spec := connect.Spec{Procedure: "/test.v1.At/" + to, IdempotencyLevel: connect.IdempotencyNoSideEffects}
		callers.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if got, err := do(t.Context(), ns, spec, ""); got != to || err != nil {
					t.Errorf("%s to %s: %q, %v", from, to, got, err)
				}
				calls.Add(1)
			}
		})
	}
	for round := range 9 {
		pulled := time.Now()
		cables[round%3].rst()
		// The next one is pulled once this one is back.
		dialler, listener := links[round%3][0], links[round%3][1]
		waitUntil(t, "there is a new link", func() bool {
			return linkedSince(nodes[dialler], listener, pulled) && linkedSince(nodes[listener], dialler, pulled)
		})
		if err := lasting[round%3].Ready(t.Context()); err != nil {
			t.Error(err)
		}
		allKnow()
	}
	close(over)
	callers.Wait()
	if calls.Load() < 100 {
		t.Errorf("only %d calls were made", calls.Load())
	}
}

// linkedSince reports whether n has a link to peer that came up after a time.
func linkedSince(n *rpcmesh.Node, peer string, after time.Time) bool {
	l := linksOf(n)[peer]
	return l.Up && l.Since.After(after)
}

// waitUntil waits until something is so.
func waitUntil(t testing.TB, what string, so func() bool) {
	t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("it is not so that %s", what)
		}
	}
}
