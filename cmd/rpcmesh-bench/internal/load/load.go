// Package load puts a client under a scenario's load and tells what came of it.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// A Generator makes one load, as often as it is told to. It is not safe for concurrent use.
type Generator interface {
	// Run makes the load for about d, until every call that began has ended. It fails with the first
	// call that fails.
	Run(ctx context.Context, d time.Duration) (Result, error)
}

// A Result is what one run came to.
type Result struct {
	// Elapsed is from the start until the last call has ended.
	Elapsed time.Duration `json:"elapsed"`
	// Calls counts calls, or messages that came back on streams.
	Calls int64 `json:"calls"`
	// P50 and P99 are of the time from a call to its answer, 0 where that is not measured.
	P50 time.Duration `json:"p50"`
	P99 time.Duration `json:"p99"`
	// Bulk counts the calls that moved bulk beside those in Calls.
	Bulk int64 `json:"bulk,omitempty"`
}

// New prepares a load: what it opens stays open until ctx ends.
func New(ctx context.Context, client peer.Client, l scenario.Load) (Generator, error) {
	switch l.Kind {
	case scenario.Unary:
		return unary{client: client, payload: l.Payload, callers: l.Callers}, nil
	case scenario.Paced:
		return paced{client: client, payload: l.Payload, rate: l.Rate}, nil
	case scenario.PingPong:
		streams, err := openAll(ctx, client, l.Callers)
		return pingPong{streams: streams, payload: l.Payload}, err
	case scenario.Throughput:
		streams, err := openAll(ctx, client, l.Callers)
		return throughput{streams: streams, payload: l.Payload}, err
	case scenario.Beside:
		return beside{
			small: unary{client: client, payload: l.Payload, callers: 1},
			bulk:  unary{client: client, payload: l.Bulk, callers: l.Callers},
		}, nil
	}
	return nil, fmt.Errorf("no such kind of load: %q", l.Kind)
}

// Ready calls until a call succeeds or ctx ends: what stands between client and server may need a
// moment to learn of each other.
func Ready(ctx context.Context, client peer.Client) error {
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	for {
		err := echo(ctx, client, make([]byte, 1))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no call succeeds: %w", err)
		case <-retry.C:
		}
	}
}

func echo(ctx context.Context, client peer.Client, payload []byte) error {
	res, err := client.Unary(ctx, payload)
	if err == nil && len(res) != len(payload) {
		err = fmt.Errorf("sent %d bytes, %d came back", len(payload), len(res))
	}
	return err
}

// maxHistograms bounds what many callers count in: beyond, some share.
const maxHistograms = 1024

// callers runs n callers at once, each for about d, and puts their counts together. One that fails ends
// the others.
func callers(ctx context.Context, n int, run func(ctx context.Context, i int, h *histogram) error) (*histogram, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	counts := make([]histogram, min(n, maxHistograms))
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := run(ctx, i, &counts[i%len(counts)]); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	sum := new(histogram)
	for i := range counts {
		sum.merge(&counts[i])
	}
	return sum, context.Cause(ctx)
}

func resultOf(h *histogram, elapsed time.Duration) Result {
	return Result{Elapsed: elapsed, Calls: h.total, P50: h.quantile(0.50), P99: h.quantile(0.99)}
}

// unary is a closed loop: each caller calls again once it has its answer.
type unary struct {
	client  peer.Client
	payload int
	callers int
}

func (u unary) Run(ctx context.Context, d time.Duration) (Result, error) {
	start := time.Now()
	h, err := callers(ctx, u.callers, func(ctx context.Context, _ int, h *histogram) error {
		payload := make([]byte, u.payload)
		for last := time.Since(start); last < d; {
			if err := echo(ctx, u.client, payload); err != nil {
				return err
			}
			now := time.Since(start)
			h.record(now - last)
			last = now
		}
		return nil
	})
	return resultOf(h, time.Since(start)), err
}

// beside is one caller beside others that move bulk.
type beside struct {
	small, bulk unary
}

func (b beside) Run(ctx context.Context, d time.Duration) (Result, error) {
	var res, bulk Result
	var err, bulkErr error
	var wg sync.WaitGroup
	start := time.Now()
	wg.Go(func() { bulk, bulkErr = b.bulk.Run(ctx, d) })
	wg.Go(func() { res, err = b.small.Run(ctx, d) })
	wg.Wait()
	res.Elapsed, res.Bulk = time.Since(start), bulk.Calls
	return res, errors.Join(err, bulkErr)
}
