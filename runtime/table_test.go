package rpcmesh_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// The tests of this file are about what nodes know of each other. In fake time synctest.Wait returns when
// all that can happen now has happened, so what is known after it was told at once and not at a poll.

// functionsOf says what node sees in a namespace, a line for each origin: "/pkg.Service/Method at name, 2
// hops".
func functionsOf(ns *rpcmesh.Namespace) []string {
	var lines []string
	for f := range ns.Functions() {
		line := fmt.Sprintf("%s at %s, %d hops", f.Procedure, f.OriginName, f.Hops)
		if f.Policy != rpcmesh.PolicySingle {
			line += ", " + f.Policy.String()
		}
		if f.Shadowed {
			line += ", shadowed"
		}
		lines = append(lines, line)
	}
	return lines
}

func wantFunctions(t testing.TB, ns *rpcmesh.Namespace, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, functionsOf(ns)); diff != "" {
		t.Errorf("functions (-want +got):\n%s", diff)
	}
}

// work returns a method at a procedure of its own, of which the answer is the name.
func work(procedure, answer string) connect.Method {
	return unary(connect.Spec{Procedure: procedure}, func(context.Context, string) (string, error) { return answer, nil })
}

func TestRegisteredFunctionShowsAlongTheChain(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		nodes := chain(c, 4, "public")
		for at, name := range nodes {
			procedure := "/test.v1.At/" + strings.ToUpper(name)
			origin := mustRegister(t, c.Node(name).Namespace("public"), work(procedure, name))
			synctest.Wait()
			for from, caller := range nodes {
				ns := c.Node(caller).Namespace("public")
				wantFunctions(t, ns, fmt.Sprintf("%s at %s, %d hops", procedure, name, max(at-from, from-at)))
				if got, err := do(t.Context(), ns, connect.Spec{Procedure: procedure}, ""); got != name || err != nil {
					t.Errorf("from %s: got %q, %v", caller, got, err)
				}
			}
			if err := origin.Unregister(); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			for _, caller := range nodes {
				wantFunctions(t, c.Node(caller).Namespace("public"))
			}
		}
	})
}

func TestFunctionFields(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		begin := time.Now()
		register(t, c.Node("a").Namespace("public"), greeter{})
		synctest.Wait()
		got := slices.Collect(c.Node("c").Namespace("public").Functions())
		schema := wantSchema(t, c.Node("a").Namespace("public"), greetMethod()).Hash()
		want := make([]rpcmesh.Function, 4)
		kinds := []connect.StreamType{connect.StreamTypeBidi, connect.StreamTypeServer, connect.StreamTypeUnary, connect.StreamTypeClient}
		levels := []connect.IdempotencyLevel{connect.IdempotencyUnknown, connect.IdempotencyNoSideEffects, connect.IdempotencyNoSideEffects, connect.IdempotencyUnknown}
		for i, procedure := range greeterProcedures { // sorted
			want[i] = rpcmesh.Function{
				Procedure: procedure, StreamType: kinds[i], Idempotency: levels[i], Origin: c.Node("a").ID(), OriginName: "a", Hops: 2,
				Schema: schema, Registered: begin,
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("functions (-want +got):\n%s", diff)
		}
	})
}

// TestUnregisterLetsCallsEnd: a withdrawn function takes no more calls, and those that run go on to their
// end.
func TestUnregisterLetsCallsEnd(t *testing.T) {
	everywhere(t, func(w *world) {
		origin := register(w, w.origin, funcs{chat: echo})
		synctest.Wait()
		stream := mustChat(w, w.caller)
		mustSend(w, stream, "before")
		wantLines(w, stream, "before")
		for range 2 { // a second time does nothing
			if err := origin.Unregister(); err != nil {
				w.Error(err)
			}
		}
		synctest.Wait()
		mustSend(w, stream, "after")
		wantLines(w, stream, "after")
		_, err := greet(w.Context(), w.caller, "Ada")
		wantError(w.T, err, connect.CodeUnavailable, "withdrawn")
		stream.CloseSend()
		wantEnd(w, stream)
		if diff := cmp.Diff(greeterProcedures, slices.Sorted(slices.Values(origin.Procedures()))); diff != "" {
			w.Errorf("procedures (-want +got):\n%s", diff)
		}
	})
}

// TestFunctionGoesWithItsLink: what lay behind a lost link is withdrawn along the whole chain at once.
func TestFunctionGoesWithItsLink(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		nodes := chain(c, 4, "public")
		for _, name := range nodes {
			mustRegister(t, c.Node(name).Namespace("public"), work("/test.v1.At/"+strings.ToUpper(name), name))
		}
		synctest.Wait()
		c.Cut("b", "c")
		synctest.Wait()
		wantFunctions(t, c.Node("a").Namespace("public"), "/test.v1.At/A at a, 0 hops", "/test.v1.At/B at b, 1 hops")
		wantFunctions(t, c.Node("d").Namespace("public"), "/test.v1.At/C at c, 1 hops", "/test.v1.At/D at d, 0 hops")
		c.Heal("b", "c")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := c.Node("a").Namespace("public").WaitFor(ctx, "/test.v1.At/D"); err != nil {
			t.Error(err)
		}
		if err := c.Node("d").Namespace("public").WaitFor(ctx, "/test.v1.At/A"); err != nil {
			t.Error(err)
		}
	})
}

func TestWaitFor(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		ns := c.Node("c").Namespace("public")
		time.AfterFunc(time.Hour, func() {
			mustRegister(t, c.Node("a").Namespace("public"), work("/test.v1.At/A", "a"))
		})
		time.AfterFunc(2*time.Hour, func() {
			mustRegister(t, c.Node("b").Namespace("public"), work("/test.v1.At/B", "b"))
		})
		begin := time.Now()
		if err := ns.WaitFor(t.Context(), "/test.v1.At/A", "/test.v1.At/B"); err != nil {
			t.Error(err)
		}
		if waited := time.Since(begin); waited != 2*time.Hour {
			t.Errorf("waited %v, want 2h", waited)
		}
		if err := ns.WaitFor(t.Context()); err != nil {
			t.Errorf("for nothing: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := ns.WaitFor(ctx, "/test.v1.At/A", "/test.v1.At/Nowhere")
		wantError(t, err, connect.CodeDeadlineExceeded, "/test.v1.At/Nowhere")
		ctx, cancel = context.WithCancel(t.Context())
		cancel()
		wantError(t, ns.WaitFor(ctx, "/test.v1.At/Nowhere"), connect.CodeCanceled, "/test.v1.At/Nowhere")
	})
}

// TestWaitForTellsOfLinks: whoever waits in vain is told which links are down, and why.
func TestWaitForTellsOfLinks(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a")
		if _, err := c.Node("b").Link("http://a", "nowhere"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := c.Node("b").Namespace("nowhere").WaitFor(ctx, "/test.v1.At/A")
		wantError(t, err, connect.CodeDeadlineExceeded, `has no namespace "nowhere"`)
	})
}

// TestWaitForEndsWithTheNode: nobody waits for a closed node.
func TestWaitForEndsWithTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ns := c.Node("a").Namespace("public")
		got := make(chan error)
		go func() { got <- ns.WaitFor(t.Context(), "/test.v1.At/Nowhere") }()
		go func() { got <- ns.WaitVisible(t.Context()) }()
		if err := <-got; err != nil {
			t.Errorf("a node alone is all that can be reached: %v", err)
		}
		c.Stop("a")
		wantError(t, <-got, connect.CodeFailedPrecondition, "closed")
	})
}

// TestAbsenceExplainsItself: never seen here, or withdrawn when, and because which link fell.
func TestAbsenceExplainsItself(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		ns := c.Node("c").Namespace("public")
		_, err := greet(t.Context(), ns, "Ada")
		wantError(t, err, connect.CodeUnimplemented, "no node that can be reached")
		if f, ok := rpcmesh.FailureOf(err); !ok || f.Certainty != notStarted {
			t.Errorf("a call of an unknown function did not start, says %v", f)
		}

		origin := register(t, c.Node("a").Namespace("public"), greeter{})
		synctest.Wait()
		time.Sleep(time.Second) // fake time
		origin.Unregister()
		synctest.Wait()
		_, err = greet(t.Context(), ns, "Ada")
		wantError(t, err, connect.CodeUnavailable, greetv1rpcmesh.GreeterGreetProcedure)
		wantError(t, err, connect.CodeUnavailable, time.Now().UTC().Format(time.RFC3339))
		wantError(t, err, connect.CodeUnavailable, `"a"`)

		register(t, c.Node("a").Namespace("public"), greeter{})
		synctest.Wait()
		time.Sleep(time.Second) // fake time
		c.Cut("a", "b")
		synctest.Wait()
		_, err = greet(t.Context(), ns, "Ada")
		wantError(t, err, connect.CodeUnavailable, time.Now().UTC().Format(time.RFC3339))
		for _, text := range []string{`"a"`, "link", "b"} { // the link between a and b fell
			wantError(t, err, connect.CodeUnavailable, text)
		}

		_, err = greet(t.Context(), c.Node("c").Namespace("elsewhere"), "Ada")
		wantError(t, err, connect.CodeUnimplemented, "elsewhere")
	})
}

// TestCalledAsAnotherKind: stubs of another version of the .proto file are told what is wrong.
func TestCalledAsAnotherKind(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(greeter{})
		spec := connect.Spec{Procedure: greetv1rpcmesh.GreeterCountProcedure, StreamType: connect.StreamTypeUnary}
		_, err := do(w.Context(), w.caller, spec, "Ada")
		wantError(w.T, err, connect.CodeUnimplemented, "server")
	})
}

// TestNamespacesAreApart: a link carries what it was asked to and nothing else.
func TestNamespacesAreApart(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a")
		c.Node("b")
		c.Node("c")
		c.Link("b", "a", "public")
		c.Link("c", "b", "private", "public")
		for _, ns := range []string{"private", "public"} {
			mustRegister(t, c.Node("c").Namespace(ns), work("/test.v1.At/"+ns, "c"))
			mustRegister(t, c.Node("a").Namespace(ns), work("/test.v1.From/"+ns, "a"))
		}
		mustRegister(t, c.Node("b").Namespace(""), work("/test.v1.At/default", "b"))
		synctest.Wait()
		wantFunctions(t, c.Node("a").Namespace("public"), "/test.v1.At/public at c, 2 hops", "/test.v1.From/public at a, 0 hops")
		wantFunctions(t, c.Node("a").Namespace("private"), "/test.v1.From/private at a, 0 hops")
		wantFunctions(t, c.Node("b").Namespace("private"), "/test.v1.At/private at c, 1 hops")
		wantFunctions(t, c.Node("c").Namespace("private"), "/test.v1.At/private at c, 0 hops")
		wantFunctions(t, c.Node("c").Namespace("public"), "/test.v1.At/public at c, 0 hops", "/test.v1.From/public at a, 2 hops")
		wantFunctions(t, c.Node("a").Namespace("default"))
		wantFunctions(t, c.Node("b").Namespace("default"), "/test.v1.At/default at b, 0 hops")
	})
}

// TestDefaultNamespace: no name, anywhere, is the default one.
func TestDefaultNamespace(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2)
		register(t, c.Node("a").Namespace(""), says("a"))
		synctest.Wait()
		wantGreeting(t, c.Node("b").Namespace(rpcmesh.DefaultNamespace), "a")
		wantGreeting(t, c.Proxy("p", "b", ""), "a")
	})
}

func TestRoute(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		register(t, c.Node("a").Namespace("public"), greeter{})
		synctest.Wait()
		wantRoute(t, c.Node("c").Namespace("public"), "c", "b", "a")
		wantRoute(t, c.Node("a").Namespace("public"), "a")
		if got := c.Node("a").Namespace("public").Route("/test.v1.At/Nowhere"); got != nil {
			t.Errorf("to nowhere: %v", got)
		}
	})
}

// router is a Namespace or a Proxy.
type router interface {
	Route(procedure string) []rpcmesh.Hop
}

// wantRoute fails the test unless Greet is called by way of names.
func wantRoute(t testing.TB, from router, names ...string) {
	t.Helper()
	var got []string
	for _, hop := range from.Route(greetv1rpcmesh.GreeterGreetProcedure) {
		got = append(got, hop.Name)
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("route (-want +got):\n%s", diff)
	}
}

func TestMembers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a", func(cfg *rpcmesh.Config) {
			cfg.Addresses = []string{"a:8220", "10.0.0.1:8220"}
			cfg.Metadata = map[string]string{"zone": "north", "": "empty key"}
		})
		time.Sleep(time.Second) // fake time
		c.Node("b")
		c.Node("c")
		c.Link("b", "a", "public", "private")
		c.Link("c", "b", "public")
		synctest.Wait()
		id := func(name string) rpcmesh.NodeID { return c.Node(name).ID() }
		members := map[string]rpcmesh.Member{}
		for m := range c.Node("c").Members() {
			members[m.Name] = m
		}
		if got := slices.Sorted(maps.Keys(members)); !slices.Equal(got, []string{"a", "b", "c"}) {
			t.Fatalf("members: %v", got)
		}
		a, b := members["a"], members["b"]
		if a.ID != id("a") || a.Version != rpcmesh.Version() || a.Incarnation >= b.Incarnation {
			t.Errorf("a: %+v", a)
		}
		if diff := cmp.Diff([]string{"a:8220", "10.0.0.1:8220"}, a.Addresses); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"zone": "north", "": "empty key"}, a.Metadata); diff != "" {
			t.Errorf("metadata (-want +got):\n%s", diff)
		}
		// c shares no private with the others, so it is not told of links in it.
		if diff := cmp.Diff([]rpcmesh.NodeID{id("b")}, a.Neighbours["public"]); diff != "" {
			t.Errorf("a's neighbours (-want +got):\n%s", diff)
		}
		if _, told := a.Neighbours["private"]; told {
			t.Errorf("c is told of private: %v", a.Neighbours)
		}
		if got := b.Neighbours["public"]; len(got) != 2 || !slices.Contains(got, id("a")) || !slices.Contains(got, id("c")) {
			t.Errorf("b's neighbours: %v", got)
		}
		c.Kill("a")
		synctest.Wait()
		if got := memberNames(c.Node("c")); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("members after a's death: %v", got)
		}
	})
}

func memberNames(n *rpcmesh.Node) []string {
	var names []string
	for m := range n.Members() {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

func TestLinks(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		begin := time.Now()
		c.Node("a")
		c.Node("b")
		c.Link("b", "a", "private", "public")
		c.Proxy("p", "b", "public")
		links := linksOf(c.Node("b"))
		if len(links) != 2 {
			t.Fatalf("links: %+v", links)
		}
		up := links["a"]
		if up.URL != rpcmeshtest.URL("a") || !up.Up || up.Peer != c.Node("a").ID() || up.Proxy || !up.Since.Equal(begin) || up.Err != nil {
			t.Errorf("to a: %+v", up)
		}
		if diff := cmp.Diff([]string{"private", "public"}, up.Namespaces); diff != "" {
			t.Errorf("namespaces (-want +got):\n%s", diff)
		}
		delete(links, "a")
		for _, proxy := range links {
			if proxy.URL != "" || !proxy.Up || !proxy.Proxy || !strings.HasPrefix(proxy.Addr, "p:") {
				t.Errorf("from p: %+v", proxy)
			}
		}
		accepted := linksOf(c.Node("a"))["b"]
		if accepted.URL != "" || !accepted.Up || accepted.Peer != c.Node("b").ID() || !strings.HasPrefix(accepted.Addr, "b:") {
			t.Errorf("from b: %+v", accepted)
		}
		c.Cut("a", "b")
		synctest.Wait()
		if got := linksOf(c.Node("a")); len(got) != 0 {
			t.Errorf("the side that does not dial lists a link that is down: %+v", got)
		}
		down := linksOf(c.Node("b"))[""]
		if down.URL != rpcmeshtest.URL("a") || down.Up || down.Err == nil {
			t.Errorf("down: %+v", down)
		}
	})
}

// linksOf returns the links of n by the name of the other end.
func linksOf(n *rpcmesh.Node) map[string]rpcmesh.LinkInfo {
	links := map[string]rpcmesh.LinkInfo{}
	for l := range n.Links() {
		links[l.PeerName] = l
	}
	return links
}

func TestWaitVisible(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 4, "public")
		synctest.Wait() // until a knows of the others
		ns := c.Node("a").Namespace("public")
		mustRegister(t, ns, work("/test.v1.At/A", "a"))
		if err := ns.WaitVisible(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"b", "c", "d"} { // without waiting
			if got, err := do(t.Context(), c.Node(name).Namespace("public"), connect.Spec{Procedure: "/test.v1.At/A"}, ""); got != "a" || err != nil {
				t.Errorf("from %s: %q, %v", name, got, err)
			}
		}
		c.Silence("c", "d")
		mustRegister(t, ns, work("/test.v1.At/A2", "a"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, ns.WaitVisible(ctx), connect.CodeDeadlineExceeded, "public")
		// Once d counts as lost, all that can be reached have seen it.
		begin := time.Now()
		if err := ns.WaitVisible(t.Context()); err != nil {
			t.Error(err)
		}
		if waited := time.Since(begin); waited == 0 || waited > 3*time.Second {
			t.Errorf("waited %v, want to wait for the keepalive", waited)
		}
	})
}
