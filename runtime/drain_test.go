package rpcmesh_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

var (
	drainCalls = flag.Int64("drain.calls", 10_000, "how many calls TestDrain makes at least")
	drainSeed  = flag.Uint64("drain.seed", 1, "the first seed of TestDrain; the next graph has the next")
)

// TestDrain restarts nodes in order, one after the other, in random graphs with random delays, while others
// call functions that must not be repeated: leaves, relays and replicas. No call is lost, and none is handled
// twice.
func TestDrain(t *testing.T) {
	most := *drainCalls
	if testing.Short() {
		most /= 4
	}
	var calls, restarts int64
	seed := *drainSeed
	for ; calls < most && !t.Failed(); seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				d := newDrains(t, c, seed)
				d.run()
				calls, restarts = calls+d.calls.Load(), restarts+d.restarts
			})
		})
	}
	t.Logf("%d calls over %d restarts in %d graphs", calls, restarts, seed-*drainSeed)
}

// TestDrainOvertaken: calls that are on a slow way to a node are not lost when the others tell it by a quick one
// that they know that it leaves.
func TestDrainOvertaken(t *testing.T) {
	for _, replica := range []bool{true, false} {
		t.Run(fmt.Sprintf("replica %v", replica), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				serve := func(name string) {
					mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin),
						worker(func(_ context.Context, number string) (string, error) { return number, nil }))
				}
				for _, name := range []string{"caller", "hub", "other", "leaving", "around", "about"} {
					c.Node(name)
				}
				c.Link("caller", "hub", "public")
				c.Link("hub", "leaving", "public")
				serve("other")
				if replica {
					serve("leaving")
					c.Link("hub", "other", "public")
				} else {
					c.Link("leaving", "other", "public")
					for _, way := range [][2]string{{"hub", "around"}, {"around", "about"}, {"about", "other"}} {
						c.Link(way[0], way[1], "public")
					}
				}
				c.Delay("caller", "hub", 100*time.Millisecond)
				c.Delay("hub", "leaving", 10*time.Millisecond)
				time.Sleep(time.Second) // fake time
				over := make(chan struct{})
				var callers sync.WaitGroup
				var calls atomic.Int64
				for i := range 250 { // so that there is one at each moment of a call's way
					callers.Go(func() {
						time.Sleep(time.Duration(i) * time.Millisecond) // fake time
						for {
							select {
							case <-over:
								return
							default:
							}
							number := fmt.Sprint(calls.Add(1))
							if got, err := do(t.Context(), c.Node("caller").Namespace("public"), workSpec(), number); err != nil || got != number {
								t.Errorf("call %s was lost: %q, %v", number, got, err)
							}
							time.Sleep(time.Millisecond) // fake time
						}
					})
				}
				time.Sleep(time.Second) // fake time
				c.Link("leaving", "caller", "public")
				if err := c.Node("leaving").Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Second) // fake time
				close(over)
				callers.Wait()
			})
		})
	}
}

// drains is one graph: a ring with chords, so that it hangs together without any one node. The first two nodes
// call and stay; the others are restarted, and some of them have the functions.
type drains struct {
	t    *testing.T
	c    *rpcmeshtest.Cluster
	seed uint64
	rnd  *rand.Rand

	nodes    []string
	replicas int
	restarts int64
	over     chan struct{}
	rest     atomic.Bool // callers wait
	calls    atomic.Int64
	handled  sync.Map // the number of a call to *atomic.Int32
}

const drainCallers = 2 // nodes

func newDrains(t *testing.T, c *rpcmeshtest.Cluster, seed uint64) *drains {
	t.Helper()
	d := &drains{t: t, c: c, seed: seed, over: make(chan struct{})}
	d.rnd = d.rand(0)
	size := 5 + d.rnd.IntN(5)
	d.replicas = 2 + d.rnd.IntN(size-drainCallers-1)
	policy := rpcmesh.PolicyRoundRobin + rpcmesh.Policy(d.rnd.IntN(4))
	for i := range size {
		name := fmt.Sprintf("n%d", i)
		d.nodes = append(d.nodes, name)
		c.Setup(name, func(n *rpcmesh.Node) {
			ns := n.Namespace("public")
			if i < drainCallers || i >= drainCallers+d.replicas {
				return
			}
			mustRegister(t, ns.Replicated(policy), worker(d.handle))
			register(t, ns.Replicated(policy), funcs{chat: d.chat})
		})
	}
	// The places in the ring are random.
	ring := d.rnd.Perm(size)
	for i := range ring {
		d.link(ring[i], ring[(i+1)%size])
	}
	for range d.rnd.IntN(size) {
		if a, b := d.rnd.IntN(size), d.rnd.IntN(size); a != b {
			d.link(a, b)
		}
	}
	return d
}

// rand returns a random source of its own for each stream.
func (d *drains) rand(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(d.seed, stream)) }

// link links two nodes, of which either may be the one that dials, over a path with a delay.
func (d *drains) link(a, b int) {
	if d.rnd.IntN(2) == 0 {
		a, b = b, a
	}
	d.c.Link(d.nodes[a], d.nodes[b], "public")
	delay := []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond}[d.rnd.IntN(4)]
	d.c.Delay(d.nodes[a], d.nodes[b], time.Duration(d.rnd.Float64()*float64(delay)))
}

// note counts a call of that number.
func (d *drains) note(number string) {
	count, _ := d.handled.LoadOrStore(number, new(atomic.Int32))
	if n := count.(*atomic.Int32).Add(1); n > 1 {
		d.t.Errorf("seed %d: call %s was handled %d times", d.seed, number, n)
	}
}

func (d *drains) handle(ctx context.Context, number string) (string, error) {
	d.note(number)
	select {
	case <-time.After(time.Duration(len(number)) * time.Millisecond):
		return number, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (d *drains) chat(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	first, err := stream.Receive()
	if err != nil {
		return err
	}
	d.note(first.GetLine())
	if err := stream.Send(&greetv1.ChatResponse{Line: first.GetLine()}); err != nil {
		return err
	}
	return echo(ctx, stream)
}

// call makes one call from ns: every eighth is a stream.
func (d *drains) call(ns *rpcmesh.Namespace, number string, kind int) error {
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	if kind > 0 {
		got, err := do(ctx, ns, workSpec(), number)
		if err == nil && got != number {
			return errors.New("it got the answer of another")
		}
		return err
	}
	stream, err := greetv1rpcmesh.NewGreeterClient(ns).Chat(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	for range 3 {
		if err := stream.Send(&greetv1.ChatRequest{Line: number}); err != nil {
			return err
		}
		if res, err := stream.Receive(); err != nil || res.GetLine() != number {
			return fmt.Errorf("the stream received %q, %w", res.GetLine(), err)
		}
	}
	stream.CloseSend()
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// caller calls until it is over.
func (d *drains) caller(name string, stream uint64) {
	ns, rnd := d.c.Node(name).Namespace("public"), d.rand(stream)
	for {
		select {
		case <-d.over:
			return
		default:
		}
		if d.rest.Load() {
			time.Sleep(time.Millisecond) // fake time
			continue
		}
		number := fmt.Sprint(d.calls.Add(1))
		if err := d.call(ns, number, rnd.IntN(8)); err != nil {
			f, _ := rpcmesh.FailureOf(err)
			d.t.Errorf("seed %d: call %s from %s was lost at %v: %v (%v)", d.seed, number, name, time.Now().Format("05.000"), err, f)
		}
		if rnd.IntN(4) == 0 {
			time.Sleep(time.Duration(rnd.IntN(5)) * time.Millisecond) // fake time
		}
	}
}

func (d *drains) run() {
	d.settle()
	var callers sync.WaitGroup
	for i := range drainCallers {
		for k := range 16 {
			callers.Go(func() { d.caller(d.nodes[i], uint64(1+100*i+k)) })
		}
	}
	for range 2 * len(d.nodes) {
		time.Sleep(time.Duration(d.rnd.IntN(300)) * time.Millisecond) // fake time
		d.restart(drainCallers + d.rnd.IntN(len(d.nodes)-drainCallers))
	}
	close(d.over)
	callers.Wait()
}

// restart restarts a node in order. Now and then a caller links to it just before, so that what they tell each
// other overtakes what is on its way between them.
func (d *drains) restart(i int) {
	name, unlink := d.nodes[i], func() {}
	if d.rnd.IntN(3) > 0 {
		beside := d.c.Node(d.nodes[d.rnd.IntN(drainCallers)])
		l, err := beside.Link(rpcmeshtest.URL(name), "public")
		if err != nil {
			d.t.Fatal(err)
		}
		unlink = func() { l.Close() } // while it is down: its calls would be cut
		if err := l.Ready(d.t.Context()); err != nil {
			d.t.Fatal(err)
		}
	}
	if err := d.c.Node(name).Shutdown(d.t.Context()); err != nil {
		d.t.Errorf("seed %d: shutting %s down: %v", d.seed, name, err)
	}
	d.restarts++
	unlink()
	d.c.Restart(name)
	d.settle()
}

// settle waits until all links are up again and every node knows every replica, and a little longer, until the
// last links are known everywhere, too: with one node down, all others hang together. Callers have a rest.
func (d *drains) settle() {
	d.rest.Store(true)
	defer d.rest.Store(false)
	for _, name := range d.nodes {
		for !d.settled(d.c.Node(name)) && !d.t.Failed() {
			time.Sleep(10 * time.Millisecond) // fake time
		}
	}
	time.Sleep(time.Second) // fake time
}

func (d *drains) settled(n *rpcmesh.Node) bool {
	for l := range n.Links() {
		if !l.Up {
			return false
		}
	}
	seen := 0
	for f := range n.Namespace("public").Functions() {
		if f.Procedure == workSpec().Procedure && !f.Incompatible {
			seen++
		}
	}
	return seen == d.replicas
}
