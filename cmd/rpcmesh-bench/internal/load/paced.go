package load

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
)

const (
	// pacedCallers bounds the calls that run at once. Calls that are due wait for one of them.
	pacedCallers = 256
	// pacedTick is how often calls that have become due are let go.
	pacedTick = 250 * time.Microsecond
)

// paced offers calls at a rate: they become due at random, as those of many independent callers do, and
// run in the order they became due. A call's time counts from when it was let go, at the first tick
// after it was due, and includes the wait for a free caller.
type paced struct {
	client  peer.Client
	payload int
	rate    int
}

func (p paced) Run(ctx context.Context, d time.Duration) (Result, error) {
	due := make(chan time.Duration)
	start := time.Now()
	h, err := callers(ctx, 1+pacedCallers, func(ctx context.Context, i int, h *histogram) error {
		if i == 0 {
			defer close(due)
			return p.pace(ctx, start, d, due)
		}
		payload := make([]byte, p.payload)
		for released := range due {
			if err := echo(ctx, p.client, payload); err != nil {
				return err
			}
			h.record(time.Since(start) - released)
		}
		return nil
	})
	return resultOf(h, time.Since(start)), err
}

// pace lets calls go from start on for d. Every run has the same times of arrival.
func (p paced) pace(ctx context.Context, start time.Time, d time.Duration, due chan<- time.Duration) error {
	ticks, err := newTicks(pacedTick)
	if err != nil {
		return err
	}
	defer ticks.close()
	gap := float64(time.Second) / float64(p.rate)
	random := rand.New(rand.NewPCG(1, 2))
	var arrival float64
	for {
		if err := ticks.wait(); err != nil {
			return err
		}
		now := time.Since(start)
		for arrival < float64(min(now, d)) {
			select {
			case due <- now:
			case <-ctx.Done():
				return nil
			}
			arrival += random.ExpFloat64() * gap
			if time.Since(start) > d {
				return nil
			}
		}
		if now >= d {
			return nil
		}
	}
}
