package load

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

func TestQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var parts [3]histogram
	var all []time.Duration
	for i := range 30_000 {
		d := time.Duration(random.ExpFloat64() * float64(100*time.Microsecond))
		parts[i%len(parts)].record(d)
		all = append(all, d)
	}
	var h histogram
	for i := range parts {
		h.merge(&parts[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[int(q*float64(len(all)-1))]
		if got := h.quantile(q); got < want*98/100 || got > want*102/100 {
			t.Errorf("quantile %v is %v, the exact one %v", q, got, want)
		}
	}
}

func TestQuantileOfFew(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("of none: %v", got)
	}
	h.record(-time.Second)
	h.record(10 * time.Hour)
	if got := h.quantile(0.5); got > time.Nanosecond {
		t.Errorf("a negative duration counts as %v, not as 0", got)
	}
	if got := h.quantile(1); got < 2*time.Minute {
		t.Errorf("a duration beyond the range counts as %v", got)
	}
}

func TestBucketsAdjoin(t *testing.T) {
	var last uint64
	for i := range buckets {
		low, high := boundsOf(i)
		if low != last || high <= low {
			t.Fatalf("bucket %d is [%d, %d), the one before ends at %d", i, low, high, last)
		}
		if bucketOf(low) != i || bucketOf(high-1) != i {
			t.Fatalf("[%d, %d) belongs to %d and %d, not %d", low, high, bucketOf(low), bucketOf(high-1), i)
		}
		last = high
	}
}

// echoClient answers from memory. After failAfter calls, if that is above 0, every call fails.
type echoClient struct {
	calls     atomic.Int64
	failAfter int64
}

var errBroken = errors.New("broken")

func (c *echoClient) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	if n := c.calls.Add(1); c.failAfter > 0 && n > c.failAfter {
		return nil, errBroken
	}
	return payload, ctx.Err()
}

func (c *echoClient) Stream(ctx context.Context) (peer.Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	return &echoStream{ctx: ctx, end: cancel, client: c, window: make(chan []byte, 16)}, nil
}

func (*echoClient) Close() error { return nil }

type echoStream struct {
	ctx    context.Context
	end    context.CancelFunc
	client *echoClient
	window chan []byte
}

func (s *echoStream) Send(payload []byte) error {
	select {
	case s.window <- payload:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *echoStream) Receive() ([]byte, error) {
	select {
	case payload := <-s.window:
		res, err := s.client.Unary(s.ctx, payload)
		if err != nil {
			s.end()
		}
		return res, err
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (*echoStream) CloseSend() error { return nil }

var loads = map[string]scenario.Load{
	"unary":      {Kind: scenario.Unary, Payload: 8, Callers: 4},
	"paced":      {Kind: scenario.Paced, Payload: 8, Rate: 20_000},
	"ping-pong":  {Kind: scenario.PingPong, Payload: 8, Callers: 4},
	"throughput": {Kind: scenario.Throughput, Payload: 8, Callers: 4},
	"beside":     {Kind: scenario.Beside, Payload: 8, Callers: 2, Bulk: 100},
}

func TestLoads(t *testing.T) {
	for name, l := range loads {
		t.Run(name, func(t *testing.T) {
			client := new(echoClient)
			g, err := New(t.Context(), client, l)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a warm-up, and then what counts
				client.calls.Store(0)
				const window = 30 * time.Millisecond
				res, err := g.Run(t.Context(), window)
				if err != nil {
					t.Fatal(err)
				}
				if res.Calls == 0 || res.Calls+res.Bulk != client.calls.Load() {
					t.Errorf("counts %d calls and %d of bulk, the client %d", res.Calls, res.Bulk, client.calls.Load())
				}
				if res.Elapsed < window {
					t.Errorf("ended after %v", res.Elapsed)
				}
				if timed := l.Kind != scenario.Throughput; timed && (res.P50 == 0 || res.P99 < res.P50) {
					t.Errorf("p50 %v, p99 %v", res.P50, res.P99)
				}
				if (res.Bulk > 0) != (l.Kind == scenario.Beside) {
					t.Errorf("%d calls of bulk", res.Bulk)
				}
			}
		})
	}
}

func TestLoadEndsWithTheFirstFailure(t *testing.T) {
	for name, l := range loads {
		t.Run(name, func(t *testing.T) {
			client := &echoClient{failAfter: 10}
			g, err := New(t.Context(), client, l)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := g.Run(t.Context(), 200*time.Millisecond); !errors.Is(err, errBroken) {
				t.Errorf("got %v, want %v", err, errBroken)
			}
		})
	}
}

func TestPacedKeepsItsRate(t *testing.T) {
	g, err := New(t.Context(), new(echoClient), loads["paced"])
	if err != nil {
		t.Fatal(err)
	}
	const window = 200 * time.Millisecond
	res, err := g.Run(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	// The offer is a random one of 4,000 calls, with a deviation of 63. The machine may not keep up,
	// but nothing makes the calls more.
	if res.Calls < 2000 || res.Calls > 4400 {
		t.Errorf("%d calls in %v", res.Calls, window)
	}
}

func TestReadyWaitsForTheFirstAnswer(t *testing.T) {
	if err := Ready(t.Context(), new(echoClient)); err != nil {
		t.Errorf("a client that answers: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := Ready(ctx, mute{}); !errors.Is(err, errBroken) {
		t.Errorf("a client that never answers: %v", err)
	}
}

type mute struct{ peer.Client }

func (mute) Unary(context.Context, []byte) ([]byte, error) { return nil, errBroken }

func TestEchoChecksTheAnswer(t *testing.T) {
	if err := echo(t.Context(), shortener{}, make([]byte, 8)); err == nil {
		t.Error("an answer that is too short passes")
	}
}

type shortener struct{ peer.Client }

func (shortener) Unary(_ context.Context, payload []byte) ([]byte, error) { return payload[1:], nil }
