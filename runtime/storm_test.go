package rpcmesh_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

var stormSeed = flag.Uint64("storm.seed", 0, "the seed of TestStorm; 0: a few fixed ones")

// TestStorm has links of a graph of 20 nodes going down and up, by reset and by silence, with 200 calls in
// flight. No handler runs twice for one call that must not be repeated, no call hangs past its
// deadline, and once the storm is over every call succeeds.
func TestStorm(t *testing.T) {
	seeds := []uint64{1, 2}
	if testing.Short() {
		seeds = seeds[:1]
	}
	if *stormSeed != 0 {
		seeds = []uint64{*stormSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) { newStorm(t, c, seed).run() })
		})
	}
}

const (
	stormNodes    = 20
	stormCallers  = 200
	stormCall     = 5 * time.Second // the deadline of each call
	stormDuration = 15 * time.Second
)

// storm is one run. Each caller and the weather have a random source of their own, so that the seed says what
// they do.
type storm struct {
	t     *testing.T
	c     *rpcmeshtest.Cluster
	seed  uint64
	nodes []string
	links map[[2]string]bool

	over     chan struct{}
	next     atomic.Int64
	runs     sync.Map // the number of a call to *atomic.Int32
	never    sync.Map // the numbers of calls that were said not to have started
	answered atomic.Int64
	failed   atomic.Int64
}

func newStorm(t *testing.T, c *rpcmeshtest.Cluster, seed uint64) *storm {
	t.Helper()
	s := &storm{t: t, c: c, seed: seed, links: map[[2]string]bool{}, over: make(chan struct{})}
	rnd := s.rand(0)
	for i := range stormNodes {
		name := fmt.Sprintf("n%02d", i)
		s.nodes = append(s.nodes, name)
		c.Node(name, quiet)
		c.Setup(name, func(n *rpcmesh.Node) {
			mustRegister(t, n.Namespace("public"),
				unary(s.spec(name, connect.IdempotencyUnknown), s.handleOnce),
				unary(s.spec(name, connect.IdempotencyIdempotent), s.handle))
		})
		// A random tree, so that all hang together, and as many links again.
		for _, other := range []int{rnd.IntN(max(i, 1)), rnd.IntN(max(i, 1))} {
			if i > 0 && !s.links[[2]string{name, s.nodes[other]}] {
				s.links[[2]string{name, s.nodes[other]}] = true
				c.Link(name, s.nodes[other], "public")
			}
		}
	}
	return s
}

// quiet has a node not log: a storm has much to say.
func quiet(cfg *rpcmesh.Config) { cfg.Logger = nil }

func (s *storm) rand(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(s.seed, stream)) }

func (*storm) spec(node string, level connect.IdempotencyLevel) connect.Spec {
	return connect.Spec{Procedure: fmt.Sprintf("/test.v1.Storm%d/%s", level, node), IdempotencyLevel: level}
}

// handleOnce serves calls that must not be repeated.
func (s *storm) handleOnce(ctx context.Context, number string) (string, error) {
	if s.ran(number) > 0 {
		s.t.Errorf("call %s runs a second time", number)
	}
	return s.handle(ctx, number)
}

// ran is how often the handler was run for a call.
func (s *storm) ran(number string) int32 {
	if runs, ok := s.runs.Load(number); ok {
		return runs.(*atomic.Int32).Load()
	}
	return 0
}

// handle counts the runs for the call whose number it is given.
func (s *storm) handle(ctx context.Context, number string) (string, error) {
	runs, _ := s.runs.LoadOrStore(number, new(atomic.Int32))
	runs.(*atomic.Int32).Add(1)
	select {
	case <-time.After(50 * time.Millisecond):
		return number, nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (s *storm) run() {
	s.waitWhole()
	var callers, weather sync.WaitGroup
	weather.Go(func() { s.blow(s.rand(1)) })
	for i := range uint64(stormCallers) {
		callers.Go(func() {
			rnd := s.rand(100 + i)
			for {
				select {
				case <-s.over:
					return
				default:
					s.call(rnd)
				}
			}
		})
	}
	weather.Wait()
	close(s.over)
	callers.Wait()
	s.c.HealAll()
	s.waitWhole()
	s.t.Logf("seed %d: %d calls were answered, %d failed", s.seed, s.answered.Load(), s.failed.Load())
	if s.failed.Load() == 0 || s.answered.Load() < s.failed.Load()/10 {
		s.t.Error("that was no storm, or one that nothing survived")
	}
	for number, what := range s.never.Range {
		if s.ran(number.(string)) > 0 {
			s.t.Errorf("%s was said not to have started, and did", what)
		}
	}
	for _, from := range s.nodes {
		for _, to := range s.nodes {
			number := fmt.Sprint(s.next.Add(1))
			got, err := do(s.t.Context(), s.c.Node(from).Namespace("public"), s.spec(to, connect.IdempotencyUnknown), number)
			if got != number || err != nil {
				s.t.Errorf("after the storm, %s to %s: %q, %v", from, to, got, err)
			}
		}
	}
}

// blow lets links fall, by the dozen, and stand up again after a while, until the storm is over.
func (s *storm) blow(rnd *rand.Rand) {
	links := slices.SortedFunc(maps.Keys(s.links), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for until := time.Now().Add(stormDuration); time.Now().Before(until); {
		time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond) // fake time
		l := links[rnd.IntN(len(links))]
		switch rnd.IntN(5) {
		case 0, 1:
			s.c.Cut(l[0], l[1])
		case 2:
			s.c.Silence(l[0], l[1])
		case 3:
			s.c.Reset(l[0], l[1])
		case 4:
			s.c.ResetAll(l[0])
		}
		time.AfterFunc(time.Duration(rnd.IntN(5000))*time.Millisecond, func() { s.c.Heal(l[0], l[1]) })
	}
}

// call makes one call between any two nodes.
func (s *storm) call(rnd *rand.Rand) {
	from, to := s.nodes[rnd.IntN(stormNodes)], s.nodes[rnd.IntN(stormNodes)]
	level := []connect.IdempotencyLevel{connect.IdempotencyUnknown, connect.IdempotencyIdempotent}[rnd.IntN(2)]
	number := fmt.Sprint(s.next.Add(1))
	ctx, cancel := context.WithTimeout(s.t.Context(), stormCall)
	defer cancel()
	begin := time.Now()
	got, err := do(ctx, s.c.Node(from).Namespace("public"), s.spec(to, level), number)
	what := fmt.Sprintf("call %s, %s to %s, %v", number, from, to, level)
	if took := time.Since(begin); took > stormCall {
		s.t.Errorf("%s took %v, past its deadline: %v", what, took, err)
	}
	switch code := connect.CodeOf(err); {
	case err == nil:
		s.answered.Add(1)
		if got != number || s.ran(number) == 0 {
			s.t.Errorf("%s: %q after %d runs", what, got, s.ran(number))
		}
		return
	case code == connect.CodeUnavailable, code == connect.CodeDeadlineExceeded:
		if failure, ok := rpcmesh.FailureOf(err); ok && failure.Certainty == notStarted {
			s.never.Store(number, what)
		}
	default:
		s.t.Errorf("%s: %v", what, err)
	}
	s.failed.Add(1)
	time.Sleep(10 * time.Millisecond) // fake time
}

// waitWhole waits until every node can call every other.
func (s *storm) waitWhole() {
	s.t.Helper()
	var procedures []string
	for _, name := range s.nodes {
		procedures = append(procedures, s.spec(name, connect.IdempotencyUnknown).Procedure)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), rpcmesh.DefaultRedialMax+5*time.Second)
	defer cancel()
	for _, name := range s.nodes {
		if err := s.c.Node(name).Namespace("public").WaitFor(ctx, procedures...); err != nil {
			s.t.Fatalf("%s: %v", name, err)
		}
	}
}
