package rpcmesh_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

const whoProcedure = "/test.v1.Who/Calls"

// callers notes who calls whoProcedure, as its handler and interceptors find it.
type callers struct {
	t testing.TB

	mu    sync.Mutex
	last  rpcmesh.Caller
	addr  string // of the last call's peer
	inner rpcmesh.Caller
	calls int
}

func (c *callers) method() connect.Method {
	return unary(connect.Spec{Procedure: whoProcedure}, func(ctx context.Context, _ string) (string, error) {
		caller, ok := rpcmesh.CallerFrom(ctx)
		derived, cancel := context.WithCancel(ctx)
		defer cancel()
		if again, _ := rpcmesh.CallerFrom(derived); !ok || again != caller {
			c.t.Errorf("got %v, %v, and by a derived context %v", caller, ok, again)
		}
		info, _ := connect.CallInfoForServerContext(ctx)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.last, c.addr = caller, info.PeerAddr
		c.calls++
		return "", nil
	})
}

func (c *callers) interceptor(next connect.ServerFunc) connect.ServerFunc {
	return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
		caller, _ := rpcmesh.CallerFrom(ctx)
		c.mu.Lock()
		c.inner = caller
		c.mu.Unlock()
		return next(ctx, spec, stream)
	}
}

// by returns who made a call, which must have come to the handler, and what its peer's address was.
func (c *callers) by(call func() error) (rpcmesh.Caller, string) {
	c.t.Helper()
	c.mu.Lock()
	before := c.calls
	c.mu.Unlock()
	if err := call(); err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls != before+1 {
		c.t.Fatalf("%d calls came to the handler", c.calls-before)
	}
	return c.last, c.addr
}

// from is by for a call by transport.
func (c *callers) from(ctx context.Context, transport connect.Transport) (rpcmesh.Caller, string) {
	c.t.Helper()
	return c.by(func() error {
		_, err := do(ctx, transport, connect.Spec{Procedure: whoProcedure}, "")
		return err
	})
}

func callerAt(name string) rpcmesh.Caller {
	return rpcmesh.Caller{Node: rpcmesh.NodeIDOf(name), NodeName: name}
}

// TestCaller: the handler knows who calls, at every distance.
func TestCaller(t *testing.T) {
	everywhere(t, func(w *world) {
		got := &callers{t: w.T}
		mustRegister(w, w.origin, got.method())
		synctest.Wait()
		caller, addr := got.from(w.Context(), w.caller)
		want := callerAt(w.path[0])
		if w.path[0] == "p" {
			want = callerAt("a")
			want.Proxy, want.Addr = caller.Proxy, addr
			if want.Proxy == "" || want.Addr == "" {
				w.Errorf("the proxy is %q at %q", want.Proxy, want.Addr)
			}
		} else if addr != want.NodeName {
			w.Errorf("the peer's address is %q", addr)
		}
		if caller != want || caller.IsMember() != (want.Proxy == "") {
			w.Errorf("got %+v, want %+v", caller, want)
		}
	})
}

// TestCallerOutside: what a gateway says of a call arrives, and is its node's word.
func TestCallerOutside(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		got := &callers{t: t}
		chain(c, 3, "public")
		mustRegister(t, c.Node("a").Namespace("public"), got.method())
		synctest.Wait()
		outside := rpcmesh.Outside{Gateway: "door", Token: "ci", Addr: "192.0.2.1:7"}
		for _, name := range []string{"a", "b", "c"} {
			want := callerAt(name)
			want.Outside = outside
			ns := c.Node(name).Namespace("public")
			if caller, addr := got.from(rawcall.WithOutside(t.Context(), rawcall.Outside(outside)), ns); caller != want || addr != outside.Addr || caller.IsMember() {
				t.Errorf("got %+v at %s", caller, addr)
			}
			caller, _ := got.by(func() error {
				over := make(chan error, 1)
				call := &rawcall.Call{Procedure: whoProcedure, Outside: (*rawcall.Outside)(&outside), Owner: rawDone(func(c *rawcall.Call) rawcall.Output {
					over <- c.Err
					return nil
				})}
				r := rawcall.NewCaller()
				if !r.Begin(ns, call) {
					t.Fatal("the call was not begun")
				}
				r.Flush()
				return <-over
			})
			if caller != want {
				t.Errorf("raw: got %+v", caller)
			}
			caller, _ = got.from(rawcall.WithOutside(t.Context(), rawcall.Outside{}), ns)
			if caller.Gateway != "gateway" || caller.IsMember() {
				t.Errorf("from nowhere: got %+v", caller)
			}
			long := rawcall.Outside{Gateway: "x\n" + strings.Repeat("ü", 300), Token: "\xff"}
			caller, _ = got.from(rawcall.WithOutside(t.Context(), long), ns)
			if want := "x" + strings.Repeat("ü", 127); caller.Gateway != want || caller.Token != "" {
				t.Errorf("got %q and %q", caller.Gateway, caller.Token)
			}
		}
	})
}

// TestCallerThroughGroup: a call that a node passes on from one namespace into another is its caller's still.
func TestCallerThroughGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		got := &callers{t: t}
		three(t, c)
		mustRegister(t, c.Node("c").Namespace("public"), got.method())
		c.Node("z")
		c.Link("z", "a", "all")
		synctest.Wait()
		if caller, _ := got.from(t.Context(), c.Node("z").Namespace("all")); caller != callerAt("z") {
			t.Errorf("by the group's name: %+v", caller)
		}
		if caller, _ := got.from(t.Context(), c.Node("a").Namespace("all")); caller != callerAt("a") {
			t.Errorf("from the group's node: %+v", caller)
		}
		caller, _ := got.from(t.Context(), c.Proxy("p", "a", "all"))
		if caller.NodeName != "a" || caller.Proxy == "" {
			t.Errorf("from a proxy: %+v", caller)
		}
	})
}

// TestCallerOfHandler: a handler's own call is of its node, and its context tells of its own caller.
func TestCallerOfHandler(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		got, first := &callers{t: t}, "/test.v1.Who/First"
		chain(c, 3, "public")
		mustRegister(t, c.Node("c").Namespace("public"), got.method())
		b := c.Node("b").Namespace("public")
		mustRegister(t, b, unary(connect.Spec{Procedure: first}, func(ctx context.Context, _ string) (string, error) {
			return do(ctx, b, connect.Spec{Procedure: whoProcedure}, "")
		}))
		synctest.Wait()
		caller, _ := got.by(func() error {
			_, err := do(t.Context(), c.Node("a").Namespace("public"), connect.Spec{Procedure: first}, "")
			return err
		})
		if caller != callerAt("b") || !caller.IsMember() || (rpcmesh.Caller{}).IsMember() {
			t.Errorf("got %+v", caller)
		}
	})
	if caller, ok := rpcmesh.CallerFrom(t.Context()); ok {
		t.Errorf("a context that is no handler's has %+v", caller)
	}
}

// TestCallerIntercepted: interceptors know the caller, and the log has it where a handler fails.
func TestCallerIntercepted(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		got, fails := &callers{t: t}, "/test.v1.Who/Fails"
		var log lockedBuffer
		c.Node("a", func(cfg *rpcmesh.Config) {
			cfg.Interceptors = []connect.ServerInterceptor{got.interceptor}
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		})
		c.Node("b")
		c.Link("b", "a", "public")
		mustRegister(t, c.Node("a").Namespace("public"), unary(connect.Spec{Procedure: fails}, func(context.Context, string) (string, error) {
			panic("no")
		}))
		synctest.Wait()
		outside := rpcmesh.Outside{Gateway: "door", Token: "ci", Addr: "192.0.2.1:7"}
		_, err := do(rawcall.WithOutside(t.Context(), rawcall.Outside(outside)), c.Node("b").Namespace("public"), connect.Spec{Procedure: fails}, "")
		wantError(t, err, connect.CodeInternal, "failed")
		if got.inner.NodeName != "b" || got.inner.Token != "ci" {
			t.Errorf("the interceptor knows %+v", got.inner)
		}
		synctest.Wait()
		if log.count("caller.node=b", "caller.gateway=door", "caller.token=ci", "caller.addr=192.0.2.1:7") != 1 {
			t.Errorf("the log:\n%s", log.String())
		}
	})
}

// TestCallerCannotLie: of what a member says, nothing is believed that cannot be, at the handler's node and beyond
// it; a proxy says nothing.
func TestCallerCannotLie(t *testing.T) {
	cases := map[string]struct {
		claim *linkv1.Caller
		want  rpcmesh.Caller
	}{
		"nothing":               {nil, rpcmesh.Caller{}},
		"itself":                {claim("", "intruder"), rpcmesh.Caller{NodeName: "intruder"}},
		"itself, by another":    {claim("", "b"), rpcmesh.Caller{NodeName: "intruder"}},
		"the node that it asks": {claim("a", "a"), rpcmesh.Caller{}},
		"another member":        {claim("b", "b"), rpcmesh.Caller{}},
		"a member's name":       {claim("nobody", "b"), rpcmesh.Caller{}},
		"a member's id":         {claim("b", "nobody"), rpcmesh.Caller{}},
		"one behind it, unseen": {claim("nobody", "nobody"), callerAt("nobody")},
	}
	for name, test := range cases {
		for _, origin := range []string{"a", "b"} {
			for _, proxy := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, to %s, proxy %v", name, origin, proxy), func(t *testing.T) {
					inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
						got := &callers{t: t}
						chain(c, 2, "public")
						mustRegister(t, c.Node(origin).Namespace("public"), got.method())
						in := intrude(t, c, "a", proxy, plain("public")...)
						synctest.Wait()
						caller, _ := got.by(func() error {
							end := in.opens(&linkv1.Open{
								Namespace: "public", Procedure: whoProcedure, Origin: idOf(c.Node(origin)), Caller: test.claim,
							}, 64)
							if end.GetCode() != 0 {
								return fmt.Errorf("%v", end)
							}
							return nil
						})
						want := test.want
						switch {
						case proxy:
							want = callerAt("a")
							want.Proxy, want.Addr = "intruder", caller.Addr
						case want.NodeName == "intruder":
							want.Node = rpcmesh.NodeID([]byte("the intruder's id")[:16])
						}
						if caller != want {
							t.Errorf("got %+v, want %+v", caller, want)
						}
					})
				})
			}
		}
	}
}

// claim is what an intruder says; its own id where node is empty.
func claim(node, name string) *linkv1.Caller {
	id := bytes.Clone([]byte("the intruder's id")[:16])
	if node != "" {
		named := rpcmesh.NodeIDOf(node)
		id = named[:]
	}
	return &linkv1.Caller{Node: id, Name: name}
}

// TestCallerMalformed: a caller that breaks the wire's bounds costs its call, and nothing else.
func TestCallerMalformed(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		got := &callers{t: t}
		mustRegister(t, c.Node("a").Namespace("public"), got.method())
		in := intrude(t, c, "a", false, plain("public")...)
		for name, caller := range map[string]*linkv1.Caller{
			"no node":        {Name: "x"},
			"a short id":     {Node: make([]byte, 15)},
			"a zero id":      {Node: make([]byte, 16)},
			"a long text":    {Node: claim("", "").GetNode(), Token: strings.Repeat("x", 257)},
			"a line's end":   {Node: claim("", "").GetNode(), Address: "x\ny"},
			"a deletion":     {Node: claim("", "").GetNode(), Gateway: "x\x7f"},
			"a proxy's bell": {Node: claim("", "").GetNode(), Proxy: "\a"},
		} {
			end := in.opens(&linkv1.Open{Namespace: "public", Procedure: whoProcedure, Origin: idOf(c.Node("a")), Caller: caller}, 64)
			if codeOfEnd(end) != connect.CodeInvalidArgument || end.GetFailure().GetCertainty() != notStarted {
				t.Errorf("%s: %v", name, end)
			}
		}
		if got.calls != 0 {
			t.Errorf("%d calls came to the handler", got.calls)
		}
	})
}
