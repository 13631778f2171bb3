package rpcmesh_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// permutations returns the orders in which names can stand.
func permutations(names []string) [][]string {
	if len(names) <= 1 {
		return [][]string{slices.Clone(names)}
	}
	var all [][]string
	for i, first := range names {
		rest := slices.Concat(names[:i], names[i+1:])
		for _, p := range permutations(rest) {
			all = append(all, append([]string{first}, p...))
		}
	}
	return all
}

// offer has node offer a function of its own in "public", at each start.
func offer(c *rpcmeshtest.Cluster, t testing.TB, name string) {
	t.Helper()
	c.Setup(name, func(n *rpcmesh.Node) {
		mustRegister(t, n.Namespace("public"), work("/test.v1.At/"+name, name))
	})
}

// TestRestartOrders stops all nodes and starts them again, in every order, by goodbye and by death. Each time
// the mesh is whole again.
func TestRestartOrders(t *testing.T) {
	shapes := []struct {
		name  string
		nodes []string
		links [][2]string
	}{
		{"chain of four", []string{"a", "b", "c", "d"}, [][2]string{{"b", "a"}, {"c", "b"}, {"d", "c"}}},
		{"ring of three", []string{"a", "b", "c"}, [][2]string{{"b", "a"}, {"c", "b"}, {"a", "c"}}},
	}
	ends := map[string]func(c *rpcmeshtest.Cluster, name string){
		"goodbye": (*rpcmeshtest.Cluster).Stop,
		"death":   (*rpcmeshtest.Cluster).Kill,
	}
	for _, shape := range shapes {
		for end, stop := range ends {
			for _, order := range permutations(shape.nodes) {
				t.Run(fmt.Sprintf("%s, %s, %s", shape.name, end, strings.Join(order, "")), func(t *testing.T) {
					inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
						for _, name := range shape.nodes {
							offer(c, t, name)
						}
						for _, l := range shape.links {
							c.Link(l[0], l[1], "public")
						}
						synctest.Wait()
						wantReach(t, c, shape.nodes, shape.nodes)
						restart(t, c, stop, order)
						wantWhole(t, c, shape.nodes)
						// One after the other, the rest goes on.
						for _, name := range order {
							restart(t, c, stop, []string{name})
							wantWhole(t, c, shape.nodes)
						}
					})
				})
			}
		}
	}
}

// restart stops the nodes in order and starts them in the same order, a second apart.
func restart(t *testing.T, c *rpcmeshtest.Cluster, stop func(*rpcmeshtest.Cluster, string), order []string) {
	t.Helper()
	for _, name := range order {
		stop(c, name)
		time.Sleep(time.Second) // fake time
	}
	for _, name := range order {
		c.Start(name)
		time.Sleep(time.Second) // fake time
	}
}

// wantWhole waits until every node sees every other, for no longer than redialling takes, and tries all calls.
func wantWhole(t *testing.T, c *rpcmeshtest.Cluster, nodes []string) {
	t.Helper()
	var procedures []string
	for _, name := range nodes {
		procedures = append(procedures, "/test.v1.At/"+name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), rpcmesh.DefaultRedialMax+time.Second)
	defer cancel()
	for _, name := range nodes {
		if err := c.Node(name).Namespace("public").WaitFor(ctx, procedures...); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	wantReach(t, c, nodes, nodes)
	for _, name := range nodes {
		if got := memberNames(c.Node(name)); !slices.Equal(got, nodes) {
			t.Errorf("%s sees the members %v", name, got)
		}
	}
}

// TestRestartIsTheSameNode: a node that was given a name has the same id after a restart, and a later
// incarnation; what it offered before does not linger.
func TestRestartIsTheSameNode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		mustRegister(t, c.Node("a").Namespace("public"), work("/test.v1.At/Before", "a"))
		synctest.Wait()
		before := memberOf(t, c.Node("c"), "a")
		c.Kill("a")
		time.Sleep(time.Second) // fake time
		mustRegister(t, c.Start("a").Namespace("public"), work("/test.v1.At/After", "a"))
		if err := c.Node("c").Namespace("public").WaitFor(t.Context(), "/test.v1.At/After"); err != nil {
			t.Fatal(err)
		}
		after := memberOf(t, c.Node("c"), "a")
		if before.ID != after.ID || before.Incarnation >= after.Incarnation {
			t.Errorf("before: %v of %d, after: %v of %d", before.ID, before.Incarnation, after.ID, after.Incarnation)
		}
		wantFunctions(t, c.Node("c").Namespace("public"), "/test.v1.At/After at a, 2 hops")
	})
}

func memberOf(t testing.TB, n *rpcmesh.Node, name string) rpcmesh.Member {
	t.Helper()
	for m := range n.Members() {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("%s sees no member %s", n.Name(), name)
	return rpcmesh.Member{}
}

// TestQuickRestart: a node that is back before anyone has noticed that it was gone supersedes its former self.
func TestQuickRestart(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		offer(c, t, "a")
		c.Node("b")
		c.Node("c")
		c.Link("b", "a", "public")
		c.Link("c", "b", "public")
		synctest.Wait()
		c.Silence("a", "b") // so that b does not hear of the death
		c.Kill("a")
		c.Heal("a", "b")
		c.Start("a")
		time.Sleep(time.Minute) // fake time
		for _, from := range []string{"b", "c"} {
			got, err := do(t.Context(), c.Node(from).Namespace("public"), connect.Spec{Procedure: "/test.v1.At/a"}, "")
			if got != "a" || err != nil {
				t.Errorf("from %s: %q, %v", from, got, err)
			}
		}
	})
}

// TestNameOfALivingNode: at a neighbour of a living node there is no place for another one by its name, which
// reports that; they never take turns.
func TestNameOfALivingNode(t *testing.T) {
	for at, last := range map[string]string{"b": "a", "c": "imposter"} {
		t.Run("at "+at, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				chain(c, 3, "public")
				offer(c, t, "a")
				synctest.Wait()
				time.Sleep(time.Second) // fake time
				imposter, err := rpcmesh.NewNode(rpcmesh.Config{Name: "a", Secret: rpcmeshtest.Secret, Dial: c.Dialer("imposter")})
				if err != nil {
					t.Fatal(err)
				}
				defer imposter.Close()
				mustRegister(t, imposter.Namespace("public"), work("/test.v1.At/imposter", "imposter"))
				link, err := imposter.Link(rpcmeshtest.URL(at), "public")
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if last == "a" {
					wantError(t, link.Ready(ctx), connect.CodeAlreadyExists, `"a"`)
				} else if err := link.Ready(ctx); err != nil {
					t.Error(err) // it is told of the other one, and that does not keep it out
				}
				for range 60 {
					time.Sleep(time.Second) // fake time
					wantFunctions(t, c.Node("a").Namespace("public"), "/test.v1.At/a at a, 0 hops")
					wantFunctions(t, c.Node("b").Namespace("public"), "/test.v1.At/a at a, 1 hops")
					hops := map[string]int{"a": 2, "imposter": 1}[last]
					wantFunctions(t, c.Node("c").Namespace("public"), fmt.Sprintf("/test.v1.At/%s at a, %d hops", last, hops))
				}
			})
		})
	}
}

// TestNameOfTwoLivingNodes: two meshes with a node of the same name each are joined. To those that it has a link
// with each stays what it was, and both logs say what is wrong.
func TestNameOfTwoLivingNodes(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var firstLog, secondLog lockedBuffer
		c.Node("a", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&firstLog, nil)) })
		c.Node("b")
		c.Node("c")
		c.Link("a", "b", "public")
		mustRegister(t, c.Node("a").Namespace("public"), work("/test.v1.At/A", "the first"))
		time.Sleep(time.Second) // fake time
		second := mustNode(t, rpcmesh.Config{
			Name: "a", Secret: rpcmeshtest.Secret, Dial: c.Dialer("second"), Logger: slog.New(slog.NewTextHandler(&secondLog, nil)),
		})
		c.Node("c").Namespace("public")
		link := mustLink(t, second, rpcmeshtest.URL("c"), "public")
		mustRegister(t, second.Namespace("public"), work("/test.v1.At/A", "the second"))
		synctest.Wait()
		wantFunctions(t, c.Node("c").Namespace("public"), "/test.v1.At/A at a, 1 hops")

		c.Link("c", "b", "public")
		synctest.Wait()
		for range 60 {
			for _, from := range []string{"a", "b", "c"} {
				got, err := do(t.Context(), c.Node(from).Namespace("public"), connect.Spec{Procedure: "/test.v1.At/A"}, "")
				if want := map[string]string{"a": "the first", "b": "the first", "c": "the second"}[from]; got != want || err != nil {
					t.Fatalf("from %s: %q, %v", from, got, err)
				}
			}
			time.Sleep(time.Second) // fake time
		}
		if err := link.Ready(t.Context()); err != nil {
			t.Error(err)
		}
		if firstLog.count("level=ERROR", "this node's name") != 1 {
			t.Errorf("the first one's log:\n%s", firstLog.String())
		}
		if secondLog.count("level=ERROR", "this node's name") != 1 {
			t.Errorf("the second one's log:\n%s", secondLog.String())
		}
	})
}
