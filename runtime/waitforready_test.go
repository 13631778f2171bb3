package rpcmesh_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestCallsWaitForTheFirstDial: a call that is made right after Link is as good as one after Ready, from either end,
// however long the way is; it fails as soon as the dial has.
func TestCallsWaitForTheFirstDial(t *testing.T) {
	eachCaller(t, func(t *testing.T, from callerOf) {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			offer(c, t, "a")
			c.Node("b").Namespace("public")
			mustRegister(t, c.Node("b").Namespace("public"), work("/test.v1.At/b", "b"))
			c.Delay("a", "b", 500*time.Millisecond)
			if _, err := c.Node("b").Link(rpcmeshtest.URL("a"), "public"); err != nil {
				t.Fatal(err)
			}
			if got, err := do(t.Context(), from(c, "b"), atA, ""); got != "a" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if got, err := do(t.Context(), from(c, "a"), connect.Spec{Procedure: "/test.v1.At/b"}, ""); got != "b" || err != nil {
				t.Errorf("at the other end: got %q, %v", got, err)
			}
			if _, err := c.Node("d").Link(rpcmeshtest.URL("nowhere"), "public"); err != nil {
				t.Fatal(err)
			}
			_, err := do(t.Context(), from(c, "d"), atA, "")
			wantInfo(t, err, connect.CodeUnavailable, rpcmesh.ReasonLinkDown, "the link to http://nowhere is down")
		})
	})
}

// TestCallsWaitNoLongerThanTheirTime: for a dial that nobody answers.
func TestCallsWaitNoLongerThanTheirTime(t *testing.T) {
	eachCaller(t, func(t *testing.T, from callerOf) {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			c.Node("a").Namespace("public")
			c.Silence("a", "b")
			b := c.Node("b")
			if _, err := b.Link(rpcmeshtest.URL("a"), "public"); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := do(ctx, from(c, "b"), atA, "")
			wantInfo(t, err, connect.CodeDeadlineExceeded, rpcmesh.ReasonLinkDown, "waited", "the link to http://a is being dialled")
			if took := time.Since(began); took != 2*time.Second {
				t.Errorf("it took %v", took)
			}
			ctx, cancel = context.WithCancel(t.Context())
			failed := make(chan error)
			go func() {
				_, err := do(ctx, b.Namespace("public"), atA, "")
				failed <- err
			}()
			synctest.Wait()
			cancel()
			wantInfo(t, <-failed, connect.CodeCanceled, rpcmesh.ReasonLinkDown)
			go func() {
				_, err := do(t.Context(), b.Namespace("public"), atA, "")
				failed <- err
			}()
			synctest.Wait()
			b.Close()
			wantInfo(t, <-failed, connect.CodeUnavailable, rpcmesh.ReasonNodeLeaving)
		})
	})
}

// TestProxyInItsGap: calls of a proxy whose link breaks and comes back at once do not fail; while it stays away they
// fail as what may pass.
func TestProxyInItsGap(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		offer(c, t, "a")
		p := c.Proxy("p", "a", "public")
		for range 10 {
			c.Reset("p", "a")
			synctest.Wait() // else it is on its way when the link breaks
			if got, err := do(t.Context(), p, atA, ""); got != "a" || err != nil {
				t.Errorf("in a gap: %q, %v", got, err)
			}
			synctest.Wait() // the exchange is over
		}
		c.Kill("a")
		synctest.Wait()
		for range 100 {
			_, err := do(t.Context(), p, atA, "")
			wantInfo(t, err, connect.CodeUnavailable, rpcmesh.ReasonFunctionGone, `of node "a"`, "the link to http://a is down")
			time.Sleep(10 * time.Millisecond) // fake time
		}
		c.Start("a")
		if got, err := do(rpcmesh.WaitForReady(t.Context()), p, atA, ""); got != "a" || err != nil {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	})
}

// TestWaitForReady: calls wait for what may come: a link that is down, a function that went. Not for what is not
// there at all.
func TestWaitForReady(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		offer(c, t, "a")
		ns := c.Node("c").Namespace("public")
		ctx := rpcmesh.WaitForReady(t.Context())
		for what, befall := range map[string]func() (undo func()){
			"the link":   func() func() { c.Cut("b", "c"); return func() { c.Heal("b", "c") } },
			"a link":     func() func() { c.Cut("a", "b"); return func() { c.Heal("a", "b") } },
			"the origin": func() func() { c.Kill("a"); return func() { c.Start("a") } },
			"the hub":    func() func() { c.Stop("b"); return func() { c.Start("b") } },
		} {
			synctest.Wait()
			undo := befall()
			synctest.Wait()
			var calls sync.WaitGroup
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, time.Hour)
				defer cancel()
				if got, err := do(ctx, ns, atA, ""); got != "a" || err != nil {
					t.Errorf("%s: got %q, %v", what, got, err)
				}
			})
			time.Sleep(time.Minute) // fake time
			undo()
			calls.Wait()
		}
		began := time.Now()
		_, err := do(ctx, ns, connect.Spec{Procedure: "/test.v1.At/nowhere"}, "")
		wantInfo(t, err, connect.CodeUnimplemented, rpcmesh.ReasonFunctionUnknown)
		if took := time.Since(began); took > 0 {
			t.Errorf("what will never come was waited for: %v", took)
		}
		c.Kill("a")
		synctest.Wait()
		_, err = do(ctx, ns, atA, "")
		wantInfo(t, err, connect.CodeDeadlineExceeded, rpcmesh.ReasonFunctionGone, "waited", `of node "a"`)
	})
}

// TestWaitForReadyOnTheWay: a call that was lost before it started waits for another way, and lets go of that when its
// stream is closed.
func TestWaitForReadyOnTheWay(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		c.Setup("a", func(n *rpcmesh.Node) { register(t, n.Namespace("public"), greeter{}) })
		synctest.Wait()
		ns := c.Node("c").Namespace("public")
		spec := connect.Spec{Procedure: greeterProcedures[0], StreamType: connect.StreamTypeBidi}
		lost := func() connect.ClientStream {
			s, err := ns.NewClientStream(rpcmesh.WaitForReady(t.Context()), spec)
			if err != nil {
				t.Fatal(err)
			}
			c.Kill("a") // before the first message opens the call
			synctest.Wait()
			return s
		}
		s := lost()
		ended := make(chan error)
		go func() { ended <- s.Receive(&rawcall.Message{}) }()
		time.Sleep(time.Minute) // fake time
		s.Close()
		if err := <-ended; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("a stream that was closed while it waited: %v", err)
		}
		c.Start("a")
		time.Sleep(time.Minute) // fake time
		s = lost()
		go func() { ended <- s.SendHeaders() }()
		time.Sleep(time.Minute) // fake time
		c.Start("a")
		if err := <-ended; err != nil {
			t.Errorf("a stream that has waited: %v", err)
		}
		s.Close()
	})
}

// TestWaitingIsLogged: what waits without a deadline says why after three seconds, and again at longer intervals.
func TestWaitingIsLogged(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		b := c.Node("b", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		l, err := b.Link(rpcmeshtest.URL("a"), "public")
		if err != nil {
			t.Fatal(err)
		}
		ns := b.Namespace("public")
		var waiting sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		waiting.Go(func() { _ = l.Ready(ctx) })
		waiting.Go(func() { _ = ns.WaitFor(ctx, atA.Procedure) })
		waiting.Go(func() {
			_, _ = ns.NewClientStream(rpcmesh.WaitForReady(ctx), connect.Spec{Procedure: atA.Procedure, StreamType: connect.StreamTypeBidi})
		})
		limited, stop := context.WithTimeout(ctx, time.Hour)
		defer stop()
		waiting.Go(func() { _ = ns.WaitFor(limited, "/test.v1.At/limited") })
		wantLines := func(after time.Duration, n int) {
			t.Helper()
			time.Sleep(after) // fake time
			synctest.Wait()
			for _, what := range []string{"link not up", "WaitFor waits", "a call waits for its function"} {
				if got := log.count("level=WARN", what, "http://a", "refused"); got != n {
					t.Errorf("it says %d times %q, not %d:\n%s", got, what, n, log.String())
				}
			}
		}
		wantLines(2*time.Second, 0)
		wantLines(2*time.Second, 1)
		wantLines(time.Minute, 4) // after 9 s, 21 s and 45 s
		wantLines(time.Hour, 17)
		if log.count("limited") > 0 {
			t.Error("what has a deadline is logged")
		}
		cancel()
		waiting.Wait()
	})
}
