package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

var leakSpec = connect.Spec{Procedure: "/test.v1.Leak/Call"}

// oneLink returns the namespaces of two linked nodes: that of the caller's, and that of the origin's.
func oneLink(t *testing.T) (caller, origin *rpcmesh.Namespace) {
	c := rpcmeshtest.New(t)
	origin = c.Node("b").Namespace("public")
	caller = c.Node("a").Namespace("public")
	c.Link("a", "b", "public")
	synctest.Wait()
	return caller, origin
}

// TestHandlersLeak has handlers let go of their context and stream to others, which use all of them before and after the
// handlers return, while further calls come and go: those get what is theirs, and who is late finds a call that has ended.
func TestHandlersLeak(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, origin := oneLink(t)
		var late sync.WaitGroup
		var calls atomic.Int32
		mustRegister(t, origin, connect.Method{Spec: leakSpec, Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			returned := make(chan struct{})
			defer close(returned)
			n := calls.Add(1)
			for i := range 2 {
				late.Go(func() { useLeaked(ctx, t, stream, i == 0, returned) })
			}
			if n%3 == 0 {
				return connect.NewError(connect.CodeAborted, "third")
			}
			req := new(greetv1.GreetRequest)
			if err := stream.Receive(req); err != nil && !errors.Is(err, io.EOF) {
				return err // where another has received it, there is nothing to greet
			}
			return stream.Send(&greetv1.GreetResponse{Greeting: req.GetName()})
		}})
		echoed := mustRegister(t, origin, unary(connect.Spec{Procedure: "/test.v1.Leak/Echo"}, func(ctx context.Context, name string) (string, error) {
			info, _ := connect.CallInfoForServerContext(ctx)
			info.ResponseHeader().Set("name", name)
			return name, ctx.Err()
		}))
		synctest.Wait()
		var callers sync.WaitGroup
		for i := range 8 {
			callers.Go(func() {
				for j := range 20 {
					name := fmt.Sprintf("%d.%d%s", i, j, strings.Repeat("x", j*i))
					if got, err := do(t.Context(), caller, leakSpec, name); err == nil && got != name && got != "" && got != "late" {
						t.Errorf("got %q for %q", got, name)
					}
					ctx, info := connect.NewClientContext(t.Context())
					got, err := do(ctx, caller, connect.Spec{Procedure: echoed.Procedures()[0]}, name)
					if got != name || err != nil || info.ResponseHeader().Get("name") != name {
						t.Errorf("got %q, %v and %q for %q", got, err, info.ResponseHeader().Get("name"), name)
					}
				}
			})
		}
		callers.Wait()
		late.Wait()
	})
}

// useLeaked uses what a handler has been given, in parallel with it or once it has returned.
func useLeaked(ctx context.Context, t *testing.T, stream connect.ServerStream, wait bool, returned <-chan struct{}) {
	if wait {
		<-returned
		<-ctx.Done()
		if err := stream.Receive(new(greetv1.GreetRequest)); connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("Receive of a call that has ended: %v", err)
		}
		if err := stream.SendHeaders(); err == nil {
			t.Error("headers of a call that has ended were sent")
		}
	} else {
		_ = stream.Receive(new(greetv1.GreetRequest)) // either gets it
	}
	_ = stream.Send(&greetv1.GreetResponse{Greeting: "late"})
	info, ok := connect.CallInfoForServerContext(ctx)
	again, _ := connect.CallInfoForServerContext(context.WithoutCancel(ctx))
	if !ok || info != again || info.PeerAddr != "a" || info.Spec.Procedure != leakSpec.Procedure {
		t.Errorf("the call's info is %+v, %v", info, ok)
	}
	if s, ok := info.TransportInfo.(rawcall.ReceiveStopper); ok && wait {
		s.StopReceiving()
	}
	if from, _ := rpcmesh.CallerFrom(ctx); from.NodeName != "a" {
		t.Errorf("the caller is %v", from)
	}
	derived, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	if _, limited := derived.Deadline(); !limited || wait && derived.Err() == nil {
		t.Errorf("a context of a call that has ended: limited %v, %v", limited, derived.Err())
	}
}

// TestUnaryInfo: a handler's CallInfo is the same whenever it is asked for, and what it sets there is answered.
func TestUnaryInfo(t *testing.T) {
	for _, headers := range []bool{false, true} {
		t.Run(fmt.Sprint(headers), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				caller, origin := oneLink(t)
				mustRegister(t, origin, connect.Method{Spec: leakSpec, Handler: func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
					req := new(greetv1.GreetRequest)
					if err := stream.Receive(req); err != nil {
						return err
					}
					info, _ := connect.CallInfoForServerContext(ctx)
					if info.ReceiveStats.Size != 5 || info.Protocol != "rpcmesh" || info.Spec != spec || info.TransportInfo != stream {
						t.Errorf("got %+v", info)
					}
					if err := stream.Receive(req); !errors.Is(err, io.EOF) {
						t.Errorf("a second request: %v", err)
					}
					if got := info.RequestHeader().Values("k"); headers != slices.Equal(got, []string{"v"}) {
						t.Errorf("the headers are %q", got)
					}
					info.ResponseHeader().Set("h", "header")
					if err := stream.Send(&greetv1.GreetResponse{Greeting: "x"}); err != nil || info.SendStats.Size != 3 {
						t.Errorf("sent %+v, %v", info.SendStats, err)
					}
					if err := stream.Send(&greetv1.GreetResponse{}); connect.CodeOf(err) != connect.CodeInternal {
						t.Errorf("a second response: %v", err)
					}
					again, _ := connect.CallInfoForServerContext(ctx)
					again.ResponseTrailer().Set("t", "trailer")
					return nil
				}})
				synctest.Wait()
				ctx, info := connect.NewClientContext(t.Context())
				if headers {
					info.RequestHeader().Set("k", "v")
				}
				got, err := do(ctx, caller, leakSpec, "Ada")
				if h, tr := info.ResponseHeader().Get("h"), info.ResponseTrailer().Get("t"); got != "x" || err != nil || h != "header" || tr != "trailer" {
					t.Errorf("got %q, %v with %q and %q", got, err, h, tr)
				}
			})
		})
	}
}

// TestStopReceivingUnary: a handler that wants no more of its call receives no more, though the request is there.
func TestStopReceivingUnary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, origin := oneLink(t)
		mustRegister(t, origin, connect.Method{Spec: leakSpec, Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			info.TransportInfo.(rawcall.ReceiveStopper).StopReceiving()
			if err := stream.Receive(new(greetv1.GreetRequest)); connect.CodeOf(err) != connect.CodeCanceled {
				t.Errorf("Receive: %v", err)
			}
			return stream.Send(&greetv1.GreetResponse{Greeting: "x"})
		}})
		synctest.Wait()
		if got, err := do(t.Context(), caller, leakSpec, ""); got != "x" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	})
}

// TestWaysFollow: what was found out about a function's calls over a link is forgotten as soon as it does not hold.
func TestWaysFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rpcmeshtest.New(t)
		nodes := map[string]*rpcmesh.Namespace{}
		for _, name := range []string{"a", "r", "b", "c"} {
			nodes[name] = c.Node(name).Namespace("public")
		}
		c.Link("a", "r", "public")
		c.Link("r", "b", "public")
		c.Link("r", "c", "public")
		by := func(name string) connect.Method {
			return unary(leakSpec, func(context.Context, string) (string, error) { return name, nil })
		}
		for i := range 3 {
			for _, at := range []string{"b", "c"} {
				said := fmt.Sprint(at, i)
				o := mustRegister(t, nodes[at], by(said))
				synctest.Wait()
				for range 3 {
					if got, err := do(t.Context(), nodes["a"], leakSpec, ""); got != said || err != nil {
						t.Errorf("got %q, %v; want %q", got, err, said)
					}
				}
				if err := o.Unregister(); err != nil {
					t.Fatal(err)
				}
				if i > 0 { // at the same place, before anyone knows
					again := mustRegister(t, nodes[at], by("again"))
					if got, err := do(t.Context(), nodes["a"], leakSpec, ""); err == nil && got != "again" {
						t.Errorf("got %q of a function that another has taken the place of", got)
					}
					_ = again.Unregister()
				}
				if got, err := do(t.Context(), nodes["a"], leakSpec, ""); err == nil {
					t.Errorf("got %q of a function that was withdrawn", got)
				}
				synctest.Wait()
			}
		}
	})
}
