package rpcmesh_test

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

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
			mustWaitFor(t, d.Namespace("public"), greeterProcedures...)
			stream = mustChat(t, d.Namespace("public"))
			mustSend(t, stream, "again")
			wantLines(t, stream, "again")
		})
	}
}

// waitGone waits until a function of another node has gone from ns.
func waitGone(ctx context.Context, ns *rpcmesh.Namespace) {
	for e := range ns.Watch(ctx) {
		if e.Kind == rpcmesh.FunctionRemoved || len(functionsOf(ns)) == len(greeterProcedures) {
			return
		}
	}
}
