package rpcmesh_test

import (
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

func TestURLThatIsNone(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		n := c.Node("a")
		for _, url := range []string{
			"", "b", "b:8220", "/b", "//b", "http:", "http://", "http:///path", "http:b", "ftp://b", "h2c://b", "tcp://b:1",
			"://b", "http://b:port", "http://[::1", "http://b/%zz", "http://b?query", "http://b/#fragment", "http://me:pw@b",
			"http://b\x00", " http://b", strings.Repeat("x", 1<<20),
		} {
			_, err := n.Link(url, "public")
			if connect.CodeOf(err) != connect.CodeInvalidArgument || len(err.Error()) > 1000 {
				t.Errorf("%.50q: link: %.200v", url, err)
			}
			_, err = rpcmesh.Dial(t.Context(), url, rpcmesh.ProxyConfig{Secret: rpcmeshtest.Secret, Dial: c.Dialer("p")})
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%.50q: dial: %.200v", url, err)
			}
		}
		for _, url := range []string{"http://me:the-password@b", "http://me:the-password@", "://me:the-password@b"} {
			if _, err := n.Link(url); err == nil || strings.Contains(err.Error(), "the-password") {
				t.Errorf("a password in a URL: %v", err)
			}
		}
		if got := len(linksOf(n)); got != 0 {
			t.Errorf("%d links", got)
		}
	})
}

// TestUnknownNamespace: a link for a namespace that the other end does not have is refused, naming it, and comes
// up once that end has it.
func TestUnknownNamespace(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		a, b := c.Node("a"), c.Node("b")
		a.Namespace("public")
		link, err := b.Link(rpcmeshtest.URL("a"), "public", "nowhere")
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, link.Ready(t.Context()), connect.CodeNotFound, "nowhere")
		_, err = rpcmesh.Dial(t.Context(), rpcmeshtest.URL("a"), rpcmesh.ProxyConfig{
			Secret: rpcmeshtest.Secret, Namespace: "nowhere", Dial: c.Dialer("p"),
		})
		wantError(t, err, connect.CodeNotFound, "nowhere")
		a.Namespace("nowhere")
		time.Sleep(time.Minute) // fake time
		if err := link.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

var badNames = []string{" ", "no good", "a/b", "\x00", "ä", strings.Repeat("x", 65), strings.Repeat("x", 1<<20), ".a", "-a", "_a", "a\n"}

// TestNamespaceOutOfBounds: whatever is done with a namespace of a malformed name fails with invalid_argument.
func TestNamespaceOutOfBounds(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		n := c.Node("a")
		c.Node("b")
		for _, name := range badNames {
			ns := n.Namespace(name)
			_, errRegister := ns.Register(work("/test.v1.At/A", "a"))
			_, errServer := ns.RegisterServer(connect.NewServer())
			_, errReplicated := ns.Replicated(rpcmesh.PolicyRandom).Register(work("/test.v1.At/A", "a"))
			_, errCall := greet(t.Context(), ns, "Ada")
			_, errLink := n.Link(rpcmeshtest.URL("b"), "public", name)
			_, errGroup := n.Group(name, []string{"public"})
			_, errDial := rpcmesh.Dial(t.Context(), rpcmeshtest.URL("b"), rpcmesh.ProxyConfig{
				Secret: rpcmeshtest.Secret, Namespace: name, Dial: c.Dialer("p"),
			})
			for what, err := range map[string]error{
				"register": errRegister, "register server": errServer, "replicated": errReplicated, "call": errCall,
				"link": errLink, "group": errGroup, "dial": errDial,
				"wait": ns.WaitFor(t.Context(), "/test.v1.At/A"), "wait visible": ns.WaitVisible(t.Context()),
			} {
				if connect.CodeOf(err) != connect.CodeInvalidArgument || len(err.Error()) > 500 {
					t.Errorf("%.20q: %s: %.600v", name, what, err)
				}
			}
			for range ns.Functions() {
				t.Errorf("%.20q has functions", name)
			}
			for range ns.Watch(t.Context()) {
				t.Errorf("%.20q has events", name)
			}
			if ns.Route("/test.v1.At/A") != nil {
				t.Errorf("%.20q has routes", name)
			}
		}
		for _, name := range []string{"a", "0", "a.b-c_d", strings.Repeat("x", 64)} {
			mustRegister(t, n.Namespace(name), work("/test.v1.At/A", "a"))
		}
	})
}

func TestProcedureOutOfBounds(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ns := c.Node("a").Namespace("public")
		for _, procedure := range []string{
			"", "x", "/", "//", "/a", "a/b", "/a/", "//b", "/a.b", "/a/b/c", "/a.b/c d", "/a..b/c", "/.a/b", "/a/b\n",
			"/\xff/a", "/a/ä", "/" + strings.Repeat("x", 512) + "/m", "/0a/b",
		} {
			_, err := ns.Register(work("/test.v1.At/Fine", "a"), work(procedure, "a"))
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%.40q: register: %v", procedure, err)
			}
			_, err = do(t.Context(), ns, connect.Spec{Procedure: procedure}, "")
			if code := connect.CodeOf(err); code != connect.CodeUnimplemented && code != connect.CodeInvalidArgument {
				t.Errorf("%.40q: call: %v", procedure, err)
			}
		}
		wantFunctions(t, ns)
		mustRegister(t, ns, work("/a/b", "a"), work("/"+strings.Repeat("x", 509)+"/m", "a"))
	})
}

// TestRegisterTwice: a function that can be seen already is already_exists, which names the owner; all of a
// registration or none of it.
func TestRegisterTwice(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		first := register(t, c.Node("a").Namespace("public"), says("a"))
		synctest.Wait()
		for _, name := range []string{"a", "b", "c"} {
			ns := c.Node(name).Namespace("public")
			_, err := ns.Register(work("/test.v1.At/New", name), work(greetv1rpcmesh.GreeterGreetProcedure, name))
			wantError(t, err, connect.CodeAlreadyExists, greetv1rpcmesh.GreeterGreetProcedure)
			wantError(t, err, connect.CodeAlreadyExists, "by a ")
			synctest.Wait()
			if got := len(functionsOf(ns)); got != 4 {
				t.Errorf("%s sees %d functions", name, got)
			}
			wantGreeting(t, ns, "a")
		}
		_, err := c.Node("a").Namespace("public").Register(work("/test.v1.At/A", "a"), work("/test.v1.At/A", "a"))
		wantError(t, err, connect.CodeAlreadyExists, "twice")
		// Elsewhere it is another function.
		register(t, c.Node("b").Namespace("private"), says("b"))
		// Once it is withdrawn its name is free.
		first.Unregister()
		synctest.Wait()
		register(t, c.Node("c").Namespace("public"), says("c"))
		synctest.Wait()
		wantGreeting(t, c.Node("a").Namespace("public"), "c")
		first.Unregister() // to no effect
		synctest.Wait()
		wantGreeting(t, c.Node("a").Namespace("public"), "c")
	})
}

func TestMethodsThatAreNone(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ns := c.Node("a").Namespace("public")
		handler := work("/test.v1.At/A", "a").Handler
		for name, m := range map[string]connect.Method{
			"no handler":        {Spec: connect.Spec{Procedure: "/test.v1.At/A"}},
			"no such kind":      {Spec: connect.Spec{Procedure: "/test.v1.At/A", StreamType: 4}, Handler: handler},
			"no such level":     {Spec: connect.Spec{Procedure: "/test.v1.At/A", IdempotencyLevel: 3}, Handler: handler},
			"no procedure":      {Handler: handler},
			"nothing of a kind": {},
		} {
			if _, err := ns.Register(work("/test.v1.At/B", "a"), m); connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%s: %v", name, err)
			}
		}
		many := make([]connect.Method, 1<<16+1)
		for i := range many {
			many[i] = work(fmt.Sprintf("/test.v1.At/F%d", i), "a")
		}
		if _, err := ns.Register(many...); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("too many: %v", err)
		}
		wantFunctions(t, ns)
	})
}

// TestMessagesThatAreNone: the transport carries protobuf messages only, and says so.
func TestMessagesThatAreNone(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(funcs{greet: greeter{}.Greet, chat: echo})
		client := connect.NewClient(w.caller)
		spec := connect.Spec{Procedure: greetv1rpcmesh.GreeterGreetProcedure}
		err := client.CallUnary(w.Context(), spec, "a string", new(greetv1.GreetResponse))
		wantError(w.T, err, connect.CodeInternal, "string")
		var res struct{}
		err = client.CallUnary(w.Context(), spec, &greetv1.GreetRequest{Name: "Ada"}, &res)
		wantError(w.T, err, connect.CodeInternal, "")
		// A response of another type than the stub's.
		err = client.CallUnary(w.Context(), spec, &greetv1.GreetRequest{Name: "Ada"}, new(greetv1.CountResponse))
		if err != nil {
			w.Errorf("an unknown field is skipped, and not: %v", err)
		}
		// Text that is not UTF-8 cannot be encoded.
		_, err = greet(w.Context(), w.caller, "\xff")
		wantError(w.T, err, connect.CodeInternal, "")
	})
}

func TestLinkToOneself(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var d dials
		a := c.Node("a", d.count)
		a.Namespace("public")
		register(t, a.Namespace("public"), says("a"))
		wantError(t, tryLink(t, a, "a", "public"), connect.CodeFailedPrecondition, "itself")
		time.Sleep(time.Minute) // fake time
		if got := len(d.take()); got > 20 {
			t.Errorf("it was tried %d times in a minute", got)
		}
		wantGreeting(t, a.Namespace("public"), "a")
	})
}

func TestConfigOutOfBounds(t *testing.T) {
	long := strings.Repeat("x", 5000)
	for field, change := range map[string]func(*rpcmesh.Config){
		"Name":               func(c *rpcmesh.Config) { c.Name = strings.Repeat("x", 129) },
		"Name ":              func(c *rpcmesh.Config) { c.Name = "a\nb" },
		"Name  ":             func(c *rpcmesh.Config) { c.Name = "\xff" },
		"Addresses":          func(c *rpcmesh.Config) { c.Addresses = make([]string, 17) },
		"Addresses ":         func(c *rpcmesh.Config) { c.Addresses = []string{long} },
		"Addresses  ":        func(c *rpcmesh.Config) { c.Addresses = []string{"a\x00"} },
		"Metadata":           func(c *rpcmesh.Config) { c.Metadata = map[string]string{"k": long} },
		"Metadata ":          func(c *rpcmesh.Config) { c.Metadata = map[string]string{"k": "\xff"} },
		"Metadata  ":         func(c *rpcmesh.Config) { c.Metadata = manyEntries(33) },
		"Limits.MaxMessage":  func(c *rpcmesh.Config) { c.Limits.MaxMessage = -1 },
		"Limits.MaxMessage ": func(c *rpcmesh.Config) { c.Limits.MaxMessage = 1<<30 + 1 },
		"Limits.Window":      func(c *rpcmesh.Config) { c.Limits.Window = 63 },
		"Limits.Window ":     func(c *rpcmesh.Config) { c.Limits.Window = 1<<30 + 1 },
		"Limits.MaxCalls":    func(c *rpcmesh.Config) { c.Limits.MaxCalls = -1 },
		"Limits.MaxCalls ":   func(c *rpcmesh.Config) { c.Limits.MaxCalls = 1<<16 + 1 },
		"Keepalive":          func(c *rpcmesh.Config) { c.Keepalive = time.Millisecond },
		"Keepalive ":         func(c *rpcmesh.Config) { c.Keepalive = -time.Second },
		"RedialMin":          func(c *rpcmesh.Config) { c.RedialMin = time.Microsecond },
		"RedialMax":          func(c *rpcmesh.Config) { c.RedialMin, c.RedialMax = time.Minute, time.Second },
	} {
		cfg := rpcmesh.Config{Secret: "s"}
		change(&cfg)
		n, err := rpcmesh.NewNode(cfg)
		if err == nil {
			n.Close()
		}
		wantError(t, err, connect.CodeInvalidArgument, strings.TrimSpace(field))
	}
	_, err := rpcmesh.Dial(t.Context(), "http://a", rpcmesh.ProxyConfig{Secret: "s", Limits: rpcmesh.Limits{Window: 1}})
	wantError(t, err, connect.CodeInvalidArgument, "Limits.Window")
}

func manyEntries(count int) map[string]string {
	m := map[string]string{}
	for i := range count {
		m[fmt.Sprint(i)] = ""
	}
	return m
}

// TestConfigIsCopied: what becomes of a Config after NewNode does not matter.
func TestConfigIsCopied(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		metadata, addresses := map[string]string{"k": "v"}, []string{"here"}
		c.Node("a", func(cfg *rpcmesh.Config) { cfg.Metadata, cfg.Addresses = metadata, addresses })
		metadata["k"], addresses[0] = "changed", "changed"
		if m := memberOf(t, c.Node("a"), "a"); m.Metadata["k"] != "v" || m.Addresses[0] != "here" {
			t.Errorf("the node tells %v, %v", m.Metadata, m.Addresses)
		}
	})
}

// TestDefaultName: a node without a name gets one, and an id that is its own.
func TestDefaultName(t *testing.T) {
	a, b := mustNode(t, rpcmesh.Config{Secret: "s"}), mustNode(t, rpcmesh.Config{Secret: "s"})
	if a.Name() == "" || a.Name() == b.Name() || a.ID() == b.ID() || len(a.ID().String()) != 32 {
		t.Errorf("%q of %v, %q of %v", a.Name(), a.ID(), b.Name(), b.ID())
	}
	if c, d := mustNode(t, rpcmesh.Config{Name: "c", Secret: "s"}), mustNode(t, rpcmesh.Config{Name: "c", Secret: "t"}); c.ID() != d.ID() || c.Name() != "c" {
		t.Errorf("an id follows from the name: %v, %v", c.ID(), d.ID())
	}
}
