package rpcmesh_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// place is one where the mesh ends a call: how it comes to that, and what the caller is to be told.
type place struct {
	name      string
	code      connect.Code
	certainty rpcmesh.Certainty
	at        string // the node that ended it, or those that may have
	fail      func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error
}

// eachPlace runs all places with both kinds of caller, each in a bubble of its own. They find the chain
// a <- b <- c, of which a holds a Greeter that works until its call is over, and echoes chats.
func eachPlace(t *testing.T, places []place, configure ...func(*rpcmesh.Config)) {
	t.Helper()
	eachCaller(t, func(t *testing.T, from callerOf) {
		for _, p := range places {
			t.Run(p.name, func(t *testing.T) {
				inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
					c.Node("a", configure...)
					c.Node("b", configure...)
					c.Node("c", configure...)
					chain(c, 3, "public")
					register(t, c.Node("a").Namespace("public"), funcs{greet: lasting, chat: lastingEcho})
					synctest.Wait()
					wantTold(t, p.fail(t, c, from), p.code, p.certainty, p.at)
				})
			})
		}
	})
}

// lasting works until its call is over, and takes a second to say so: it is not to be faster than the mesh.
func lasting(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	<-ctx.Done()
	time.Sleep(time.Second) // fake time
	return nil, ctx.Err()
}

// lastingEcho is echo that takes as long to end.
func lastingEcho(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	err := echo(ctx, stream)
	time.Sleep(time.Second) // fake time
	return err
}

func wantTold(t *testing.T, err error, code connect.Code, certainty rpcmesh.Certainty, at string) {
	t.Helper()
	failure, ok := rpcmesh.FailureOf(err)
	if connect.CodeOf(err) != code || !ok || failure.Certainty != certainty || !slices.Contains(strings.Fields(at), failure.NodeName) || failure.Node == (rpcmesh.NodeID{}) {
		t.Errorf("told %v, %v; want %v, %v at %s", err, failure, code, certainty, at)
	}
}

// greetLater begins to greet and returns how that ends.
func greetLater(ctx context.Context, through connect.Transport) <-chan error {
	got := make(chan error, 1)
	go func() {
		_, err := greet(ctx, through, "Ada")
		got <- err
	}()
	synctest.Wait()
	return got
}

// answered has a chat that has had an answer.
func answered(t *testing.T, through connect.Transport) greetv1rpcmesh.GreeterChatClientStream {
	stream := mustChat(t, through)
	mustSend(t, stream, "hello")
	wantLines(t, stream, "hello")
	return stream
}

// over is how a stream ends.
func over(stream greetv1rpcmesh.GreeterChatClientStream) error {
	_, err := stream.Receive()
	return err
}

// TestCertaintyBeforeTheCall: what keeps a call from being made at all says that it was not.
func TestCertaintyBeforeTheCall(t *testing.T) {
	eachPlace(t, []place{
		{"a namespace that cannot be", connect.CodeInvalidArgument, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
			_, err := greet(t.Context(), c.Node("c").Namespace("no/good"), "Ada")
			return err
		}},
		{"an empty namespace", connect.CodeUnimplemented, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
			_, err := greet(t.Context(), c.Node("c").Namespace("empty"), "Ada")
			return err
		}},
		{"no such function", connect.CodeUnimplemented, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			_, err := do(t.Context(), from(c, "c"), workSpec(), "")
			return err
		}},
		{"another kind", connect.CodeUnimplemented, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			_, err := do(t.Context(), from(c, "c"), connect.Spec{Procedure: greetv1rpcmesh.GreeterChatProcedure}, "")
			return err
		}},
		{"a closed node", connect.CodeUnavailable, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			ns := from(c, "c")
			c.Stop("c")
			_, err := greet(t.Context(), ns, "Ada")
			return err
		}},
		{"a context that has ended", connect.CodeCanceled, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := greet(ctx, from(c, "c"), "Ada")
			return err
		}},
		{"a deadline that is past", connect.CodeDeadlineExceeded, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			ctx, cancel := context.WithTimeout(t.Context(), -1)
			defer cancel()
			_, err := greet(ctx, from(c, "c"), "Ada")
			return err
		}},
		{"headers beyond the limit", connect.CodeResourceExhausted, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			ctx, info := connect.NewClientContext(t.Context())
			info.RequestHeader().Set("long", strings.Repeat("x", 65<<10))
			_, err := greet(ctx, from(c, "c"), "Ada")
			return err
		}},
		{"a request beyond the limit", connect.CodeResourceExhausted, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			_, err := greet(t.Context(), from(c, "c"), nameOf(1<<20))
			return err
		}},
		{"a request of another codec", connect.CodeInternal, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
			stream, err := c.Node("c").Namespace("public").NewClientStream(t.Context(), connect.Spec{Procedure: greetv1rpcmesh.GreeterGreetProcedure})
			if err != nil {
				return err
			}
			defer stream.Close()
			return stream.Send("text")
		}},
		{"the link's other end takes no more calls", connect.CodeResourceExhausted, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			answered(t, c.Node("c").Namespace("public"))
			answered(t, c.Node("c").Namespace("public"))
			_, err := greet(t.Context(), from(c, "c"), "Ada")
			return err
		}},
		{"the node runs no more of its own", connect.CodeResourceExhausted, notStarted, "a", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			answered(t, c.Node("a").Namespace("public"))
			answered(t, c.Node("a").Namespace("public"))
			_, err := greet(t.Context(), from(c, "a"), "Ada")
			return err
		}},
		{"a link that was lost before the first message", connect.CodeUnavailable, notStarted, "c", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			stream := mustChat(t, from(c, "c"))
			c.Cut("b", "c")
			synctest.Wait()
			return stream.Send(new(greetv1.ChatRequest))
		}},
		{"a function that went before the first message", connect.CodeUnavailable, notStarted, "b", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			stream := mustChat(t, from(c, "c"))
			c.Cut("a", "b")
			synctest.Wait()
			_ = stream.Send(new(greetv1.ChatRequest)) // Receive tells
			return over(stream)
		}},
		{"a local function that went before the first message", connect.CodeUnavailable, notStarted, "a", func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
			ns := c.Node("a").Namespace("other")
			origin := mustRegister(t, ns, work("/test.v1.At/A", ""))
			stream, err := ns.NewClientStream(t.Context(), connect.Spec{Procedure: "/test.v1.At/A"})
			if err != nil {
				return err
			}
			defer stream.Close()
			origin.Unregister()
			return stream.Send(new(greetv1.GreetRequest))
		}},
		{"a node that was closed before the first message", connect.CodeUnavailable, notStarted, "a", func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
			stream, err := greetv1rpcmesh.NewGreeterClient(c.Node("a").Namespace("public")).Chat(t.Context())
			if err != nil {
				return err
			}
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				c.Stop("a")
			}()
			synctest.Wait()
			err = stream.Send(new(greetv1.ChatRequest))
			stream.Close()
			<-stopped
			return err
		}},
	}, func(cfg *rpcmesh.Config) { cfg.Limits.MaxCalls, cfg.Limits.MaxMessage = 2, 1<<20-1 })
}

// TestCertaintyOnTheWay: a relay or the origin's node that lets a call go no further says that it has not started.
func TestCertaintyOnTheWay(t *testing.T) {
	crowd := func(t *testing.T, c *rpcmeshtest.Cluster, node string, n int) {
		for range n {
			answered(t, c.Node(node).Namespace("public"))
		}
	}
	eachPlace(t, []place{
		{"the relay's link takes no more calls", connect.CodeResourceExhausted, notStarted, "b", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			crowd(t, c, "b", 2)
			_, err := greet(t.Context(), from(c, "c"), "Ada")
			return err
		}},
		{"handlers that do not end", connect.CodeResourceExhausted, notStarted, "a", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			free := make(chan struct{})
			defer close(free)
			mustRegister(t, c.Node("a").Namespace("public"), worker(func(context.Context, string) (string, error) {
				<-free
				return "", nil
			}))
			synctest.Wait()
			for range 2 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, _ = do(ctx, c.Node("b").Namespace("public"), workSpec(), "") // its time is up
				cancel()
			}
			_, err := greet(t.Context(), from(c, "c"), "Ada")
			return err
		}},
		{"the relay is leaving", connect.CodeUnavailable, notStarted, "b", func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			crowd(t, c, "c", 1)
			leave(t, c, "b")
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			_, err := greet(ctx, from(c, "c"), "Ada")
			return err
		}},
	}, func(cfg *rpcmesh.Config) { cfg.Limits.MaxCalls = 2 })
}

// leave shuts a node down that has calls, which end with the test.
func leave(t *testing.T, c *rpcmeshtest.Cluster, name string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	n := c.Node(name)
	go func() {
		defer close(done)
		_ = n.Shutdown(ctx) // is cut short
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
	time.Sleep(time.Second) // fake time
}

// TestCertaintyUnderWay: what ends a call that was handed on says whether its handler is known to have answered.
func TestCertaintyUnderWay(t *testing.T) {
	timed := func(t *testing.T, timeout time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		t.Cleanup(cancel)
		return ctx
	}
	chat := func(t *testing.T, ctx context.Context, through connect.Transport) greetv1rpcmesh.GreeterChatClientStream {
		stream, err := greetv1rpcmesh.NewGreeterClient(through).Chat(ctx)
		if err != nil {
			t.Fatal(err)
		}
		mustSend(t, stream, "hello")
		wantLines(t, stream, "hello")
		return stream
	}
	type lose = func(c *rpcmeshtest.Cluster)
	losing := func(name, at string, certainty rpcmesh.Certainty, lose lose) place {
		return place{name, connect.CodeUnavailable, certainty, at, func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
			if certainty == started {
				stream := answered(t, from(c, "c"))
				lose(c)
				return over(stream)
			}
			got := greetLater(t.Context(), from(c, "c"))
			lose(c)
			return <-got
		}}
	}
	var places []place
	for _, certainty := range []rpcmesh.Certainty{unknown, started} {
		name := map[rpcmesh.Certainty]string{unknown: ", unanswered", started: ", answered"}[certainty]
		places = append(places,
			losing("its first link breaks"+name, "c", certainty, func(c *rpcmeshtest.Cluster) { c.Cut("b", "c") }),
			losing("its last link breaks"+name, "b", certainty, func(c *rpcmeshtest.Cluster) { c.Cut("a", "b") }),
			losing("its last link falls silent"+name, "b", certainty, func(c *rpcmeshtest.Cluster) { c.Silence("a", "b") }),
			losing("the relay is closed"+name, "b c", certainty, func(c *rpcmeshtest.Cluster) { c.Stop("b") }),
			losing("the origin's node is closed"+name, "b", certainty, func(c *rpcmeshtest.Cluster) { c.Stop("a") }),
			losing("the caller's node is closed"+name, "c", certainty, func(c *rpcmeshtest.Cluster) { c.Stop("c") }),
			place{
				"the node of both is closed" + name, connect.CodeUnavailable, certainty, "a",
				func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
					if certainty == started {
						stream := answered(t, from(c, "a"))
						c.Stop("a")
						return over(stream)
					}
					got := greetLater(t.Context(), from(c, "a"))
					c.Stop("a")
					return <-got
				},
			},
		)
	}
	for _, node := range []string{"a", "c"} {
		where := map[string]string{"a": ", locally", "c": ", over links"}[node]
		places = append(places,
			place{"its time is up, unanswered" + where, connect.CodeDeadlineExceeded, unknown, node, func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
				_, err := greet(timed(t, time.Second), c.Node(node).Namespace("public"), "Ada")
				return err
			}},
			place{"its time is up, answered" + where, connect.CodeDeadlineExceeded, started, node, func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
				return over(chat(t, timed(t, time.Second), from(c, node)))
			}},
			place{"its caller lets go, unanswered" + where, connect.CodeCanceled, unknown, node, func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
				ctx, cancel := context.WithCancel(t.Context())
				got := greetLater(ctx, c.Node(node).Namespace("public"))
				cancel()
				return <-got
			}},
			place{"its caller lets go, answered" + where, connect.CodeCanceled, started, node, func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
				ctx, cancel := context.WithCancel(t.Context())
				stream := chat(t, ctx, from(c, node))
				cancel()
				return over(stream)
			}},
			place{"a later message beyond the limit" + where, connect.CodeResourceExhausted, started, node, func(t *testing.T, c *rpcmeshtest.Cluster, from callerOf) error {
				return answered(t, from(c, node)).Send(&greetv1.ChatRequest{Line: nameOf(5 << 20)})
			}},
		)
	}
	places = append(places, place{"a response of another type", connect.CodeInternal, started, "c", func(t *testing.T, c *rpcmeshtest.Cluster, _ callerOf) error {
		mustRegister(t, c.Node("a").Namespace("public"), connect.Method{Spec: workSpec(), Handler: func(_ context.Context, _ connect.Spec, s connect.ServerStream) error {
			return s.Send(&rawcall.Message{B: []byte{0xff}})
		}})
		synctest.Wait()
		stream, err := c.Node("c").Namespace("public").NewClientStream(t.Context(), workSpec())
		if err == nil {
			err = stream.Send(new(greetv1.GreetRequest))
		}
		if err != nil {
			return err
		}
		return stream.Receive(new(greetv1.GreetResponse))
	}})
	eachPlace(t, places)
}

// TestCertaintyIsOfTheCall: a handler that ends by the error of a call which it made tells its own caller nothing of
// how far that had come, and its verdict is its own.
func TestCertaintyIsOfTheCall(t *testing.T) {
	everywhere(t, func(w *world) {
		nested := map[string]func(ctx context.Context) error{
			"no function": func(ctx context.Context) error {
				_, err := do(ctx, w.origin, connect.Spec{Procedure: "/test.v1.No/Where"}, "")
				return err
			},
			"no time": func(ctx context.Context) error {
				ctx, cancel := context.WithTimeout(ctx, -1)
				defer cancel()
				_, err := do(ctx, w.origin, connect.Spec{Procedure: "/test.v1.At/Other"}, "")
				return err
			},
		}
		mustRegister(w, w.origin, work("/test.v1.At/Other", ""))
		client := w.serve(funcs{greet: func(ctx context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			err := nested[req.GetName()](ctx)
			if f, ok := rpcmesh.FailureOf(err); !ok || f.Certainty != notStarted {
				return nil, errors.New("the nested call did not fail as it should")
			}
			return nil, err
		}})
		for name, code := range map[string]connect.Code{"no function": connect.CodeUnimplemented, "no time": connect.CodeDeadlineExceeded} {
			_, err := client.Greet(w.Context(), &greetv1.GreetRequest{Name: name})
			if failure, ok := rpcmesh.FailureOf(err); connect.CodeOf(err) != code || ok {
				w.Errorf("%s: %v, %v", name, err, failure)
			}
		}
	})
}
