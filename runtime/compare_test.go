package rpcmesh_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// replica registers p.S/Do with a schema; it answers with its node's name.
func replica(t testing.TB, c *rpcmeshtest.Cluster, name string, md protoreflect.MethodDescriptor) *rpcmesh.Origin {
	t.Helper()
	spec := connect.Spec{Procedure: doProcedure}
	if md != nil {
		spec.Schema = md
	}
	return mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin),
		unary(spec, func(context.Context, string) (string, error) { return name, nil }))
}

// wantReplicas fails the test unless calls from each of nodes are spread over just those replicas, and the others are
// shown as kept out.
func wantReplicas(t testing.TB, c *rpcmeshtest.Cluster, nodes []string, serving, out string) {
	t.Helper()
	for _, node := range nodes {
		ns := c.Node(node).Namespace("public")
		got := map[string]bool{}
		for range 30 {
			name, err := do(t.Context(), ns, connect.Spec{Procedure: doProcedure}, "")
			if err != nil {
				t.Errorf("from %s: %v", node, err)
			}
			got[name] = true
		}
		if text := strings.Join(slices.Sorted(maps.Keys(got)), " "); text != serving {
			t.Errorf("from %s: calls are spread over %q, want %q", node, text, serving)
		}
		var incompatible []string
		for f := range ns.Functions() {
			if f.Incompatible {
				incompatible = append(incompatible, f.OriginName)
			}
		}
		slices.Sort(incompatible)
		if text := strings.Join(incompatible, " "); text != out {
			t.Errorf("%s shows %q as incompatible, want %q", node, text, out)
		}
	}
}

// TestReplicasOfSeveralSchemas: replicas whose schemas fit that of the first serve with it, others are kept out; when
// the first goes, the next one's schema counts. It is all the same at every node.
func TestReplicasOfSeveralSchemas(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		logs := map[string]*lockedBuffer{}
		names := []string{"a", "b", "c", "d"}
		for _, name := range names {
			logs[name] = new(lockedBuffer)
			c.Node(name, func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(logs[name], nil)) }).Namespace("public")
		}
		for i, name := range names[1:] {
			c.Link(name, names[i], "public")
		}
		var events []rpcmesh.Event
		watching, stop := context.WithCancel(t.Context())
		defer stop()
		go func() {
			for e := range c.Node("c").Namespace("public").Watch(watching) {
				if e.Kind == rpcmesh.FunctionIncompatible {
					events = append(events, e)
				}
			}
		}()
		first := replica(t, c, "a", described(t, fields("M", 1)))
		time.Sleep(time.Second) // fake time
		second := replica(t, c, "b", described(t, fields("M", 2)))
		time.Sleep(time.Second) // fake time
		replica(t, c, "c", described(t, fields("M", 2, "TYPE_INT32")))
		replica(t, c, "d", nil)
		synctest.Wait()
		wantReplicas(t, c, names, "a b d", "c")
		const why = "field 1 (f1) of p.M is optional string there, optional int32 here"
		if got := logs["c"].count("replica kept out", why); got != 1 {
			t.Errorf("c logged %d times why it is kept out", got)
		}
		if got := logs["b"].count("replica kept out"); got != 0 {
			t.Errorf("b logged %d times that it is kept out", got)
		}
		if len(events) == 0 || events[len(events)-1].NodeName != "c" || events[len(events)-1].Cause != why {
			t.Errorf("events %v", events)
		}
		// A node that comes later sees it in the same way.
		c.Link("e", "d", "public")
		synctest.Wait()
		wantReplicas(t, c, []string{"e"}, "a b d", "c")
		first.Unregister()
		synctest.Wait()
		wantReplicas(t, c, append(names, "e"), "b d", "c")
		second.Unregister()
		synctest.Wait()
		wantReplicas(t, c, append(names, "e"), "c d", "")
		// And one that comes back is the last now.
		replica(t, c, "a", described(t, fields("M", 1)))
		replica(t, c, "b", described(t, fields("M", 3, "TYPE_UINT64")))
		synctest.Wait()
		wantReplicas(t, c, append(names, "e"), "b c d", "a")
	})
}

// TestReplicasMeet: two meshes that are joined find out which of their replicas fit, and come apart again.
func TestReplicasMeet(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		for i, name := range []string{"a", "b", "x", "y"} {
			c.Node(name).Namespace("public")
			replica(t, c, name, described(t, fields("M", i+1, []string{"TYPE_STRING", "TYPE_STRING", "TYPE_BYTES", "TYPE_BOOL"}[i])))
			time.Sleep(time.Second) // fake time
		}
		c.Link("b", "a", "public")
		c.Link("y", "x", "public")
		synctest.Wait()
		wantReplicas(t, c, []string{"a", "b"}, "a b", "")
		wantReplicas(t, c, []string{"x", "y"}, "x", "y")
		c.Link("x", "b", "public")
		synctest.Wait()
		wantReplicas(t, c, []string{"a", "b", "x", "y"}, "a b x", "y")
		c.Cut("x", "b")
		synctest.Wait()
		wantReplicas(t, c, []string{"a", "b"}, "a b", "")
		wantReplicas(t, c, []string{"x", "y"}, "x", "y")
	})
}

// TestReplicaOfManyFunctions: all functions of a file are compared, by one fetch.
func TestReplicaOfManyFunctions(t *testing.T) {
	const count = 200
	text := func(extra string) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, `service { name: "S%d" method { name: "Do" input_type: ".p.M" output_type: ".p.M" } } `, i)
		}
		return b.String() + extra
	}
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		register := func(name string, md protoreflect.MethodDescriptor) {
			var methods []connect.Method
			for i := range count {
				do := md.ParentFile().Services().Get(i + 1).Methods().Get(0)
				methods = append(methods, unary(connect.Spec{Procedure: fmt.Sprintf("/p.S%d/Do", i), Schema: do},
					func(context.Context, string) (string, error) { return name, nil }))
			}
			mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin), methods...)
		}
		register("a", described(t, text(fields("M", 1))))
		time.Sleep(time.Second) // fake time
		register("c", described(t, text(fields("M", 2))))
		synctest.Wait()
		n := 0
		for f := range c.Node("b").Namespace("public").Functions() {
			n++
			if f.Incompatible {
				t.Errorf("%s of %s is kept out", f.Procedure, f.OriginName)
			}
		}
		if n != 2*count {
			t.Errorf("%d origins", n)
		}
	})
}

// TestReplicaOfALiar: as long as the schema of the first origin cannot be had, others stay out, are tried again and
// again, and log it once; it takes nothing but another first to go on.
func TestReplicaOfALiar(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		c.Node("a", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) }).Namespace("public")
		hash := sha256.Sum256([]byte("x"))
		im := impersonate(t, c, "liar", "a", hash[:], func(call *link.ServerCall) { answer(call, []byte("y")) }, rpcmesh.PolicyRoundRobin)
		time.Sleep(time.Second) // fake time
		replica(t, c, "a", described(t, fields("M", 1)))
		time.Sleep(5 * time.Minute) // fake time
		if got := im.asked.Load(); got < 5 || got > 20 {
			t.Errorf("its schema was asked for %d times in five minutes", got)
		}
		if got := log.count("replica kept out", "hash"); got != 1 {
			t.Errorf("it was logged %d times", got)
		}
		wantIncompatible := func(want bool) {
			t.Helper()
			for f := range c.Node("a").Namespace("public").Functions() {
				if f.OriginName == "a" && f.Incompatible != want {
					t.Errorf("incompatible: %v", f.Incompatible)
				}
			}
		}
		wantIncompatible(true)
		good := encodedSchema(t, described(t, fields("M", 2)))
		goodHash := sha256.Sum256(good)
		im.mu.Lock()
		im.serve = func(call *link.ServerCall) { answer(call, good) }
		im.mu.Unlock()
		im.register(goodHash[:]) // later than a's now
		synctest.Wait()
		wantIncompatible(false)
		asked := im.asked.Load()
		time.Sleep(5 * time.Minute) // fake time
		if got := im.asked.Load(); got != asked {
			t.Errorf("its schema was asked for %d times more", got-asked)
		}
	})
}

// TestComparingEndsWithTheNode: a node that waits for the schema of another can be closed.
func TestComparingEndsWithTheNode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a").Namespace("public")
		hash := sha256.Sum256([]byte("x"))
		im := impersonate(t, c, "silent", "a", hash[:], func(call *link.ServerCall) { <-call.Context().Done() }, rpcmesh.PolicyRoundRobin)
		time.Sleep(time.Second) // fake time
		replica(t, c, "a", described(t, fields("M", 1)))
		synctest.Wait()
		if im.asked.Load() != 1 {
			t.Errorf("it was asked %d times", im.asked.Load())
		}
		began := time.Now()
		if err := c.Node("a").Close(); err != nil || time.Since(began) > time.Second {
			t.Errorf("closing took %v: %v", time.Since(began), err)
		}
	})
}
