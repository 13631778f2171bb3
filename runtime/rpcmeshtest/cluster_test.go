package rpcmeshtest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

type greeter struct {
	greetv1rpcmesh.UnimplementedGreeterServer
	name string
}

func (g greeter) Greet(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	return &greetv1.GreetResponse{Greeting: "this is " + g.name}, nil
}

// offer has node offer a greeter at each start.
func offer(t *testing.T, c *rpcmeshtest.Cluster, name string) {
	t.Helper()
	c.Setup(name, func(n *rpcmesh.Node) {
		if _, err := greetv1rpcmesh.RegisterGreeterOrigin(n.Namespace("public"), greeter{name: name}); err != nil {
			t.Error(err)
		}
	})
}

func wantGreeting(t *testing.T, through connect.Transport, want string) {
	t.Helper()
	res, err := greetv1rpcmesh.NewGreeterClient(through).Greet(t.Context(), new(greetv1.GreetRequest))
	if err != nil || res.GetGreeting() != "this is "+want {
		t.Errorf("got %v, %v; want %s", res, err, want)
	}
}

// incarnation is that of the member called name, as it is known there, or 0.
func incarnation(there *rpcmesh.Node, name string) uint64 {
	for m := range there.Members() {
		if m.Name == name {
			return m.Incarnation
		}
	}
	return 0
}

// TestCluster shows what a cluster is for, in real time and in fake time.
func TestCluster(t *testing.T) {
	test := func(t *testing.T) {
		c := rpcmeshtest.New(t)
		offer(t, c, "a")
		c.Node("b", func(cfg *rpcmesh.Config) { cfg.Keepalive = 200 * time.Millisecond })
		c.Link("b", "a", "public")
		b := c.Node("b").Namespace("public")
		wait := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := b.WaitFor(ctx, greetv1rpcmesh.GreeterGreetProcedure); err != nil {
				t.Fatal(err)
			}
		}
		gone := func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			for range b.Watch(ctx) {
				if b.Route(greetv1rpcmesh.GreeterGreetProcedure) == nil {
					return
				}
			}
			t.Fatal("the function is still there")
		}
		wait()
		wantGreeting(t, b, "a")
		wantGreeting(t, c.Proxy("p", "b", "public"), "a")
		for _, fault := range []struct{ begin, end func() }{
			{func() { c.Cut("a", "b") }, func() { c.Heal("a", "b") }},
			{func() { c.Silence("b", "a") }, func() { c.Heal("b", "a") }},
			{func() { c.Stop("a") }, func() { c.Start("a") }},
			{func() { c.Kill("a") }, func() { c.Start("a") }},
			{func() { c.Refuse("a"); c.Reset("a", "b") }, func() { c.Admit("a") }},
		} {
			fault.begin()
			gone()
			fault.end()
			wait()
			wantGreeting(t, b, "a")
		}
		before := incarnation(c.Node("b"), "a")
		c.Restart("a")
		for range b.Watch(t.Context()) { // the old a is gone, and not just about to be
			if incarnation(c.Node("b"), "a") > before {
				break
			}
		}
		wait()
		wantGreeting(t, b, "a")
	}
	t.Run("real time", test)
	t.Run("fake time", func(t *testing.T) { synctest.Test(t, test) })
}

// failing stands in for a test that is to fail.
type failing struct {
	testing.TB
	cleanups []func()
	said     []string
}

func (f *failing) Helper()          {}
func (f *failing) Log(...any)       {}
func (f *failing) Cleanup(g func()) { f.cleanups = append(f.cleanups, g) }
func (f *failing) Error(args ...any) {
	f.said = append(f.said, fmt.Sprint(args...))
}

func (f *failing) Fatalf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
	panic(f)
}

// fatal runs do and returns what it failed the test with.
func (f *failing) fatal(do func()) (said string) {
	defer func() {
		if recover() != nil {
			said = f.said[len(f.said)-1]
		}
	}()
	do()
	return ""
}

// TestMisuse: what a test does wrong is said, and not hung on.
func TestMisuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{TB: t}
		c := rpcmeshtest.New(f)
		c.Node("a")
		for what, do := range map[string]func(){
			"configured at its first mention": func() { c.Node("a", func(*rpcmesh.Config) {}) },
			"is not stopped":                  func() { c.Start("a") },
			"AcceptAnyone":                    func() { c.Node("open", func(cfg *rpcmesh.Config) { cfg.Secret = "" }) },
			"unauthenticated": func() {
				c.Node("other", func(cfg *rpcmesh.Config) { cfg.Secret = "another" })
				c.Link("other", "a")
			},
			"not_found": func() { c.Proxy("p", "a", "nowhere") },
		} {
			if said := f.fatal(do); !strings.Contains(said, what) {
				t.Errorf("it said %q, want %q", said, what)
			}
		}
		c.Stop("a")
		if said := f.fatal(func() { c.Node("a") }); !strings.Contains(said, "is stopped") {
			t.Errorf("it said %q", said)
		}
		f.said = nil
		for _, cleanup := range f.cleanups {
			cleanup()
		}
		if len(f.said) > 0 {
			t.Errorf("closing said %q", f.said)
		}
	})
}

// TestLeakShows: a connection that nobody closed fails the test.
func TestLeakShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{TB: t}
		c := rpcmeshtest.New(f)
		c.Node("a")
		conn, err := c.Dialer("x")(t.Context(), "tcp", "a:80")
		if err != nil {
			t.Fatal(err)
		}
		for _, cleanup := range f.cleanups {
			cleanup()
		}
		if len(f.said) != 1 || !strings.Contains(f.said[0], "x:1 to a:0") {
			t.Errorf("it said %q", f.said)
		}
		conn.Close()
	})
}
