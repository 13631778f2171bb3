package rpcmesh_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// star links nodes to one in the middle, each with a replica of Greet that greets by its name.
func star(t testing.TB, c *rpcmeshtest.Cluster, middle string, policy rpcmesh.Policy, names ...string) *rpcmesh.Namespace {
	t.Helper()
	c.Node(middle)
	for _, name := range names {
		c.Setup(name, func(n *rpcmesh.Node) { register(t, n.Namespace("public").Replicated(policy), says(name)) })
		c.Link(name, middle, "public")
	}
	synctest.Wait()
	return c.Node(middle).Namespace("public")
}

// tally greets count times and returns how often each node answered.
func tally(t testing.TB, through connect.Transport, count int) map[string]int {
	t.Helper()
	by := map[string]int{}
	for range count {
		got, err := greet(t.Context(), through, "Ada")
		if err != nil {
			t.Fatal(err)
		}
		by[strings.Fields(got)[0]]++
	}
	return by
}

func TestRoundRobin(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ns := star(t, c, "m", rpcmesh.PolicyRoundRobin, "a", "b", "c")
		if got := tally(t, ns, 300); got["a"] != 100 || got["b"] != 100 || got["c"] != 100 {
			t.Errorf("300 calls went to %v", got)
		}
	})
}

func TestRandom(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ns := star(t, c, "m", rpcmesh.PolicyRandom, "a", "b", "c")
		got := tally(t, ns, 300)
		for _, name := range []string{"a", "b", "c"} {
			if got[name] < 50 { // of a hundred expected: once in 10^9
				t.Errorf("300 calls went to %v", got)
			}
		}
	})
}

// TestLeastPending: of two origins the one with fewer of the caller's calls under way is taken.
func TestLeastPending(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("m")
		open := map[string]*atomic.Int32{"a": new(atomic.Int32), "b": new(atomic.Int32)}
		release := map[string]chan struct{}{"a": make(chan struct{}), "b": make(chan struct{})}
		for name, count := range open {
			register(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyLeastPending),
				funcs{chat: func(ctx context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error {
					count.Add(1)
					defer count.Add(-1)
					select {
					case <-release[name]:
					case <-ctx.Done():
					}
					return nil
				}})
			c.Link(name, "m", "public")
		}
		synctest.Wait()
		begin := func() greetv1rpcmesh.GreeterChatClientStream {
			stream := mustChat(t, c.Node("m").Namespace("public"))
			if err := stream.SendHeaders(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			return stream
		}
		var streams []greetv1rpcmesh.GreeterChatClientStream
		for i := range 20 {
			streams = append(streams, begin())
			if a, b := open["a"].Load(), open["b"].Load(); a+b != int32(i+1) || a-b > 1 || b-a > 1 {
				t.Fatalf("after %d calls, %d are at a and %d at b", i+1, a, b)
			}
		}
		// Those at a end. The next ten are all for a.
		close(release["a"])
		synctest.Wait()
		for _, stream := range streams {
			go func() { _, _ = stream.Receive() }() // a's end; b's stay open until the test's end
		}
		synctest.Wait()
		release["a"] = make(chan struct{})
		for i := range 10 {
			begin()
			if a, b := open["a"].Load(), open["b"].Load(); a != int32(i+1) || b != 10 {
				t.Fatalf("%d are at a and %d at b, want %d and 10", a, b, i+1)
			}
		}
	})
}

// TestNearest: the origins with the fewest links between take turns, and the others wait for theirs.
func TestNearest(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		nodes := chain(c, 5, "public")
		for _, name := range []string{"a", "d", "e"} {
			register(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyNearest), says(name))
		}
		synctest.Wait()
		want := map[string]map[string]int{
			"a": {"a": 10}, "b": {"a": 10}, "c": {"d": 10}, "d": {"d": 10}, "e": {"e": 10},
		}
		for _, from := range nodes {
			got := tally(t, c.Node(from).Namespace("public"), 10)
			if fmt.Sprint(got) != fmt.Sprint(want[from]) {
				t.Errorf("from %s: %v, want %v", from, got, want[from])
			}
		}
		register(t, c.Node("b").Namespace("public").Replicated(rpcmesh.PolicyNearest), says("b"))
		synctest.Wait()
		if got := tally(t, c.Node("c").Namespace("public"), 10); got["b"] != 5 || got["d"] != 5 {
			t.Errorf("from c, with b as near as d: %v", got)
		}
	})
}

// TestReplicaLocal: a node's own origin is one of the replicas like the others, and the nearest.
func TestReplicaLocal(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		star(t, c, "m", rpcmesh.PolicyRoundRobin, "a", "b")
		if got := tally(t, c.Node("a").Namespace("public"), 10); got["a"] != 5 || got["b"] != 5 {
			t.Errorf("10 calls from a went to %v", got)
		}
	})
}

// TestReplicaGoes: one that is lost, withdrawn or shut down drops out at once.
func TestReplicaGoes(t *testing.T) {
	for _, policy := range []rpcmesh.Policy{rpcmesh.PolicyRoundRobin, rpcmesh.PolicyRandom, rpcmesh.PolicyLeastPending, rpcmesh.PolicyNearest} {
		t.Run(policy.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				ns := star(t, c, "m", policy, "a", "b", "c", "d")
				for f := range ns.Functions() {
					if f.Policy != policy {
						t.Errorf("%+v", f)
					}
				}
				goes := []func(){
					func() { c.Cut("a", "m") }, func() { c.Kill("b") }, func() {
						if err := c.Node("c").Shutdown(t.Context()); err != nil {
							t.Error(err)
						}
					},
				}
				for i, gone := range []string{"a", "b", "c"} {
					goes[i]()
					synctest.Wait()
					for name := range tally(t, ns, 30) {
						if name <= gone {
							t.Errorf("%s answered after %s was gone", name, gone)
						}
					}
				}
				c.Heal("a", "m")
				time.Sleep(time.Minute) // fake time
				if got := tally(t, ns, 60); got["a"] == 0 {
					t.Errorf("a is back, and 60 calls went to %v", got)
				}
			})
		})
	}
}

// TestReplicasMustAgree: another policy than that of the earlier origins is an error at the later one.
func TestReplicasMustAgree(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		register(t, c.Node("a").Namespace("public").Replicated(rpcmesh.PolicyRandom), greeter{})
		synctest.Wait()
		ns := c.Node("b").Namespace("public")
		_, err := greetv1rpcmesh.RegisterGreeterOrigin(ns.Replicated(rpcmesh.PolicyNearest), greeter{})
		wantError(t, err, connect.CodeFailedPrecondition, "random")
		wantError(t, err, connect.CodeFailedPrecondition, "a")
		if _, err = greetv1rpcmesh.RegisterGreeterOrigin(ns, greeter{}); err == nil {
			t.Error("a function that is replicated elsewhere was registered as a single one")
		}
		_, err = greetv1rpcmesh.RegisterGreeterOrigin(ns.Replicated(99), greeter{})
		wantError(t, err, connect.CodeInvalidArgument, "99")
		register(t, ns.Replicated(rpcmesh.PolicyRandom), greeter{})
	})
}

// TestShadowing: two nodes registered a function unseen by each other. Joined, the earlier registration wins
// everywhere; the other is shown as shadowed, is logged once, and takes over when the winner goes.
func TestShadowing(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		for _, name := range []string{"a", "b", "c"} {
			c.Node(name, func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		}
		c.Link("b", "a", "public")
		mustRegister(t, c.Node("c").Namespace("public"), work("/test.v1.At/Twice", "c"))
		time.Sleep(time.Second) // fake time
		mustRegister(t, c.Node("a").Namespace("public"), work("/test.v1.At/Twice", "a"))
		synctest.Wait()
		log.Reset()
		c.Link("c", "b", "public")
		time.Sleep(time.Minute) // fake time
		want := func(from string) {
			t.Helper()
			for _, caller := range []string{"a", "b", "c"} {
				got, err := do(t.Context(), c.Node(caller).Namespace("public"), connect.Spec{Procedure: "/test.v1.At/Twice"}, "")
				if got != from || err != nil {
					t.Errorf("from %s: %q, %v; want %s's", caller, got, err, from)
				}
			}
		}
		want("c")
		wantFunctions(t, c.Node("b").Namespace("public"), "/test.v1.At/Twice at c, 1 hops", "/test.v1.At/Twice at a, 1 hops, shadowed")
		for _, node := range []string{"a", "b", "c"} {
			if got := log.count("shadowed", "node="+node); got != 1 {
				t.Errorf("%s logged the shadowing %d times", node, got)
			}
		}
		c.Cut("b", "c")
		synctest.Wait()
		for _, caller := range []string{"a", "b"} {
			got, err := do(t.Context(), c.Node(caller).Namespace("public"), connect.Spec{Procedure: "/test.v1.At/Twice"}, "")
			if got != "a" || err != nil {
				t.Errorf("from %s, with c gone: %q, %v", caller, got, err)
			}
		}
		c.Heal("b", "c")
		time.Sleep(time.Minute) // fake time
		want("c")
	})
}

// lockedBuffer is a log that can be read while it is written.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// count returns how many lines have all of texts.
func (b *lockedBuffer) count(texts ...string) int {
	count := 0
	for line := range strings.Lines(b.String()) {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(line, text)
		}
		if all {
			count++
		}
	}
	return count
}
