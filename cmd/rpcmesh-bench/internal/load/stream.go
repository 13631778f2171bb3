package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
)

func openAll(ctx context.Context, client peer.Client, n int) ([]peer.Stream, error) {
	streams := make([]peer.Stream, n)
	for i := range streams {
		s, err := client.Stream(ctx)
		if err != nil {
			return nil, err
		}
		streams[i] = s
	}
	return streams, nil
}

// pingPong keeps one message on its way on each stream.
type pingPong struct {
	streams []peer.Stream
	payload int
}

func (p pingPong) Run(ctx context.Context, d time.Duration) (Result, error) {
	start := time.Now()
	h, err := callers(ctx, len(p.streams), func(ctx context.Context, i int, h *histogram) error {
		payload := make([]byte, p.payload)
		for last := time.Since(start); last < d && ctx.Err() == nil; {
			if err := pass(p.streams[i], payload); err != nil {
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

func pass(s peer.Stream, payload []byte) error {
	if err := s.Send(payload); err != nil {
		return err
	}
	_, err := receive(s, len(payload))
	return err
}

func receive(s peer.Stream, size int) ([]byte, error) {
	got, err := s.Receive()
	if err == nil && len(got) != size {
		err = fmt.Errorf("sent %d bytes, %d came back", size, len(got))
	}
	return got, err
}

// throughput fills each stream: one goroutine sends, as far as the peer's windows let it, and one
// receives.
type throughput struct {
	streams []peer.Stream
	payload int
}

// final is the first byte of the last message of a run on a stream.
const final = 1

func (t throughput) Run(ctx context.Context, d time.Duration) (Result, error) {
	start := time.Now()
	h, err := callers(ctx, len(t.streams), func(ctx context.Context, i int, h *histogram) error {
		s := t.streams[i]
		var sendErr, receiveErr error
		var wg sync.WaitGroup
		wg.Go(func() { sendErr = t.send(ctx, s, start, d) })
		wg.Go(func() { receiveErr = t.receive(s, h) })
		wg.Wait()
		return errors.Join(sendErr, receiveErr)
	})
	return Result{Elapsed: time.Since(start), Calls: h.total}, err
}

func (t throughput) send(ctx context.Context, s peer.Stream, start time.Time, d time.Duration) error {
	payload := make([]byte, t.payload)
	for time.Since(start) < d && ctx.Err() == nil {
		if err := s.Send(payload); err != nil {
			return err
		}
	}
	return s.Send(append([]byte{final}, payload[1:]...))
}

func (t throughput) receive(s peer.Stream, h *histogram) error {
	for {
		got, err := receive(s, t.payload)
		if err != nil {
			return err
		}
		h.total++
		if got[0] == final {
			return nil
		}
	}
}
