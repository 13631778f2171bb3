package rpcmesh_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func group(t testing.TB, n *rpcmesh.Node, name string, members []string, opts ...rpcmesh.GroupOption) *rpcmesh.Namespace {
	t.Helper()
	g, err := n.Group(name, members, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var threeMembers = []string{"public", "private", "open"}

// three starts one node, a, in three namespaces and their group "all":
//
//	public:  a <- b <- c
//	private: a <- d <- e <- f
//	open:    a -> g -> h
func three(t testing.TB, c *rpcmeshtest.Cluster) *rpcmesh.Namespace {
	t.Helper()
	c.Setup("a", func(n *rpcmesh.Node) { group(t, n, "all", threeMembers) })
	for _, l := range [][3]string{
		{"b", "a", "public"},
		{"c", "b", "public"},
		{"d", "a", "private"},
		{"e", "d", "private"},
		{"f", "e", "private"},
		{"g", "h", "open"},
		{"a", "g", "open"},
	} {
		c.Node(l[1])
		c.Link(l[0], l[1], l[2])
	}
	synctest.Wait()
	return c.Node("a").Namespace("all")
}

// namespaceOf is where a node of three lives.
var namespaceOf = map[string]string{
	"b": "public", "c": "public", "d": "private", "e": "private", "f": "private", "g": "open", "h": "open",
}

// TestGroupRegistersInAllMembers: what is registered on a group can be called in every member, and all of it
// goes when it is withdrawn.
func TestGroupRegistersInAllMembers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		origin := register(t, three(t, c), says("a"))
		synctest.Wait()
		for name, ns := range namespaceOf {
			wantGreeting(t, c.Node(name).Namespace(ns), "a")
		}
		origin.Unregister()
		synctest.Wait()
		for name, ns := range namespaceOf {
			wantFunctions(t, c.Node(name).Namespace(ns))
		}
	})
}

// TestGroupRegistersAllOrNone: a function that one member has already is registered in none.
func TestGroupRegistersAllOrNone(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		all := three(t, c)
		mustRegister(t, c.Node("f").Namespace("private"), work("/test.v1.At/F", "f"))
		synctest.Wait()
		_, err := all.Register(work("/test.v1.At/A", "a"), work("/test.v1.At/F", "a"))
		wantError(t, err, connect.CodeAlreadyExists, "f")
		synctest.Wait()
		wantFunctions(t, all, "/test.v1.At/F at f, 3 hops")
		wantFunctions(t, c.Node("c").Namespace("public"))
	})
}

// TestGroupSeesAllMembers: the group's node, a proxy of it, and a node that is linked to it by the group's
// name call the functions of all members.
func TestGroupSeesAllMembers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		all := three(t, c)
		for name, ns := range namespaceOf {
			mustRegister(t, c.Node(name).Namespace(ns), work("/test.v1.At/"+name, name))
		}
		c.Node("z")
		c.Link("z", "a", "all")
		synctest.Wait()
		callers := map[string]connect.Transport{
			"the group's node": all, "a proxy": c.Proxy("p", "a", "all"), "a linked node": c.Node("z").Namespace("all"),
		}
		for who, caller := range callers {
			for _, name := range slices.Sorted(maps.Keys(namespaceOf)) {
				got, err := do(t.Context(), caller, connect.Spec{Procedure: "/test.v1.At/" + name}, "")
				if got != name || err != nil {
					t.Errorf("%s to %s: %q, %v", who, name, got, err)
				}
			}
		}
		if got := len(functionsOf(c.Node("z").Namespace("all"))); got != len(namespaceOf) {
			t.Errorf("the linked node sees %d functions", got)
		}
	})
}

// TestGroupMembersStayApart: no function of one member becomes visible in another because both are in a group.
func TestGroupMembersStayApart(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		three(t, c)
		c.Node("z")
		c.Link("z", "a", "all")
		for name, ns := range namespaceOf {
			mustRegister(t, c.Node(name).Namespace(ns), work("/test.v1.At/"+name, name))
		}
		time.Sleep(time.Minute) // fake time
		for name, ns := range namespaceOf {
			for f := range c.Node(name).Namespace(ns).Functions() {
				if namespaceOf[f.OriginName] != ns {
					t.Errorf("%s sees %s of %s in %s", name, f.Procedure, f.OriginName, ns)
				}
			}
			for _, other := range slices.Sorted(maps.Keys(namespaceOf)) {
				if namespaceOf[other] == ns {
					continue
				}
				_, err := do(t.Context(), c.Node(name).Namespace(ns), connect.Spec{Procedure: "/test.v1.At/" + other}, "")
				wantError(t, err, connect.CodeUnimplemented, other)
			}
		}
	})
}

// TestGroupOverALink: what a node offers in a namespace of the group's name appears in all members, and calls
// from there reach it.
func TestGroupOverALink(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		three(t, c)
		c.Node("z")
		c.Link("z", "a", "all")
		origin := register(t, c.Node("z").Namespace("all"), says("z"))
		synctest.Wait()
		for name, ns := range namespaceOf {
			wantGreeting(t, c.Node(name).Namespace(ns), "z")
		}
		wantGreeting(t, c.Node("a").Namespace("all"), "z")
		origin.Unregister()
		synctest.Wait()
		for name, ns := range namespaceOf {
			wantFunctions(t, c.Node(name).Namespace(ns))
		}
	})
}

// TestGroupAtBothEnds: where both ends hold the group, the link carries the members that they share, each as
// itself.
func TestGroupAtBothEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Setup("a", func(n *rpcmesh.Node) { group(t, n, "all", threeMembers) })
		c.Setup("z", func(n *rpcmesh.Node) { group(t, n, "all", []string{"open", "public", "more"}) })
		c.Link("z", "a", "all")
		for _, ns := range []string{"public", "private", "open"} {
			mustRegister(t, c.Node("a").Namespace(ns), work("/test.v1.At/"+ns, "a"))
		}
		mustRegister(t, c.Node("z").Namespace("more"), work("/test.v1.At/more", "z"))
		synctest.Wait()
		z, a := c.Node("z"), c.Node("a")
		wantFunctions(t, z.Namespace("public"), "/test.v1.At/public at a, 1 hops")
		wantFunctions(t, z.Namespace("open"), "/test.v1.At/open at a, 1 hops")
		wantFunctions(t, z.Namespace("private"))
		wantFunctions(t, z.Namespace("more"), "/test.v1.At/more at z, 0 hops")
		wantFunctions(t, a.Namespace("all"),
			"/test.v1.At/open at a, 0 hops", "/test.v1.At/private at a, 0 hops", "/test.v1.At/public at a, 0 hops")
	})
}

// TestGroupFirstMatch: of the same function in several members the first in the declared order is called;
// when its way goes, the next serves; and it goes back when the first returns.
func TestGroupFirstMatch(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		all := three(t, c)
		c.Node("z")
		c.Link("z", "a", "all")
		for name, ns := range map[string]string{"c": "public", "e": "private", "h": "open"} {
			register(t, c.Node(name).Namespace(ns), says(name))
		}
		synctest.Wait()
		callers := []connect.Transport{all, c.Proxy("p", "a", "all"), c.Node("z").Namespace("all")}
		want := func(from string) {
			t.Helper()
			synctest.Wait()
			for _, caller := range callers {
				wantGreeting(t, caller, from)
			}
		}
		want("c")
		c.Cut("b", "c")
		want("e")
		c.Cut("d", "e")
		want("h")
		c.Heal("b", "c")
		time.Sleep(time.Minute) // fake time
		want("c")
		c.Cut("a", "b")
		want("h")
		c.Heal("d", "e")
		time.Sleep(time.Minute) // fake time
		want("e")
		c.HealAll()
		time.Sleep(time.Minute) // fake time
		want("c")
		// A member's own callers are not concerned.
		wantGreeting(t, c.Node("f").Namespace("private"), "e")
	})
}

// ring starts a ring of three nodes with the bridged group "ring" of left and right: b links to a by left, c
// to b by left, a to c by right.
func ring(t testing.TB, c *rpcmeshtest.Cluster, opts ...rpcmesh.GroupOption) {
	t.Helper()
	for _, name := range []string{"a", "b", "c"} {
		c.Setup(name, func(n *rpcmesh.Node) {
			g := group(t, n, "ring", []string{"left", "right"}, opts...)
			mustRegister(t, g, work("/test.v1.At/"+name, name))
		})
	}
	c.Link("b", "a", "left")
	c.Link("c", "b", "left")
	c.Link("a", "c", "right")
	synctest.Wait()
}

// TestRing: each node calls the functions of both others; whichever link is cut, every call keeps working the
// other way round, at once.
func TestRing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ring(t, c, rpcmesh.Bridged())
		nodes := []string{"a", "b", "c"}
		all := func(what string) {
			t.Helper()
			for _, from := range nodes {
				for _, to := range nodes {
					got, err := do(t.Context(), c.Node(from).Namespace("ring"), connect.Spec{Procedure: "/test.v1.At/" + to}, "")
					if got != to || err != nil {
						t.Errorf("%s: %s to %s: %q, %v", what, from, to, got, err)
					}
				}
			}
		}
		hops := func(from, to string) string {
			names := ""
			for _, hop := range c.Node(from).Namespace("ring").Route("/test.v1.At/" + to) {
				names += hop.Name
			}
			return names
		}
		all("whole")
		for _, cut := range [][2]string{{"a", "b"}, {"b", "c"}, {"a", "c"}} {
			x, y := cut[0], cut[1]
			if got := hops(x, y); got != x+y {
				t.Errorf("the route from %s to %s is %s", x, y, got)
			}
			c.Cut(x, y)
			synctest.Wait()
			all(fmt.Sprint("cut ", cut))
			if got := hops(x, y); len(got) != 3 {
				t.Errorf("with %v cut, the route from %s to %s is %s", cut, x, y, got)
			}
			c.Heal(x, y)
			time.Sleep(time.Minute) // fake time
			all(fmt.Sprint("healed ", cut))
		}
	})
}

// TestRingWithoutBridges: the members stay apart, as ever: a function comes no further than its namespace.
func TestRingWithoutBridges(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		for _, name := range []string{"a", "b", "c"} {
			c.Setup(name, func(n *rpcmesh.Node) { group(t, n, "ring", []string{"left", "right"}) })
		}
		c.Link("b", "a", "left")
		c.Link("c", "b", "right")
		mustRegister(t, c.Node("a").Namespace("left"), work("/test.v1.At/a", "a"))
		synctest.Wait()
		wantFunctions(t, c.Node("b").Namespace("ring"), "/test.v1.At/a at a, 1 hops")
		wantFunctions(t, c.Node("c").Namespace("ring"))
	})
}

// TestBridge: one node passes the table of one namespace on into the other, and calls cross it.
func TestBridge(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a")
		c.Setup("b", func(n *rpcmesh.Node) { group(t, n, "both", []string{"left", "right"}, rpcmesh.Bridged()) })
		c.Node("c")
		c.Link("b", "a", "left")
		c.Link("c", "b", "right")
		register(t, c.Node("a").Namespace("left"), says("a"))
		synctest.Wait()
		right := c.Node("c").Namespace("right")
		wantGreeting(t, right, "a")
		c.Cut("a", "b")
		synctest.Wait()
		_, err := greet(t.Context(), right, "Ada")
		wantError(t, err, connect.CodeUnavailable, greetv1rpcmesh.GreeterGreetProcedure)
		c.Heal("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := right.WaitFor(ctx, greeterProcedures...); err != nil {
			t.Fatal(err)
		}
		wantGreeting(t, right, "a")
	})
}

func TestGroupDeclaring(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		n := c.Node("a")
		n.Namespace("taken")
		g := group(t, n, "all", []string{"x", "y"})
		if again := group(t, n, "all", []string{"x", "y"}); again != g || n.Namespace("all") != g {
			t.Error("the same group is another one")
		}
		if g.Name() != "all" {
			t.Errorf("it is named %q", g.Name())
		}
		for what, c := range map[string]struct {
			name    string
			members []string
			code    connect.Code
		}{
			"another order":        {"all", []string{"y", "x"}, connect.CodeAlreadyExists},
			"other members":        {"all", []string{"x"}, connect.CodeAlreadyExists},
			"a namespace's name":   {"taken", []string{"x"}, connect.CodeAlreadyExists},
			"no members":           {"none", nil, connect.CodeInvalidArgument},
			"a member twice":       {"twice", []string{"x", "x"}, connect.CodeInvalidArgument},
			"itself a member":      {"self", []string{"self"}, connect.CodeInvalidArgument},
			"a group as a member":  {"nested", []string{"all"}, connect.CodeInvalidArgument},
			"a malformed name":     {"no good", []string{"x"}, connect.CodeInvalidArgument},
			"a malformed member":   {"good", []string{"no good"}, connect.CodeInvalidArgument},
			"an empty member name": {"good", []string{""}, connect.CodeInvalidArgument},
		} {
			_, err := n.Group(c.name, c.members)
			if connect.CodeOf(err) != c.code {
				t.Errorf("%s: got %v, want %v", what, err, c.code)
			}
		}
		if _, err := n.Group("all", []string{"x", "y"}, rpcmesh.Bridged()); connect.CodeOf(err) != connect.CodeAlreadyExists {
			t.Errorf("bridged now: %v", err)
		}
	})
}
