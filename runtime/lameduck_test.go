package rpcmesh_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestLameDuck: at first only what tells load balancers changes; the rest when the lame-duck time is over.
func TestLameDuck(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		const lame = 5 * time.Second
		a := c.Node("a", func(cfg *rpcmesh.Config) { cfg.LameDuck = lame })
		c.Node("b")
		c.Link("b", "a", "public")
		register(t, a.Namespace("public"), says("a"))
		synctest.Wait()
		ready := func() int { return readiness(t, a) }
		state := func() [3]bool {
			return [3]bool{closed(a.Stopping()), closed(a.Draining()), rawcall.GatewayNodeOf(a).Admit(t.Context()) != nil}
		}
		if ready() != http.StatusOK || state() != [3]bool{} {
			t.Errorf("before: %d, %v", ready(), state())
		}
		begin := time.Now()
		down := make(chan error, 2)
		for range 2 { // the second waits for what the first has begun
			go func() { down <- a.Shutdown(t.Context()) }()
		}
		synctest.Wait()
		for time.Since(begin) < lame-time.Millisecond {
			if ready() != http.StatusServiceUnavailable || state() != [3]bool{true, false, false} {
				t.Errorf("lame duck: %d, %v", ready(), state())
			}
			if _, err := greet(t.Context(), c.Node("b").Namespace("public"), "Ada"); err != nil {
				t.Errorf("a call of a lame duck: %v", err)
			}
			if _, err := a.Namespace("public").Register(); err != nil {
				t.Errorf("registering at a lame duck: %v", err)
			}
			time.Sleep(lame/4 - time.Millisecond) // fake time
		}
		for range 2 {
			if err := <-down; err != nil || time.Since(begin) < lame || time.Since(begin) > lame+3*time.Second {
				t.Errorf("Shutdown: %v after %v", err, time.Since(begin))
			}
		}
		if ready() != http.StatusServiceUnavailable || state() != [3]bool{true, true, true} {
			t.Errorf("afterwards: %d, %v", ready(), state())
		}
		err := rawcall.GatewayNodeOf(a).Admit(t.Context())
		wantError(t, err, connect.CodeUnavailable, "shutting down")
		if failure, ok := rpcmesh.FailureOf(err); !ok || failure.Certainty != rpcmesh.CertaintyNotStarted {
			t.Errorf("a call that is not admitted: %v", failure)
		}
	})
}

// readiness is the status that a node's readiness answers with.
func readiness(t *testing.T, n *rpcmesh.Node) int {
	w := httptest.NewRecorder()
	n.Readiness().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	return w.Code
}

// TestReadiness: a node that dials is not ready before one of its links has been, and stays so when it falls.
func TestReadiness(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		a := c.Node("a")
		if got := readiness(t, a); got != http.StatusOK {
			t.Errorf("a node without links: %d", got)
		}
		for _, name := range []string{"absent", "b"} {
			if _, err := a.Link(rpcmeshtest.URL(name), "public"); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := readiness(t, a); got != http.StatusServiceUnavailable {
			t.Errorf("before a link is up: %d", got)
		}
		c.Node("b").Namespace("public")
		time.Sleep(time.Minute) // fake time
		if got := readiness(t, a); got != http.StatusOK {
			t.Errorf("linked: %d", got)
		}
		c.Stop("b")
		synctest.Wait()
		if got := readiness(t, a); got != http.StatusOK {
			t.Errorf("after the link has fallen: %d", got)
		}
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestLameDuckEndsEarly: with its context, and with Close.
func TestLameDuckEndsEarly(t *testing.T) {
	for name, end := range map[string]func(n *rpcmesh.Node, cancel func()){
		"context": func(_ *rpcmesh.Node, cancel func()) { cancel() },
		"Close":   func(n *rpcmesh.Node, _ func()) { n.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				n := c.Node("a", func(cfg *rpcmesh.Config) { cfg.LameDuck = time.Hour })
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				begin := time.Now()
				down := make(chan error, 1)
				go func() { down <- n.Shutdown(ctx) }()
				synctest.Wait()
				end(n, cancel)
				<-down
				if time.Since(begin) > 0 {
					t.Errorf("it took %v", time.Since(begin))
				}
			})
		})
	}
}

// told is a handler that waits until it is told to end, then says why and ends by what its context says.
func told(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	if err := stream.Send(&greetv1.ChatResponse{Line: "begun"}); err != nil {
		return err
	}
	<-ctx.Done()
	if err := stream.Send(&greetv1.ChatResponse{Line: context.Cause(ctx).Error()}); err != nil {
		return err
	}
	return ctx.Err()
}

// TestDrainingTellsStreams: a stream is told in time by its context, wherever its caller is, and can end well; its caller
// learns that the node was shutting down, not that it had let go itself. Unary calls are left alone.
func TestDrainingTellsStreams(t *testing.T) {
	for name, test := range map[string]struct{ limit, after time.Duration }{
		"no limit":      {0, 5 * time.Second},
		"a short limit": {4 * time.Second, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(w *world) {
				w.serve(funcs{chat: told, greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
					select {
					case <-ctx.Done():
						return nil, ctx.Err()
					case <-time.After(3 * time.Second):
						return &greetv1.GreetResponse{Greeting: "late"}, nil
					}
				}})
				stream := mustChat(w, w.caller)
				mustSend(w, stream, "begin")
				wantLines(w, stream, "begun")
				unary := make(chan error, 1)
				go func() {
					_, err := greet(w.Context(), w.caller, "Ada")
					unary <- err
				}()
				synctest.Wait()
				ctx, cancel := w.Context(), context.CancelFunc(func() {})
				if test.limit > 0 {
					ctx, cancel = context.WithTimeout(ctx, test.limit)
				}
				defer cancel()
				down := make(chan error, 1)
				begin := time.Now()
				go func() { down <- w.Node(w.path[w.links()]).Shutdown(ctx) }()
				wantLines(w, stream, rpcmesh.ErrDraining.Error())
				if took := time.Since(begin); took < test.after-time.Second || took > test.after {
					w.Errorf("told after %v", took)
				}
				_, err := stream.Receive()
				wantError(w.T, err, connect.CodeUnavailable, "shutting down")
				if failure, _ := rpcmesh.FailureOf(err); failure.Certainty != rpcmesh.CertaintyStarted {
					w.Errorf("the call's failure: %v", failure)
				}
				if err := <-unary; err != nil {
					w.Errorf("the unary call: %v", err)
				}
				if err := <-down; err != nil {
					w.Error(err)
				}
			})
		})
	}
}

// TestDrainingHandlers: what handlers that were told end by, as their callers see it.
func TestDrainingHandlers(t *testing.T) {
	own := connect.NewError(connect.CodeAborted, "half done")
	for name, test := range map[string]struct {
		end  func(context.Context) error
		code connect.Code // 0: it ended well
	}{
		"well":                 {func(context.Context) error { return nil }, 0},
		"the context's error":  {context.Context.Err, connect.CodeUnavailable},
		"the cause":            {context.Cause, connect.CodeUnavailable},
		"wrapped":              {func(ctx context.Context) error { return errors.Join(io.ErrClosedPipe, ctx.Err()) }, connect.CodeUnavailable},
		"canceled, by Connect": {func(context.Context) error { return connect.NewError(connect.CodeCanceled, "") }, connect.CodeUnavailable},
		"its own verdict":      {func(context.Context) error { return own }, connect.CodeAborted},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				chain(c, 2, "public")
				register(t, c.Node("a").Namespace("public"), funcs{chat: func(ctx context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error {
					<-ctx.Done()
					return test.end(ctx)
				}})
				synctest.Wait()
				stream := mustChat(t, c.Node("b").Namespace("public"))
				mustSend(t, stream, "begin")
				synctest.Wait()
				if err := c.Node("a").Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				_, err := stream.Receive()
				if test.code == 0 && !errors.Is(err, io.EOF) || test.code != 0 && connect.CodeOf(err) != test.code {
					t.Errorf("its caller: %v", err)
				}
			})
		})
	}
}

// noBuffers are the handlers of a gateway that nobody calls.
type noBuffers struct{}

func (noBuffers) NewBufferedHandler() h2serve.BufferedHandler { return nil }

// TestShutdownBehindProxy: a link that comes by a connection for HTTP is no caller to wait for, and carries the calls
// that run to their ends.
func TestShutdownBehindProxy(t *testing.T) {
	for _, name := range []string{"net/http", "own"} {
		t.Run(name, func(t *testing.T) {
			a, backend := serveNode(t, rpcmesh.Config{Name: "a", Secret: "s"})
			if name == "own" { // a node with a gateway serves HTTP/2 itself
				rawcall.GatewayNodeOf(a).MountGateway(http.NotFoundHandler(), noBuffers{})
			}
			register(t, a.Namespace("public"), funcs{chat: echo})
			target, err := url.Parse(backend)
			if err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{Protocols: h2c()}
			t.Cleanup(transport.CloseIdleConnections)
			front := serveHTTP(t, &http.Server{Protocols: h2c(), Handler: &httputil.ReverseProxy{
				Transport: transport, FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
				Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
			}})
			b := mustNode(t, rpcmesh.Config{Name: "b", Secret: "s"})
			mustLink(t, b, front, "public")
			stream := mustChat(t, b.Namespace("public"))
			mustSend(t, stream, "before")
			wantLines(t, stream, "before")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			down := make(chan error, 1)
			go func() { down <- a.Shutdown(ctx) }()
			<-a.Draining()
			mustSend(t, stream, "while it drains")
			wantLines(t, stream, "while it drains")
			stream.CloseSend()
			wantEnd(t, stream)
			if err := <-down; err != nil {
				t.Error(err)
			}
			b.Close()
		})
	}
}

// TestShutdownWaitsForHandlers: requests of other HTTP handlers of the node's end by themselves, too, and their
// connections are told to.
func TestShutdownWaitsForHandlers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		const long = 10 * time.Second
		a := c.Node("a")
		a.Handle("/long", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(long) // fake time
			_, _ = io.WriteString(w, "done")
		}))
		a.Handle("/short", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		transport := &http.Transport{DialContext: c.Dialer("client")}
		defer transport.CloseIdleConnections()
		get := func(path string) (string, bool) {
			res, err := (&http.Client{Transport: transport}).Get(rpcmeshtest.URL("a") + path)
			if err != nil {
				return err.Error(), false
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			return string(body), res.Close
		}
		answer := make(chan string, 1)
		go func() {
			body, _ := get("/long")
			answer <- body
		}()
		synctest.Wait()
		get("/short") // over another connection, which is idle then
		synctest.Wait()
		begin := time.Now()
		down := make(chan error, 1)
		go func() { down <- a.Shutdown(t.Context()) }()
		synctest.Wait()
		if text, closes := get("/short"); text != "" || !closes {
			t.Errorf("a request while the node drains: %q, closes %v", text, closes)
		}
		if err := <-down; err != nil || time.Since(begin) < long || time.Since(begin) > long+time.Second {
			t.Errorf("Shutdown: %v after %v", err, time.Since(begin))
		}
		if got := <-answer; got != "done" {
			t.Errorf("the long request: %q", got)
		}
	})
}
