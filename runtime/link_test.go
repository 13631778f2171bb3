package rpcmesh_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
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
)

// TestLinkClose gives one link up: both ends lose what lay behind it, nobody dials again, and the nodes go on.
func TestLinkClose(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var d dials
		c.Node("a")
		c.Node("b", d.count)
		link := c.Link("b", "a", "public")
		register(t, c.Node("a").Namespace("public"), funcs{chat: echo})
		synctest.Wait()
		stream := mustChat(t, c.Node("b").Namespace("public"))
		mustSend(t, stream, "hello")
		wantLines(t, stream, "hello")
		d.take()
		for range 2 { // again, to no effect
			if err := link.Close(); err != nil {
				t.Error(err)
			}
		}
		_, err := stream.Receive()
		wantFailure(t, err, started, "b")
		wantError(t, link.Ready(t.Context()), connect.CodeFailedPrecondition, "closed")
		time.Sleep(time.Minute) // fake time
		if got := len(d.take()); got != 0 {
			t.Errorf("it was dialled %d times after", got)
		}
		for _, name := range []string{"a", "b"} {
			if got := memberNames(c.Node(name)); !slices.Equal(got, []string{name}) || len(linksOf(c.Node(name))) != 0 {
				t.Errorf("%s knows %v, has the links %v", name, got, linksOf(c.Node(name)))
			}
		}
	})
}

// TestLinkBeforeItsListener: it does not matter which end comes first.
func TestLinkBeforeItsListener(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		link, err := c.Node("b").Link(rpcmeshtest.URL("a"), "public")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantError(t, link.Ready(ctx), connect.CodeDeadlineExceeded, "refused")
		canceled, cancelNow := context.WithCancel(t.Context())
		cancelNow()
		wantError(t, link.Ready(canceled), connect.CodeCanceled, "refused")
		c.Node("a").Namespace("public")
		if err := link.Ready(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// meter counts the bytes that a node's own connections carry, both ways.
type meter struct{ bytes atomic.Int64 }

func (m *meter) count(cfg *rpcmesh.Config) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return metered{conn, m}, nil
	}
}

func (m *meter) take() int { return int(m.bytes.Swap(0)) }

type metered struct {
	net.Conn
	m *meter
}

func (c metered) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.m.bytes.Add(int64(n))
	return n, err
}

func (c metered) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.m.bytes.Add(int64(n))
	return n, err
}

// TestOnlyWhatDiffers: a change in a table costs the change and not the table, and a link that comes back exchanges
// what has changed meanwhile.
func TestOnlyWhatDiffers(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var m meter
		c.Node("a")
		c.Node("b", m.count)
		c.Link("b", "a", "public")
		methods := make([]connect.Method, 5000)
		for i := range methods {
			methods[i] = work(fmt.Sprintf("/test.v1.Many/Function%d", i), "a")
		}
		ns := c.Node("b").Namespace("public")
		m.take()
		mustRegister(t, c.Node("a").Namespace("public"), methods...)
		synctest.Wait()
		table := m.take()
		if got := len(functionsOf(ns)); got != 5000 || table < 100_000 {
			t.Fatalf("b sees %d functions, which took %d bytes", got, table)
		}
		one := mustRegister(t, c.Node("a").Namespace("public"), work("/test.v1.One/More", "a"))
		synctest.Wait()
		if got := m.take(); got == 0 || got > 1000 {
			t.Errorf("one more function took %d bytes", got)
		}
		c.Cut("a", "b")
		synctest.Wait()
		one.Unregister()
		mustRegister(t, c.Node("a").Namespace("public"), work("/test.v1.Mean/While", "a"))
		c.Heal("a", "b")
		m.take()
		if err := ns.WaitFor(t.Context(), "/test.v1.Mean/While"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := m.take(); got > table/20 {
			t.Errorf("to come back took %d bytes, and the whole table %d", got, table)
		}
		if _, err := do(t.Context(), ns, connect.Spec{Procedure: "/test.v1.One/More"}, ""); connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("what was withdrawn meanwhile: %v", err)
		}
		m.take()
		time.Sleep(time.Hour) // fake time
		if got := m.take(); got > 3600*200 {
			t.Errorf("an hour in which nothing happens took %d bytes", got)
		}
	})
}

// TestNothingIsLeft: calls of all kinds and endings, over a relay, leave no goroutine and no memory behind.
func TestNothingIsLeft(t *testing.T) {
	c := rpcmeshtest.New(t)
	chain(c, 3, "public")
	register(t, c.Node("a").Namespace("public"), funcs{
		greet: greeter{}.Greet, count: greeter{}.Count, sum: greeter{}.Sum, chat: echo,
	})
	ns := c.Node("c").Namespace("public")
	mustWaitFor(t, ns, greeterProcedures...)
	client := greetv1rpcmesh.NewGreeterClient(ns)
	round := func() {
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			_, _ = client.Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
			_, _ = client.Greet(ctx, new(greetv1.GreetRequest)) // fails
			for range 3 {
				count, _ := client.Count(ctx, &greetv1.CountRequest{To: 1000})
				_, _ = count.Receive()
				_ = count.Close()
			}
			sum, _ := client.Sum(ctx)
			_ = sum.Send(new(greetv1.SumRequest))
			chat, _ := client.Chat(ctx)
			_ = chat.Send(&greetv1.ChatRequest{Line: "never read"})
			_, _ = client.Chat(ctx) // never used
			cancel()
		}
	}
	measure := func() (goroutines int, heap uint64) {
		for range 3 {
			runtime.GC()
		}
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return runtime.NumGoroutine(), stats.HeapAlloc
	}
	round()
	_, before := measure()
	for range 5 {
		round()
	}
	// Handlers may take a moment to hear of the last calls' end.
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		goroutines, after := measure()
		if goroutines < 500 && after < before+4<<20 {
			return
		}
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatalf("%d goroutines, %d bytes, and %d bytes before", goroutines, after, before)
		}
	}
}
