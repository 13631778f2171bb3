package rpcmesh_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

// Certainties, untyped: those of package rpcmesh and of the wire.
const (
	notStarted = iota + 1
	unknown
	started
)

// wantFailure fails the test unless err is of a call that failed in the mesh, with a certainty, at node.
func wantFailure(t testing.TB, err error, certainty rpcmesh.Certainty, node string) {
	t.Helper()
	failure, ok := rpcmesh.FailureOf(err)
	if !ok {
		t.Errorf("got %v, want a failure of the mesh", err)
		return
	}
	if connect.CodeOf(err) != connect.CodeUnavailable || failure.Certainty != certainty || failure.NodeName != node {
		t.Errorf("got %v, %v at %q; want unavailable, %v at %q",
			err, failure.Certainty, failure.NodeName, certainty, node)
	}
}

// breaks are the ways in which a link between two nodes is lost, and how long it takes to be noticed.
var breaks = []struct {
	name   string
	lose   func(c *rpcmeshtest.Cluster, a, b string)
	within time.Duration
}{
	{"reset", func(c *rpcmeshtest.Cluster, a, b string) { c.Cut(a, b) }, 0},
	{"silence", func(c *rpcmeshtest.Cluster, a, b string) { c.Silence(a, b) }, rpcmesh.DefaultKeepalive},
	{"goodbye", func(c *rpcmeshtest.Cluster, a, _ string) { c.Stop(a) }, 0},
	{"death", func(c *rpcmeshtest.Cluster, a, _ string) { c.Kill(a) }, 0},
}

// TestBreak: when a link breaks, the calls that ran over it end at once as unavailable, at both ends; calls
// elsewhere notice nothing; and what lay behind it is withdrawn everywhere.
func TestBreak(t *testing.T) {
	for _, b := range breaks {
		t.Run(b.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				// a <- b <- c <- d, and the link between a and b is lost.
				chain(c, 4, "public")
				handlerEnded := make(chan struct{})
				register(t, c.Node("a").Namespace("public"), funcs{chat: func(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
					defer close(handlerEnded)
					return echo(ctx, stream)
				}})
				mustRegister(t, c.Node("b").Namespace("public"), chatMethod("/test.v1.At/B"))
				synctest.Wait()
				lost, kept := mustChat(t, c.Node("d").Namespace("public")), openChat(t, c.Node("d").Namespace("public"), "/test.v1.At/B")
				for _, stream := range []chatStream{lost, kept} {
					mustSendAndReceive(t, stream, "before")
				}
				begin := time.Now()
				b.lose(c, "a", "b")
				_, err := lost.Receive()
				if took := time.Since(begin); took > b.within {
					t.Errorf("the loss was noticed after %v, want at most %v", took, b.within)
				}
				wantFailure(t, err, started, "b")
				<-handlerEnded
				if took := time.Since(begin); took > b.within {
					t.Errorf("the handler's end noticed after %v, want at most %v", took, b.within)
				}
				synctest.Wait()
				for _, name := range []string{"b", "c", "d"} {
					if got := functionsOf(c.Node(name).Namespace("public")); len(got) != 1 {
						t.Errorf("%s still sees %v", name, got)
					}
				}
				mustSendAndReceive(t, kept, "after")
			})
		})
	}
}

// chatStream is the caller's end of a chat, whichever function it is of.
type chatStream interface {
	Send(req *greetv1.ChatRequest) error
	Receive() (*greetv1.ChatResponse, error)
	Close() error
}

func mustSendAndReceive(t testing.TB, stream chatStream, line string) {
	t.Helper()
	if err := stream.Send(&greetv1.ChatRequest{Line: line}); err != nil {
		t.Fatalf("send: %v", err)
	}
	res, err := stream.Receive()
	if err != nil || res.GetLine() != line {
		t.Fatalf("received %v, %v; want %q", res, err, line)
	}
}

// chatSpec is a function like Chat, at a procedure of its own.
func chatSpec(procedure string) stub.MethodSpec {
	return func() (connect.Spec, error) {
		return connect.Spec{Procedure: procedure, StreamType: connect.StreamTypeBidi}, nil
	}
}

// chatMethod answers each line with itself.
func chatMethod(procedure string) connect.Method {
	method, _ := stub.BidiStreamMethod(chatSpec(procedure),
		func(_ struct{}, ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			return echo(ctx, stream)
		},
	)(struct{}{})
	return method
}

func openChat(t testing.TB, through connect.Transport, procedure string) chatStream {
	t.Helper()
	stream, err := stub.CallBidiStream[greetv1.ChatRequest, greetv1.ChatResponse](
		t.Context(), stub.NewClient(through), chatSpec(procedure))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	return stream
}

// TestKeepaliveOfTheConfig: a silent peer is found within the configured time.
func TestKeepaliveOfTheConfig(t *testing.T) {
	for _, keepalive := range []time.Duration{100 * time.Millisecond, time.Minute} {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			for _, name := range []string{"a", "b"} {
				c.Node(name, func(cfg *rpcmesh.Config) { cfg.Keepalive = keepalive })
			}
			c.Link("b", "a", "public")
			register(t, c.Node("a").Namespace("public"), funcs{chat: echo})
			synctest.Wait()
			// A link where nothing is said is alive.
			time.Sleep(10 * time.Minute) // fake time
			stream := mustChat(t, c.Node("b").Namespace("public"))
			mustSend(t, stream, "alive")
			wantLines(t, stream, "alive")
			c.Silence("a", "b")
			begin := time.Now()
			_, err := stream.Receive()
			wantFailure(t, err, started, "b")
			if took := time.Since(begin); took > keepalive || took < keepalive/3 {
				t.Errorf("noticed after %v, want within %v", took, keepalive)
			}
		})
	}
}

// testCertainty: a call that fails in the mesh says whether its handler can have started, and where it
// failed.
func testCertainty(t *testing.T, from callerOf) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		ran := make(chan struct{}, 1)
		goOn := make(chan struct{})
		mustRegister(t, c.Node("a").Namespace("public"), worker(func(ctx context.Context, _ string) (string, error) {
			ran <- struct{}{}
			select {
			case <-goOn:
			case <-ctx.Done():
			}
			return "done", nil
		}))
		register(t, c.Node("a").Namespace("public"), funcs{chat: echo})
		synctest.Wait()
		ns := from(c, "c")
		call := func() <-chan error {
			got := make(chan error, 1)
			go func() {
				_, err := do(t.Context(), ns, workSpec(), "")
				got <- err
			}()
			synctest.Wait()
			return got
		}

		// It has answered: a message has arrived.
		stream := mustChat(t, ns)
		mustSend(t, stream, "hello")
		wantLines(t, stream, "hello")
		// It was handed on, and nothing is known of it.
		working := call()
		<-ran
		c.Cut("a", "b")
		wantFailure(t, <-working, unknown, "b")
		_, err := stream.Receive()
		wantFailure(t, err, started, "b")
		c.Heal("a", "b")
		time.Sleep(time.Minute) // fake time

		// The link from the caller's own node is lost.
		working = call()
		<-ran
		c.Cut("b", "c")
		wantFailure(t, <-working, unknown, "c")
		c.Heal("b", "c")
		time.Sleep(time.Minute) // fake time

		close(goOn)
		if got, err := do(t.Context(), ns, workSpec(), ""); got != "done" || err != nil {
			t.Errorf("after all: %q, %v", got, err)
		}
	})
}

// testIdempotentCallIsRepeated: where the method says that it may be, an unknown outcome is tried again,
// elsewhere; where it does not, never.
func testIdempotentCallIsRepeated(t *testing.T, from callerOf) {
	for _, level := range []connect.IdempotencyLevel{connect.IdempotencyUnknown, connect.IdempotencyNoSideEffects, connect.IdempotencyIdempotent} {
		t.Run(level.String(), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				spec := workSpec()
				spec.IdempotencyLevel = level
				// Two replicas; the one that is called first dies over it.
				var runs atomic.Int32
				for _, name := range []string{"a", "b"} {
					c.Node(name).Namespace("public")
					mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin),
						unary(spec, func(ctx context.Context, _ string) (string, error) {
							if runs.Add(1) == 1 {
								c.Cut(name, "c")
								<-ctx.Done()
								return "", ctx.Err()
							}
							return name, nil
						}))
				}
				c.Link("c", "a", "public")
				c.Link("c", "b", "public")
				synctest.Wait()
				begin := time.Now()
				got, err := do(t.Context(), from(c, "c"), spec, "")
				if level == connect.IdempotencyUnknown {
					wantFailure(t, err, unknown, "c")
					if runs.Load() != 1 {
						t.Errorf("%d runs, want one", runs.Load())
					}
					return
				}
				if err != nil || (got != "a" && got != "b") || runs.Load() != 2 {
					t.Errorf("got %q, %v in %d runs", got, err, runs.Load())
				}
				if took := time.Since(begin); took > time.Second {
					t.Errorf("repeating took %v", took)
				}
			})
		})
	}
}

// testNotStartedIsRepeated: a call that reached its origin's node after the function was withdrawn there did not
// start, and is tried again elsewhere, whatever its method and with all that was sent.
func testNotStartedIsRepeated(t *testing.T, from callerOf) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		// d calls by way of c, which has a by one side and b by the other.
		for _, name := range []string{"a", "b", "c", "d"} {
			c.Node(name)
		}
		c.Link("a", "c", "public")
		c.Link("b", "c", "public")
		c.Link("d", "c", "public")
		offer := func(name string) *rpcmesh.Origin {
			return mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyNearest),
				worker(func(context.Context, string) (string, error) { return name, nil }), chatMethod("/test.v1.At/Chat"))
		}
		onlyA := offer("a")
		synctest.Wait()
		ns := from(c, "d")
		calls := map[string]func() error{
			"unary": func() error {
				got, err := do(t.Context(), ns, workSpec(), "")
				if err == nil && got != "b" {
					return fmt.Errorf("%s answered", got)
				}
				return err
			},
			"stream": func() error {
				stream := openChat(t, ns, "/test.v1.At/Chat")
				defer stream.Close()
				for i := range 10 {
					if err := stream.Send(&greetv1.ChatRequest{Line: fmt.Sprint(i)}); err != nil {
						return err
					}
				}
				for i := range 10 {
					res, err := stream.Receive()
					if err != nil || res.GetLine() != fmt.Sprint(i) {
						return fmt.Errorf("received %v, %w; want %d", res, err, i)
					}
				}
				return nil
			},
		}
		for name, call := range calls {
			// What d says is held up, while behind it a's origin goes and b's comes.
			c.Silence("c", "d")
			got := make(chan error, 1)
			go func() { got <- call() }()
			synctest.Wait()
			onlyA.Unregister()
			onlyB := offer("b")
			synctest.Wait()
			c.Heal("c", "d")
			if err := <-got; err != nil {
				t.Errorf("%s: %v", name, err)
			}
			onlyB.Unregister()
			onlyA = offer("a")
			synctest.Wait()
		}
	})
}

// TestCallsDuringBreaks: a link goes down and up while calls are made, and each ends within its deadline,
// with an answer or with a failure of the mesh; no handler runs twice for one call.
func TestCallsDuringBreaks(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		const calls = 2000
		var runs [calls]atomic.Int32
		mustRegister(t, c.Node("a").Namespace("public"), worker(func(_ context.Context, name string) (string, error) {
			var i int
			fmt.Sscan(name, &i)
			runs[i].Add(1)
			time.Sleep(time.Millisecond) // fake time
			return name, nil
		}))
		synctest.Wait()
		stop := make(chan struct{})
		go func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond):
					c.Reset("a", "b")
				case <-time.After(33 * time.Millisecond):
					c.Reset("b", "c")
				}
			}
		}()
		failed := 0
		for i := range calls {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			begin := time.Now()
			got, err := do(ctx, c.Node("c").Namespace("public"), workSpec(), fmt.Sprint(i))
			cancel()
			if took := time.Since(begin); took > time.Second {
				t.Fatalf("call %d took %v", i, took)
			}
			switch code := connect.CodeOf(err); {
			case err == nil:
				if got != fmt.Sprint(i) || runs[i].Load() != 1 {
					t.Fatalf("call %d: %q after %d runs", i, got, runs[i].Load())
				}
			case code == connect.CodeUnavailable || code == connect.CodeDeadlineExceeded:
				failed++
				failure, _ := rpcmesh.FailureOf(err)
				if failure.Certainty == notStarted && runs[i].Load() != 0 {
					t.Errorf("call %d was not started, says %v, and ran", i, err)
				}
			default:
				t.Fatalf("call %d: %v", i, err)
			}
			if n := runs[i].Load(); n > 1 {
				t.Errorf("call %d ran %d times", i, n)
			}
		}
		close(stop)
		if failed == 0 || failed == calls {
			t.Errorf("%d of %d calls failed: that tests nothing", failed, calls)
		}
	})
}

// TestRedial: the side that dialled dials again, with pauses that double up to their bound.
func TestRedial(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var d dials
		c.Node("a")
		c.Node("b", d.count)
		c.Link("b", "a", "public")
		d.take()
		c.Cut("a", "b")
		time.Sleep(5 * time.Minute) // fake time
		dialled := d.take()
		for i := 1; i < len(dialled); i++ {
			most := min(100*time.Millisecond<<min(i, 10), 10*time.Second)
			if pause := dialled[i].Sub(dialled[i-1]); pause > most || pause < most/2 {
				t.Errorf("pause %d was %v, want between %v and %v", i, pause, most/2, most)
			}
		}
		if len(dialled) < 30 || len(dialled) > 70 {
			t.Errorf("dialled %d times in 5 minutes", len(dialled))
		}
		c.Heal("a", "b")
		time.Sleep(10 * time.Second) // fake time
		if got := linksOf(c.Node("a")); !got["b"].Up {
			t.Errorf("after healing: %+v", got)
		}
	})
}

// TestPartition: a graph falls into halves, each of which goes on by itself, and heals.
func TestPartition(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		// A grid of 3 by 2: a b c above d e f. It is parted between b and c, and e and f.
		nodes := []string{"a", "b", "c", "d", "e", "f"}
		for _, name := range nodes {
			c.Node(name)
		}
		for _, l := range [][2]string{{"b", "a"}, {"c", "b"}, {"e", "d"}, {"f", "e"}, {"d", "a"}, {"e", "b"}, {"f", "c"}} {
			c.Link(l[0], l[1], "public")
		}
		for _, name := range nodes {
			mustRegister(t, c.Node(name).Namespace("public"), work("/test.v1.At/"+name, name))
		}
		for range 3 {
			synctest.Wait()
			wantReach(t, c, nodes, nodes)
			c.Cut("b", "c")
			c.Cut("e", "f")
			synctest.Wait()
			wantReach(t, c, []string{"a", "b", "d", "e"}, nodes)
			wantReach(t, c, []string{"c", "f"}, nodes)
			// What changes meanwhile is known after.
			mustRegister(t, c.Node("f").Namespace("public"), work("/test.v1.At/Meanwhile", "f")).Unregister()
			time.Sleep(time.Minute) // fake time
			c.HealAll()
			time.Sleep(time.Minute) // fake time
		}
		wantReach(t, c, nodes, nodes)
	})
}

// wantReach fails the test unless each of some can call the functions of all of some, and of no others.
func wantReach(t testing.TB, c *rpcmeshtest.Cluster, some, all []string) {
	t.Helper()
	for _, from := range some {
		ns := c.Node(from).Namespace("public")
		for _, to := range all {
			got, err := do(t.Context(), ns, connect.Spec{Procedure: "/test.v1.At/" + to}, "")
			if !slices.Contains(some, to) {
				if connect.CodeOf(err) != connect.CodeUnavailable {
					t.Errorf("%s to %s, which is out of reach: %q, %v", from, to, got, err)
				}
				continue
			}
			if got != to || err != nil {
				t.Errorf("%s to %s: %q, %v", from, to, got, err)
			}
		}
	}
}

// TestRedundantLinks: two links between the same nodes, and the loss of one of them loses nothing.
func TestRedundantLinks(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a")
		c.Node("b")
		first := c.Link("b", "a", "public")
		c.Link("a", "b", "public")
		second := c.Link("b", "a", "public")
		register(t, c.Node("a").Namespace("public"), says("a"))
		synctest.Wait()
		for _, l := range []*rpcmesh.Link{first, second} {
			wantGreeting(t, c.Node("b").Namespace("public"), "a")
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		wantGreeting(t, c.Node("b").Namespace("public"), "a")
		if got := len(linksOf(c.Node("a"))); got != 1 {
			t.Errorf("%d links are left", got)
		}
	})
}
