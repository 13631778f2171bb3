package rpcmesh_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// atA is a function of node a.
var atA = connect.Spec{Procedure: "/test.v1.At/a"}

// wantInfo fails the test unless a call failed before it started, by a code and for a reason, of which its text and
// its metadata tell.
func wantInfo(t *testing.T, err error, code connect.Code, reason rpcmesh.Reason, texts ...string) {
	t.Helper()
	info, ok := rpcmesh.ErrorInfoOf(err)
	failure, _ := rpcmesh.FailureOf(err)
	if connect.CodeOf(err) != code || !ok || info.Reason != reason || failure.Certainty != notStarted {
		t.Errorf("got error %v for %+v, %v; want %v for %s", err, info, failure, code, reason)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not tell of %q", err, text)
		}
	}
}

// wantMetadata fails the test unless an error has all of these.
func wantMetadata(t *testing.T, err error, want map[string]string) {
	t.Helper()
	info, _ := rpcmesh.ErrorInfoOf(err)
	for key, value := range want {
		if got := info.Metadata[key]; got != value {
			t.Errorf("%s is %q, not %q", key, got, value)
		}
	}
}

// TestAbsence: what may pass is unavailable, and only what will never work is unimplemented.
func TestAbsence(t *testing.T) {
	// b, which calls, dials a; c dials b.
	for _, tt := range []struct {
		name   string
		befall func(t *testing.T, c *rpcmeshtest.Cluster)
		from   string
		code   connect.Code
		reason rpcmesh.Reason
		texts  []string
	}{
		{
			"never there", func(*testing.T, *rpcmeshtest.Cluster) {}, "b/other", connect.CodeUnimplemented, rpcmesh.ReasonFunctionUnknown,
			[]string{`it is in namespace "public" of this node`},
		},
		{
			"the link fell", func(_ *testing.T, c *rpcmeshtest.Cluster) { c.Cut("a", "b") }, "b", connect.CodeUnavailable, rpcmesh.ReasonFunctionGone,
			[]string{`of node "a"`, "the link to a fell", "the link to http://a is down: unavailable"},
		},
		{
			"the link fell behind another", func(_ *testing.T, c *rpcmeshtest.Cluster) { c.Cut("a", "b") }, "c", connect.CodeUnavailable, rpcmesh.ReasonFunctionGone,
			[]string{`of node "a"`, "the link from b to a fell"},
		},
		{
			"the origin died", func(_ *testing.T, c *rpcmeshtest.Cluster) { c.Kill("a") }, "c", connect.CodeUnavailable, rpcmesh.ReasonFunctionGone,
			[]string{`of node "a"`},
		},
		{
			"the origin left", func(_ *testing.T, c *rpcmeshtest.Cluster) { c.Stop("a") }, "c", connect.CodeUnavailable, rpcmesh.ReasonFunctionGone,
			[]string{`of node "a"`, "a left"},
		},
		{
			"the hub died", func(_ *testing.T, c *rpcmeshtest.Cluster) { c.Kill("b") }, "c", connect.CodeUnavailable, rpcmesh.ReasonFunctionGone,
			[]string{`of node "a"`, "the link to http://b is down"},
		},
		{"the hub comes back alone", func(_ *testing.T, c *rpcmeshtest.Cluster) {
			c.Kill("a")
			c.Restart("b")
			time.Sleep(time.Minute) // fake time
		}, "c", connect.CodeUnavailable, rpcmesh.ReasonFunctionGone, []string{`of node "a"`}},
		{"this node is back, and a link is not", func(_ *testing.T, c *rpcmeshtest.Cluster) {
			c.Kill("a")
			c.Restart("b")
			time.Sleep(time.Minute) // fake time
		}, "b", connect.CodeUnavailable, rpcmesh.ReasonLinkDown, []string{"the link to http://a is down: unavailable", "refused"}},
		{"another namespace's link is down", func(_ *testing.T, c *rpcmeshtest.Cluster) { c.Kill("a") }, "b/other", connect.CodeUnimplemented, rpcmesh.ReasonFunctionUnknown, nil},
		{
			"this node is closed", func(_ *testing.T, c *rpcmeshtest.Cluster) { c.Node("b").Close() }, "b", connect.CodeUnavailable, rpcmesh.ReasonNodeLeaving,
			[]string{"the node is closed"},
		},
		{"long ago", func(_ *testing.T, c *rpcmeshtest.Cluster) {
			c.Stop("a")
			time.Sleep(time.Hour) // fake time
		}, "c", connect.CodeUnimplemented, rpcmesh.ReasonFunctionUnknown, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				chain(c, 3, "public")
				offer(c, t, "a")
				synctest.Wait()
				node, name, _ := strings.Cut(tt.from, "/")
				if name == "" {
					name = "public"
				}
				ns := c.Node(node).Namespace(name)
				tt.befall(t, c)
				if tt.from == "b" && tt.reason == rpcmesh.ReasonLinkDown {
					ns = c.Node(node).Namespace(name) // it has started anew
				}
				synctest.Wait()
				_, err := do(t.Context(), ns, atA, "")
				wantInfo(t, err, tt.code, tt.reason, tt.texts...)
			})
		})
	}
}

// TestAbsenceOfOne: the function goes, and its node stays; and what its metadata tell.
func TestAbsenceOfOne(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		ns := c.Node("b").Namespace("public")
		origin := mustRegister(t, c.Node("a").Namespace("public"), work(atA.Procedure, "a"))
		c.Setup("a", func(n *rpcmesh.Node) { mustRegister(t, n.Namespace("public"), work("/test.v1.At/another", "a")) })
		synctest.Wait()
		_, err := do(t.Context(), ns, connect.Spec{Procedure: "/test.v1.At/anotherr"}, "")
		wantInfo(t, err, connect.CodeUnimplemented, rpcmesh.ReasonFunctionUnknown, "did you mean /test.v1.At/another?")
		wantMetadata(t, err, map[string]string{"namespace": "public", "procedure": "/test.v1.At/anotherr", "near": "/test.v1.At/another"})
		_, err = do(t.Context(), c.Node("b").Namespace("other"), atA, "")
		wantMetadata(t, err, map[string]string{"elsewhere": "public"})

		_, err = do(t.Context(), ns, connect.Spec{Procedure: atA.Procedure, StreamType: connect.StreamTypeServer}, "")
		wantInfo(t, err, connect.CodeUnimplemented, rpcmesh.ReasonKindMismatch, "unary")
		wantMetadata(t, err, map[string]string{"origin": "a"})

		origin.Unregister()
		synctest.Wait()
		_, err = do(t.Context(), ns, atA, "")
		wantInfo(t, err, connect.CodeUnavailable, rpcmesh.ReasonFunctionGone, "a withdrew it")
		wantMetadata(t, err, map[string]string{
			"origin": "a", "origin_id": c.Node("a").ID().String(), "cause": "a withdrew it", "gone": time.Now().UTC().Format(time.RFC3339Nano),
		})
		_, err = ns.Schema(t.Context(), atA.Procedure)
		wantInfo(t, err, connect.CodeUnavailable, rpcmesh.ReasonFunctionGone)
		c.Restart("a")
		_, err = do(t.Context(), ns, atA, "")
		wantInfo(t, err, connect.CodeUnavailable, rpcmesh.ReasonFunctionGone)
	})
}

// TestAbsenceWhileLeaving: the functions of a node that drains are not there for its own calls either, for now.
func TestAbsenceWhileLeaving(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		a := c.Node("a")
		ns := a.Namespace("public")
		entered, leave := make(chan struct{}), make(chan struct{})
		mustRegister(t, ns, work(atA.Procedure, "a"), unary(connect.Spec{Procedure: "/test.v1.At/slow"}, func(context.Context, string) (string, error) {
			close(entered)
			<-leave
			return "", nil
		}))
		go func() { _, _ = do(t.Context(), ns, connect.Spec{Procedure: "/test.v1.At/slow"}, "") }()
		<-entered
		done := make(chan error)
		go func() { done <- a.Shutdown(t.Context()) }()
		synctest.Wait()
		_, err := do(t.Context(), ns, atA, "")
		wantInfo(t, err, connect.CodeUnavailable, rpcmesh.ReasonNodeLeaving, "this node is shutting down")
		wantMetadata(t, err, map[string]string{"node": "a"})
		close(leave)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestManyAbsent: all of 3,000 functions of a node that restarts are known to have been there.
func TestManyAbsent(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		const many = 3000
		methods := make([]connect.Method, many)
		for i := range methods {
			methods[i] = work(fmt.Sprintf("/test.v1.Many%d/M", i), "")
		}
		origin := mustRegister(t, c.Node("a").Namespace("public"), methods...)
		synctest.Wait()
		ns := c.Node("b").Namespace("public")
		wantAll := func(when string) {
			for _, m := range methods {
				_, err := do(t.Context(), ns, m.Spec, "")
				if info, _ := rpcmesh.ErrorInfoOf(err); info.Reason != rpcmesh.ReasonFunctionGone {
					t.Fatalf("%s: %v", when, err)
				}
			}
		}
		origin.Unregister()
		synctest.Wait()
		time.Sleep(time.Second) // fake time
		wantAll("withdrawn")
		time.Sleep(time.Hour) // fake time
		mustRegister(t, c.Node("a").Namespace("public"), methods...)
		synctest.Wait()
		time.Sleep(time.Second) // fake time
		c.Restart("a")
		time.Sleep(time.Second) // fake time
		wantAll("restarted without them")
	})
}

// TestRefusedOnTheWay: a node that ends a call on its way says why, in the caller's error too.
func TestRefusedOnTheWay(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		offer(c, t, "a")
		synctest.Wait()
		c.Delay("b", "c", time.Second)
		failed := make(chan error)
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		go func() {
			_, err := do(ctx, c.Node("c").Namespace("public"), atA, "")
			failed <- err
		}()
		synctest.Wait()
		c.Cut("a", "b") // which c hears of after its call has gone
		if err := <-failed; err == nil {
			t.Error("the call went over a link that was cut")
		}
	})
}

// TestShutdownSaysWhatItWaitsFor: where nothing bounds it.
func TestShutdownSaysWhatItWaitsFor(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		a := c.Node("a", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		entered, leave := make(chan struct{}), make(chan struct{})
		mustRegister(t, a.Namespace("public"), unary(atA, func(context.Context, string) (string, error) {
			close(entered)
			<-leave
			return "", nil
		}))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			_, _ = do(ctx, a.Namespace("public"), atA, "")
		}()
		<-entered
		done := make(chan error)
		go func() { done <- a.Shutdown(t.Context()) }()
		time.Sleep(time.Minute) // fake time
		synctest.Wait()
		if n := log.count("level=WARN", "Shutdown waits for calls", "calls="); n != 4 {
			t.Errorf("it says %d times what it waits for:\n%s", n, log.String())
		}
		close(leave)
		<-ended
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
