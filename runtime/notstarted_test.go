package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

var errDown = connect.NewError(connect.CodeAborted, "the machine behind is down")

// TestNotStartedGoesElsewhere: a handler that says that it has not begun is asked once, and another one serves,
// wherever the caller is.
func TestNotStartedGoesElsewhere(t *testing.T) { eachCaller(t, testNotStartedGoesElsewhere) }

func testNotStartedGoesElsewhere(t *testing.T, from callerOf) {
	for _, at := range []string{"x", "m", "a", "b"} {
		for _, policy := range []rpcmesh.Policy{rpcmesh.PolicyRoundRobin, rpcmesh.PolicyRandom, rpcmesh.PolicyLeastPending, rpcmesh.PolicyNearest} {
			t.Run(fmt.Sprint("from ", at, " by ", policy), func(t *testing.T) {
				inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
					var declined, served atomic.Int32
					for name, f := range map[string]funcs{
						"a": {greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
							declined.Add(1)
							return nil, rpcmesh.NotStarted(errDown)
						}},
						"b": {greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
							served.Add(1)
							return &greetv1.GreetResponse{Greeting: req.GetName()}, nil
						}},
					} {
						c.Node("m")
						register(t, c.Node(name).Namespace("public").Replicated(policy), f)
						c.Link(name, "m", "public")
					}
					c.Node("x")
					c.Link("x", "m", "public")
					synctest.Wait()
					const calls = 60
					begin := time.Now()
					for i := range calls {
						name := fmt.Sprint(i)
						if got, err := greet(t.Context(), from(c, at), name); got != name || err != nil {
							t.Errorf("call %d: %q, %v", i, got, err)
						}
					}
					if n := served.Load(); n != calls {
						t.Errorf("%d calls were served %d times", calls, n)
					}
					if n := declined.Load(); n > calls || n < 10 && policy == rpcmesh.PolicyRandom {
						t.Errorf("%d calls were declined %d times", calls, n)
					}
					if took := time.Since(begin); took > 0 {
						t.Errorf("it took %v", took)
					}
				})
			})
		}
	}
}

// TestNotStartedAlone: where there is no other origin the caller sees the handler's own error at once, and that
// the call has not started.
func TestNotStartedAlone(t *testing.T) {
	detail := &connect.ErrorDetail{Type: "example.greet.v1.GreetRequest", Value: []byte{10, 1, 'x'}}
	for _, test := range []struct {
		name string
		err  error
		code connect.Code
		text string
	}{
		{"an rpc error", connect.NewError(connect.CodeAborted, "down").WithDetail(detail), connect.CodeAborted, "down"},
		{"another error", errors.New("the password is 1234"), connect.CodeUnknown, "the handler returned an error that callers are not told: " +
			"its node's log has it (use a *connect.Error for what they may know)"},
		{"wrapped", fmt.Errorf("here: %w", errDown), connect.CodeAborted, errDown.Message()},
	} {
		t.Run(test.name, func(t *testing.T) {
			everywhere(t, func(w *world) {
				var called atomic.Int32
				w.serve(funcs{greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
					info, _ := connect.CallInfoForServerContext(ctx)
					info.ResponseHeader().Set("Key", "value")
					called.Add(1)
					return nil, fmt.Errorf("wrapped again: %w", rpcmesh.NotStarted(test.err))
				}})
				begin := time.Now()
				_, err := greet(w.Context(), w.caller, "Ada")
				got, _ := errors.AsType[*connect.Error](err)
				if got.Code() != test.code || got.Message() != test.text {
					w.Errorf("got %v; want %v: %s", err, test.code, test.text)
				}
				f, _ := rpcmesh.FailureOf(err)
				if f.Certainty != rpcmesh.CertaintyNotStarted || !f.ByHandler || f.NodeName != w.path[w.links()] {
					w.Errorf("failure %v", f)
				}
				if called.Load() != 1 || time.Since(begin) > 0 {
					w.Errorf("%d handlers were called, in %v", called.Load(), time.Since(begin))
				}
			})
		})
	}
	if rpcmesh.NotStarted(nil) != nil {
		t.Error("no error became one")
	}
}

// TestNotStartedStream: what was sent of a stream goes with it.
func TestNotStartedStream(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("m")
		for name, chat := range map[string]func(context.Context, greetv1rpcmesh.GreeterChatServerStream) error{
			"a": func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
				for range 2 {
					if _, err := stream.Receive(); err != nil {
						return err
					}
				}
				return rpcmesh.NotStarted(errDown)
			},
			"b": echo,
		} {
			register(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin), funcs{chat: chat})
			c.Link(name, "m", "public")
		}
		synctest.Wait()
		for range 4 {
			stream := mustChat(t, c.Node("m").Namespace("public"))
			for _, line := range []string{"one", "two", "three"} {
				mustSend(t, stream, line)
				synctest.Wait()
			}
			wantLines(t, stream, "one", "two", "three")
			stream.CloseSend()
			wantEnd(t, stream)
		}
	})
}

// TestNotStartedTooLate: a handler that has answered anything has started, whatever it says: another one is not
// called.
func TestNotStartedTooLate(t *testing.T) {
	for what, answer := range map[string]func(greetv1rpcmesh.GreeterChatServerStream) error{
		"a message": func(stream greetv1rpcmesh.GreeterChatServerStream) error {
			return stream.Send(&greetv1.ChatResponse{Line: "yes"})
		},
		"headers": func(stream greetv1rpcmesh.GreeterChatServerStream) error { return stream.SendHeaders() },
	} {
		t.Run(what, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				var called atomic.Int32
				c.Node("m")
				for _, name := range []string{"a", "b"} {
					register(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin), funcs{
						chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
							called.Add(1)
							if err := answer(stream); err != nil {
								return err
							}
							return rpcmesh.NotStarted(errDown)
						},
					})
					c.Link(name, "m", "public")
				}
				synctest.Wait()
				for i, at := range []string{"m", "a", "a", "m"} {
					stream := mustChat(t, c.Node(at).Namespace("public"))
					if err := stream.SendHeaders(); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					_, err := stream.Receive()
					if what == "a message" && err == nil {
						_, err = stream.Receive()
					}
					wantError(t, err, errDown.Code(), errDown.Message())
					if f, _ := rpcmesh.FailureOf(err); f.Certainty != rpcmesh.CertaintyStarted {
						t.Errorf("failure %v", f)
					}
					if got := called.Load(); got != int32(i+1) {
						t.Errorf("%d calls were handled %d times", i+1, got)
					}
				}
			})
		})
	}
}

// TestNotStartedSecondHand: a handler that passes another call's failure on, as a detail, does not say that it
// has not begun itself.
func TestNotStartedSecondHand(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		value, err := proto.Marshal(&rpcmeshv1.CallFailure{Certainty: notStarted})
		if err != nil {
			t.Fatal(err)
		}
		detail := &connect.ErrorDetail{Type: "rpcmesh.v1.CallFailure", Value: value}
		var called atomic.Int32
		c.Node("m")
		for _, name := range []string{"a", "b"} {
			register(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin), funcs{
				greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
					called.Add(1)
					return nil, connect.NewError(connect.CodeUnavailable, "half done").WithDetail(detail)
				},
			})
			c.Link(name, "m", "public")
		}
		synctest.Wait()
		if _, err := greet(t.Context(), c.Node("m").Namespace("public"), "Ada"); connect.CodeOf(err) != connect.CodeUnavailable || called.Load() != 1 {
			t.Errorf("%v; it was handled %d times", err, called.Load())
		}
	})
}

// TestWithCertainty: a call that a handler has lost on its way on is repeated where its method allows that.
func TestWithCertainty(t *testing.T) {
	for _, level := range []connect.IdempotencyLevel{connect.IdempotencyUnknown, connect.IdempotencyIdempotent} {
		t.Run(level.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				spec := connect.Spec{Procedure: "/test.v1.Worker/Work", IdempotencyLevel: level}
				c.Node("m")
				for _, name := range []string{"a", "b"} {
					mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin), unary(spec, func(context.Context, string) (string, error) {
						if name == "a" {
							return "", rpcmesh.WithCertainty(connect.NewError(connect.CodeUnavailable, "lost"), rpcmesh.CertaintyUnknown)
						}
						return name, nil
					}))
					c.Link(name, "m", "public")
				}
				synctest.Wait()
				failed := 0
				for range 10 {
					_, err := do(t.Context(), c.Node("m").Namespace("public"), spec, "")
					if err == nil {
						continue
					}
					failed++
					if f, _ := rpcmesh.FailureOf(err); f.Certainty != rpcmesh.CertaintyUnknown || f.NodeName != "a" {
						t.Errorf("failure %v", f)
					}
				}
				if want := map[bool]int{true: 5, false: 0}[level == connect.IdempotencyUnknown]; failed != want {
					t.Errorf("%d of 10 calls failed; want %d", failed, want)
				}
			})
		})
	}
}
