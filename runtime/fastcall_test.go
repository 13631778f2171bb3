package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

// stubGreet makes a call as generated code does, of the method that spec has.
func stubGreet(ctx context.Context, client *stub.Client, spec connect.Spec, name string) (string, error) {
	res, err := stub.CallUnary[greetv1.GreetResponse](ctx, client, func() (connect.Spec, error) { return spec, nil }, &greetv1.GreetRequest{Name: name})
	return res.GetGreeting(), err
}

// otherTransport is one that generated clients do not know.
type otherTransport struct{ connect.Transport }

// toldOf is all that the caller of a failed call can see.
func toldOf(err error) string {
	if err == nil {
		return "well"
	}
	text := fmt.Sprintf("%v, remote %v", err, func() bool { e, ok := errors.AsType[*connect.Error](err); return ok && e.IsRemote() }())
	if e, ok := errors.AsType[*connect.Error](err); ok {
		for _, d := range e.Details() {
			text += fmt.Sprintf(", %s %x", d.Type, d.Value)
		}
	}
	return text
}

// TestUnaryEndsAlike: what comes of a call is the same for a stub that makes it in one go where it can, one whose
// transport is behind another, and one that looks at its CallInfo or has an interceptor.
func TestUnaryEndsAlike(t *testing.T) {
	handlers := map[string]func(ctx context.Context, stream connect.ServerStream) error{
		"an answer": func(_ context.Context, s connect.ServerStream) error {
			return s.Send(&greetv1.GreetResponse{Greeting: "Hello"})
		},
		"a long answer": func(_ context.Context, s connect.ServerStream) error {
			return s.Send(&greetv1.GreetResponse{Greeting: strings.Repeat("x", 600_000)})
		},
		"headers and trailers": func(ctx context.Context, s connect.ServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			info.ResponseHeader().Set("A", "b")
			info.ResponseTrailer().Set("C", "d")
			return s.Send(new(greetv1.GreetResponse))
		},
		"no answer": func(context.Context, connect.ServerStream) error { return nil },
		"a bad answer": func(_ context.Context, s connect.ServerStream) error {
			return s.Send(&rawcall.Message{B: []byte{10, 1, 0xff}})
		},
		"a panic":     func(context.Context, connect.ServerStream) error { panic("handler") },
		"an error":    func(context.Context, connect.ServerStream) error { return errDown },
		"not started": func(context.Context, connect.ServerStream) error { return rpcmesh.NotStarted(errDown) },
		"out of time": func(context.Context, connect.ServerStream) error {
			time.Sleep(3 * time.Second) // fake time
			return nil
		},
		"with a detail": func(context.Context, connect.ServerStream) error {
			return errDown.WithDetail(&connect.ErrorDetail{Type: "t", Value: []byte("v")})
		},
	}
	everywhere(t, func(w *world) {
		for name, handle := range handlers {
			spec := connect.Spec{Procedure: "/test.v1.Worker/Work"}
			origin := mustRegister(w, w.origin, connect.Method{Spec: spec, Handler: func(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
				if err := s.Receive(new(greetv1.GreetRequest)); err != nil {
					return err
				}
				return handle(ctx, s)
			}})
			synctest.Wait()
			var intercepted int
			interceptor := func(next connect.ClientFunc) connect.ClientFunc {
				return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
					intercepted++
					return next(ctx, spec)
				}
			}
			withInfo, _ := connect.NewClientContext(w.Context())
			want, wantErr := stubGreet(w.Context(), stub.NewClient(otherTransport{w.caller}), spec, "Ada")
			for how, call := range map[string]func() (string, error){
				"in one go":       func() (string, error) { return stubGreet(w.Context(), stub.NewClient(w.caller), spec, "Ada") },
				"with a CallInfo": func() (string, error) { return stubGreet(withInfo, stub.NewClient(w.caller), spec, "Ada") },
				"with an interceptor": func() (string, error) {
					return stubGreet(w.Context(), stub.NewClient(w.caller, interceptor), spec, "Ada")
				},
			} {
				if got, err := call(); got != want || toldOf(err) != toldOf(wantErr) {
					w.Errorf("%s, %s: %.100q, %s\nwant %.100q, %s", name, how, got, toldOf(err), want, toldOf(wantErr))
				}
			}
			if intercepted != 1 {
				w.Errorf("%s: intercepted %d times", name, intercepted)
			}
			time.Sleep(5 * time.Second) // fake time
			_ = origin.Unregister()
			synctest.Wait()
		}
	}, func(cfg *rpcmesh.Config) { cfg.CallTimeout = time.Second })
}

// TestUnaryFollows has functions, links and nodes come and go. Each call goes where the table says at that moment,
// never where one went before.
func TestUnaryFollows(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				r := rand.New(rand.NewPCG(seed, 11))
				names := []string{"a", "b", "c"}
				c.Node("m")
				for _, name := range names {
					c.Node(name)
					c.Link(name, "m", "public")
				}
				ns := c.Node("m").Namespace("public")
				group, err := c.Node("m").Group("all", []string{"public"})
				if err != nil {
					t.Fatal(err)
				}
				clients := []greetv1rpcmesh.GreeterClient{greetv1rpcmesh.NewGreeterClient(ns), greetv1rpcmesh.NewGreeterClient(group)}
				var origin *rpcmesh.Origin
				holder := ""
				for range 60 {
					if origin != nil && r.IntN(3) > 0 {
						_ = origin.Unregister()
						origin = nil
					}
					switch name := names[r.IntN(len(names))]; {
					case r.IntN(5) == 0:
						c.Restart(name)
						if name == holder {
							origin = nil
						}
					case origin == nil:
						synctest.Wait()
						origin, holder = register(t, c.Node(name).Namespace("public"), says(name)), name
					}
					time.Sleep(time.Minute) // fake time
					f, ok := ns.Find(greetv1rpcmesh.GreeterGreetProcedure)
					for _, client := range clients {
						for range 2 {
							res, err := client.Greet(t.Context(), &greetv1.GreetRequest{Name: "Ada"})
							if ok && (err != nil || res.GetGreeting() != f.OriginName+" greets Ada") || !ok && err == nil {
								t.Errorf("got %v, %v; the table says %v, %v", res, err, f.OriginName, ok)
							}
						}
					}
				}
			})
		})
	}
}

// TestUnaryPending: calls made in one go count where the policy goes by what is under way, until they have ended, in
// whatever way.
func TestUnaryPending(t *testing.T) {
	for how, end := range map[string]error{"well": nil, "with an error": errDown} {
		t.Run(how, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				c.Node("m")
				var busy [2]atomic.Int64
				var release [2]chan struct{}
				for i, name := range []string{"a", "b"} {
					release[i] = make(chan struct{})
					register(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyLeastPending),
						funcs{greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
							busy[i].Add(1)
							defer busy[i].Add(-1)
							<-release[i]
							return new(greetv1.GreetResponse), end
						}})
					c.Link(name, "m", "public")
				}
				synctest.Wait()
				client := greetv1rpcmesh.NewGreeterClient(c.Node("m").Namespace("public"))
				var calls sync.WaitGroup
				begin := func(count int64) {
					for range count {
						calls.Go(func() { _, _ = client.Greet(t.Context(), new(greetv1.GreetRequest)) })
						synctest.Wait()
					}
				}
				begin(20)
				if a, b := busy[0].Load(), busy[1].Load(); a != 10 || b != 10 {
					t.Errorf("of 20 calls %d are at a and %d at b", a, b)
				}
				for range 10 {
					release[0] <- struct{}{}
				}
				synctest.Wait()
				begin(10)
				if a, b := busy[0].Load(), busy[1].Load(); a != 10 || b != 10 {
					t.Errorf("those at a have ended, and of 10 more %d are there; at b are %d", a, b)
				}
				close(release[0])
				close(release[1])
				calls.Wait()
			})
		})
	}
}

// TestUnaryEarnsRetries: calls that are made in one go earn the node retries, as all do.
func TestUnaryEarnsRetries(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("m")
		var down atomic.Bool
		var handled atomic.Int64
		for _, name := range []string{"a", "b"} {
			register(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin),
				funcs{greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
					handled.Add(1)
					if down.Load() {
						return nil, rpcmesh.NotStarted(errDown)
					}
					return new(greetv1.GreetResponse), nil
				}})
			c.Link(name, "m", "public")
		}
		synctest.Wait()
		client := greetv1rpcmesh.NewGreeterClient(c.Node("m").Namespace("public"))
		for range 3000 {
			if _, err := client.Greet(t.Context(), new(greetv1.GreetRequest)); err != nil {
				t.Fatal(err)
			}
		}
		handled.Store(0)
		down.Store(true)
		for range 500 {
			if _, err := client.Greet(t.Context(), new(greetv1.GreetRequest)); err == nil {
				t.Fatal("the call did not fail")
			}
		}
		if got := handled.Load(); got != 1000 {
			t.Errorf("500 calls that may each be tried at two nodes were handled %d times", got)
		}
	})
}

// TestUnaryShutdown: a node that shuts down waits for the calls that it has made in one go, and no longer.
func TestUnaryShutdown(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		register(t, c.Node("a").Namespace("public"), funcs{greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			time.Sleep(3 * time.Second) // fake time
			if req.GetName() == "" {
				return nil, errDown
			}
			return &greetv1.GreetResponse{Greeting: "late"}, nil
		}})
		c.Node("m")
		c.Link("m", "a", "public")
		synctest.Wait()
		client := greetv1rpcmesh.NewGreeterClient(c.Node("m").Namespace("public"))
		var calls sync.WaitGroup
		for i := range 10 {
			calls.Go(func() {
				if res, err := client.Greet(t.Context(), &greetv1.GreetRequest{Name: strings.Repeat("x", i%2)}); (err == nil) != (i%2 == 1) {
					t.Errorf("got %v, %v", res, err)
				}
			})
		}
		synctest.Wait()
		begin := time.Now()
		if err := c.Node("m").Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		calls.Wait()
	})
}
