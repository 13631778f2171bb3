package rpcmesh_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestProxy: it sees what its node sees, calls it, and is no member.
func TestProxy(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		p := c.Proxy("p", "c", "public")
		time.AfterFunc(time.Hour, func() { register(t, c.Node("a").Namespace("public"), says("a")) })
		if err := p.WaitFor(t.Context(), greeterProcedures...); err != nil {
			t.Fatal(err)
		}
		wantGreeting(t, p, "a")
		wantRoute(t, p, p.Route(greetv1rpcmesh.GreeterGreetProcedure)[0].Name, "c", "b", "a")
		var procedures []string
		for f := range p.Functions() {
			procedures = append(procedures, f.Procedure)
			if f.OriginName != "a" || f.Hops != 3 {
				t.Errorf("%+v", f)
			}
		}
		if !slices.Equal(procedures, greeterProcedures) {
			t.Errorf("it sees %v", procedures)
		}
		for _, name := range []string{"a", "b", "c"} {
			if got := memberNames(c.Node(name)); !slices.Equal(got, []string{"a", "b", "c"}) {
				t.Errorf("%s sees the members %v", name, got)
			}
		}
		c.Cut("a", "b")
		synctest.Wait()
		_, err := greet(t.Context(), p, "Ada")
		wantError(t, err, connect.CodeUnavailable, "withdrawn")
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		_, err = greet(t.Context(), p, "Ada")
		wantError(t, err, connect.CodeUnavailable, "closed")
		synctest.Wait()
		if got := linksOf(c.Node("c")); len(got) != 1 {
			t.Errorf("c still has the links %+v", got)
		}
	})
}

// TestProxyRedials: a proxy whose node is lost comes back with it.
func TestProxyRedials(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Setup("a", func(n *rpcmesh.Node) { register(t, n.Namespace("public"), says("a")) })
		p := c.Proxy("p", "a", "public")
		wantGreeting(t, p, "a")
		c.Kill("a")
		synctest.Wait()
		_, err := greet(t.Context(), p, "Ada")
		wantError(t, err, connect.CodeUnavailable, "")
		time.Sleep(time.Minute) // fake time
		c.Start("a")
		if err := p.WaitFor(t.Context(), greeterProcedures...); err != nil {
			t.Fatal(err)
		}
		wantGreeting(t, p, "a")
	})
}

// TestProxyRelaysNothing: two nodes are not joined by a proxy of both.
func TestProxyRelaysNothing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		for _, name := range []string{"a", "b"} {
			register(t, c.Node(name).Namespace("public"), says(name))
		}
		wantGreeting(t, c.Proxy("p", "a", "public"), "a")
		wantGreeting(t, c.Proxy("p", "b", "public"), "b")
		for _, name := range []string{"a", "b"} {
			wantGreeting(t, c.Node(name).Namespace("public"), name)
			if got := memberNames(c.Node(name)); len(got) != 1 {
				t.Errorf("%s sees the members %v", name, got)
			}
		}
	})
}

// TestDialWhereNobodyListens: Dial gives up when its context ends, and says why, and leaves nothing behind.
func TestDialWhereNobodyListens(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		_, err := rpcmesh.Dial(ctx, rpcmeshtest.URL("nowhere"), rpcmesh.ProxyConfig{Secret: "s", Dial: c.Dialer("p")})
		wantError(t, err, connect.CodeDeadlineExceeded, "refused")
		if took := time.Since(begin); took != 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestProxiesOfOneName: a proxy's name is for people only, so that several may share it.
func TestProxiesOfOneName(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		register(t, c.Node("a").Namespace("public"), says("a"))
		named := func(cfg *rpcmesh.ProxyConfig) { cfg.Name = "a" }
		p, q := c.Proxy("p", "a", "public", named), c.Proxy("q", "a", "public", named)
		wantGreeting(t, p, "a")
		wantGreeting(t, q, "a")
		links := slices.Collect(c.Node("a").Links())
		if len(links) != 2 {
			t.Fatalf("the node has the links %+v", links)
		}
		for _, l := range links {
			if !l.Proxy || l.PeerName != "a" {
				t.Errorf("link %+v", l)
			}
		}
	})
}
