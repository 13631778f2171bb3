package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestShutdownLetsCallsEnd: functions are withdrawn at once, running calls end by themselves, and the node
// says goodbye.
func TestShutdownLetsCallsEnd(t *testing.T) {
	everywhere(t, func(w *world) {
		if w.links() == 0 {
			return // a caller at the node itself: TestShutdownWaitsForOwnCalls
		}
		w.serve(funcs{chat: echo})
		stream := mustChat(w, w.caller)
		mustSend(w, stream, "before")
		wantLines(w, stream, "before")
		begin := time.Now()
		down := make(chan error, 1)
		origin := w.Node(w.path[w.links()])
		go func() { down <- origin.Shutdown(w.Context()) }()
		synctest.Wait()
		_, err := greet(w.Context(), w.caller, "Ada")
		wantError(w.T, err, connect.CodeUnavailable, "withdrawn")
		time.Sleep(time.Hour) // fake time
		mustSend(w, stream, "while it drains")
		wantLines(w, stream, "while it drains")
		select {
		case err := <-down:
			w.Fatalf("Shutdown returned while a call runs: %v", err)
		default:
		}
		stream.CloseSend()
		wantEnd(w, stream)
		if err := <-down; err != nil || time.Since(begin) > time.Hour+2*time.Second {
			w.Errorf("Shutdown: %v after %v", err, time.Since(begin))
		}
	})
}

// TestShutdownCutsOff: when its context ends, so do the calls.
func TestShutdownCutsOff(t *testing.T) {
	everywhere(t, func(w *world) {
		ended := make(chan struct{})
		w.serve(funcs{chat: func(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			defer close(ended)
			return echo(ctx, stream)
		}})
		stream := mustChat(w, w.caller)
		mustSend(w, stream, "before")
		wantLines(w, stream, "before")
		ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		err := w.Node(w.path[w.links()]).Shutdown(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > time.Minute+2*time.Second {
			w.Errorf("Shutdown: %v after %v", err, time.Since(begin))
		}
		<-ended
		if _, err := stream.Receive(); err == nil {
			w.Error("the call goes on")
		}
	})
}

// TestShutdownWaitsForOwnCalls: the calls that a node makes are part of its work.
func TestShutdownWaitsForOwnCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		register(t, c.Node("a").Namespace("public"), funcs{greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			time.Sleep(5 * time.Second) // fake time
			return &greetv1.GreetResponse{Greeting: "late"}, nil
		}})
		synctest.Wait()
		got := make(chan error, 1)
		go func() {
			_, err := greet(t.Context(), c.Node("b").Namespace("public"), "Ada")
			got <- err
		}()
		synctest.Wait()
		if err := c.Node("b").Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-got; err != nil {
			t.Errorf("the call of a node that was shut down: %v", err)
		}
	})
}

// TestShutdownRefuses: what is draining takes on nothing new.
func TestShutdownRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		a := c.Node("a")
		register(t, a.Namespace("public"), funcs{chat: echo})
		synctest.Wait()
		stream := mustChat(t, c.Node("b").Namespace("public"))
		mustSend(t, stream, "before")
		wantLines(t, stream, "before")
		down := make(chan error, 1)
		go func() { down <- a.Shutdown(t.Context()) }()
		synctest.Wait()
		_, err := a.Namespace("public").Register(work("/test.v1.At/Late", "a"))
		wantError(t, err, connect.CodeFailedPrecondition, "")
		_, err = a.Link(rpcmeshtest.URL("b"))
		wantError(t, err, connect.CodeFailedPrecondition, "")
		late := mustNode(t, rpcmesh.Config{Name: "late", Secret: rpcmeshtest.Secret, Dial: c.Dialer("late")})
		late.Namespace("public")
		link, err := late.Link(rpcmeshtest.URL("a"), "public")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantError(t, link.Ready(ctx), connect.CodeDeadlineExceeded, "refused")
		stream.CloseSend()
		wantEnd(t, stream)
		if err := <-down; err != nil {
			t.Error(err)
		}
	})
}

// mustNode returns a node that is closed at the test's end.
func mustNode(t testing.TB, cfg rpcmesh.Config) *rpcmesh.Node {
	t.Helper()
	n, err := rpcmesh.NewNode(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// TestRollingRestart: the replicas of a function are shut down and started again, one after the other, while
// callers call a method that must not be repeated. No call is lost.
func TestRollingRestart(t *testing.T) {
	for _, policy := range []rpcmesh.Policy{rpcmesh.PolicyRoundRobin, rpcmesh.PolicyRandom, rpcmesh.PolicyLeastPending, rpcmesh.PolicyNearest} {
		t.Run(policy.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				replicas := []string{"a", "b", "c"}
				// m1 and m2 relay; the callers are at x, two links away, and at m1, beside.
				for _, name := range []string{"m1", "m2", "x"} {
					c.Node(name)
				}
				c.Link("x", "m1", "public")
				c.Link("x", "m2", "public")
				for _, name := range replicas {
					c.Setup(name, func(n *rpcmesh.Node) {
						mustRegister(t, n.Namespace("public").Replicated(policy), worker(func(ctx context.Context, number string) (string, error) {
							select {
							case <-time.After(3 * time.Millisecond):
								return number, nil
							case <-ctx.Done():
								return "", ctx.Err()
							}
						}))
					})
					c.Link(name, "m1", "public")
					c.Link(name, "m2", "public")
				}
				synctest.Wait()
				var callers sync.WaitGroup
				var calls atomic.Int64
				over := make(chan struct{})
				for i := range 20 {
					caller := c.Node([]string{"x", "m1"}[i%2]).Namespace("public")
					callers.Go(func() {
						for {
							select {
							case <-over:
								return
							default:
							}
							number := fmt.Sprint(calls.Add(1))
							if got, err := do(t.Context(), caller, workSpec(), number); err != nil || got != number {
								t.Errorf("call %s was lost at %v: %q, %v", number, time.Now().Format("05.000"), got, err)
							}
						}
					})
				}
				for range 3 {
					for _, name := range replicas {
						time.Sleep(100 * time.Millisecond) // fake time
						if err := c.Node(name).Shutdown(t.Context()); err != nil {
							t.Errorf("shutting %s down: %v", name, err)
						}
						c.Restart(name)
						time.Sleep(100 * time.Millisecond) // fake time
					}
				}
				close(over)
				callers.Wait()
				if calls.Load() < 1000 {
					t.Errorf("only %d calls were made", calls.Load())
				}
			})
		})
	}
}

// TestShutdownOfRelay: what is on its way through a node ends by itself, new calls go around it, and find
// no way where there is no other.
func TestShutdownOfRelay(t *testing.T) {
	for _, way := range []string{"another way", "no other way"} {
		t.Run(way, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				chain(c, 3, "public")
				if way == "another way" {
					c.Node("z")
					c.Link("a", "z", "public")
					c.Link("z", "c", "public")
				}
				register(t, c.Node("c").Namespace("public"), funcs{chat: echo, greet: says("c").greet})
				synctest.Wait()
				caller := c.Node("a").Namespace("public")
				relay := c.Node(viaOf(caller))
				stream := mustChat(t, caller)
				mustSend(t, stream, "before")
				wantLines(t, stream, "before")
				down := make(chan error, 1)
				go func() { down <- relay.Shutdown(t.Context()) }()
				synctest.Wait()
				if _, err := greet(t.Context(), caller, "Ada"); way == "another way" && err != nil {
					t.Errorf("a call that has another way: %v", err)
				} else if way != "another way" {
					wantError(t, err, connect.CodeUnavailable, "leaving")
				}
				time.Sleep(time.Hour) // fake time
				mustSend(t, stream, "while it drains")
				wantLines(t, stream, "while it drains")
				select {
				case err := <-down:
					t.Fatalf("Shutdown returned over a call on its way: %v", err)
				default:
				}
				stream.CloseSend()
				wantEnd(t, stream)
				if err := <-down; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// viaOf names the first relay on the way to the greeter.
func viaOf(ns *rpcmesh.Namespace) string {
	if route := ns.Route(greetv1rpcmesh.GreeterGreetProcedure); len(route) > 2 {
		return route[1].Name
	}
	return ""
}

// TestShutdownOfRelayCutsOff: where its context ends first, so do the calls on their way.
func TestShutdownOfRelayCutsOff(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		register(t, c.Node("c").Namespace("public"), funcs{chat: echo})
		synctest.Wait()
		stream := mustChat(t, c.Node("a").Namespace("public"))
		mustSend(t, stream, "before")
		wantLines(t, stream, "before")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Node("b").Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown: %v", err)
		}
		_, err := stream.Receive()
		wantError(t, err, connect.CodeUnavailable, "")
	})
}

// TestRollingRestartOfRelays: the relays between callers and origin are shut down and started again, one
// after the other. No call is lost, though none may be repeated.
func TestRollingRestartOfRelays(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		mustRegister(t, c.Node("a").Namespace("public"), worker(func(_ context.Context, number string) (string, error) {
			time.Sleep(3 * time.Millisecond) // fake time
			return number, nil
		}))
		relays := []string{"m1", "m2"}
		for _, m := range relays {
			c.Setup(m, func(n *rpcmesh.Node) { n.Namespace("public") })
			c.Link(m, "a", "public")
			c.Link(m, "x", "public")
		}
		synctest.Wait()
		var callers sync.WaitGroup
		var calls atomic.Int64
		over := make(chan struct{})
		for range 20 {
			callers.Go(func() {
				for {
					select {
					case <-over:
						return
					default:
					}
					number := fmt.Sprint(calls.Add(1))
					if got, err := do(t.Context(), c.Node("x").Namespace("public"), workSpec(), number); err != nil || got != number {
						t.Errorf("call %s was lost at %v: %q, %v", number, time.Now().Format("05.000"), got, err)
					}
				}
			})
		}
		for range 3 {
			for _, m := range relays {
				time.Sleep(100 * time.Millisecond) // fake time
				if err := c.Node(m).Shutdown(t.Context()); err != nil {
					t.Errorf("shutting %s down: %v", m, err)
				}
				c.Restart(m)
				time.Sleep(100 * time.Millisecond) // fake time
			}
		}
		close(over)
		callers.Wait()
		if calls.Load() < 1000 {
			t.Errorf("only %d calls were made", calls.Load())
		}
	})
}

// TestClose: everything of the node has ended when Close returns, calls that it runs for itself included.
func TestClose(t *testing.T) {
	everywhere(t, func(w *world) {
		var running atomic.Int32
		w.serve(funcs{chat: func(ctx context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			return ctx.Err()
		}})
		var streams []greetv1rpcmesh.GreeterChatClientStream
		for range 10 {
			stream := mustChat(w, w.caller)
			if err := stream.SendHeaders(); err != nil {
				w.Fatal(err)
			}
			streams = append(streams, stream)
		}
		synctest.Wait()
		if running.Load() != 10 {
			w.Fatalf("%d calls run", running.Load())
		}
		begin := time.Now()
		w.Stop(w.path[w.links()])
		if running.Load() != 0 {
			w.Errorf("%d calls run after Close", running.Load())
		}
		if took := time.Since(begin); took > 0 {
			w.Errorf("Close took %v", took)
		}
		for _, stream := range streams {
			if _, err := stream.Receive(); connect.CodeOf(err) != connect.CodeUnavailable {
				w.Errorf("the caller received %v", err)
			}
		}
	})
}

// TestClosedNode: everything that is asked of a closed node fails with failed_precondition, and closing it
// again is fine.
func TestClosedNode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		n := c.Node("a")
		ns := n.Namespace("public")
		origin := register(t, ns, greeter{})
		c.Node("b")
		link := c.Link("a", "b", "public")
		c.Stop("a")
		listener, err := c.Listen("a")
		if err != nil {
			t.Fatal(err)
		}
		_, errRegister := ns.Register(work("/test.v1.At/A", "a"))
		_, errLink := n.Link(rpcmeshtest.URL("b"))
		_, errGroup := n.Group("all", []string{"x"})
		_, errCall := greet(t.Context(), ns, "Ada")
		for what, err := range map[string]error{
			"register": errRegister, "link": errLink, "group": errGroup, "call": errCall,
			"serve": n.Serve(t.Context(), listener), "ready": link.Ready(t.Context()), "wait": ns.WaitFor(t.Context(), "/test.v1.At/A"),
			"wait visible": ns.WaitVisible(t.Context()),
		} {
			want := connect.CodeFailedPrecondition
			if what == "call" {
				want = connect.CodeUnavailable // its caller may be one whom it is nothing to that this node is closed
			}
			if connect.CodeOf(err) != want {
				t.Errorf("%s: %v", what, err)
			}
		}
		for what, err := range map[string]error{
			"close": n.Close(), "shutdown": n.Shutdown(t.Context()), "unregister": origin.Unregister(), "close link": link.Close(),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := listener.Accept(); err == nil {
			t.Error("Serve left the listener open")
		}
	})
}
