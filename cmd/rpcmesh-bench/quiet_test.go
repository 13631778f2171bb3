package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
)

// A loud sample is taken again, up to a bound, and the quietest of all stands.
func TestQuietTakesLoudSamplesAgain(t *testing.T) {
	for name, test := range map[string]struct {
		share         float64
		others        []float64
		stands        float64
		skipped, loud int
	}{
		"off":              {0, []float64{0.9}, 0.9, 0, 0},
		"quiet":            {0.99, []float64{0.1}, 0.1, 0, 0},
		"quiet after two":  {0.99, []float64{1, 1, 0.5}, 0.5, 2, 0},
		"never quiet":      {0.99, []float64{1, 0.995, 1, 1}, 0.995, 3, 1},
		"exactly at bound": {0.99, []float64{0.99}, 0.99, 0, 0},
	} {
		q := quiet{share: test.share, look: time.Millisecond, now: idle}
		taken := 0
		sample, err := q.take(t.Context(), func() (cluster.Sample, error) {
			taken++
			return cluster.Sample{Others: test.others[taken-1]}, nil
		})
		if err != nil || taken != len(test.others) || sample.Others != test.stands {
			t.Errorf("%s: %v stands after %d samples: %v", name, sample.Others, taken, err)
		}
		if q.skipped != test.skipped || q.loud != test.loud {
			t.Errorf("%s: %d skipped, %d loud", name, q.skipped, q.loud)
		}
		if s := q.summary(); (s == nil) != (test.share == 0) {
			t.Errorf("%s: summary %+v", name, s)
		}
	}
}

// A sample waits until the machine is quiet, but not for ever.
func TestQuietWaits(t *testing.T) {
	for name, test := range map[string]struct{ loud, looks int }{
		"quiet": {0, 2}, "loud at first": {3, 5}, "always loud": {1000, quietWaits + 1},
	} {
		looks := 0
		var times machine.Times
		q := quiet{share: 0.5, look: time.Millisecond, now: func() (machine.Times, error) {
			times.All += time.Second
			looks++
			if looks-1 <= test.loud {
				times.Busy += time.Second
			}
			return times, nil
		}}
		if err := q.wait(t.Context()); err != nil || looks != test.looks {
			t.Errorf("%s: looked %d times, want %d: %v", name, looks, test.looks, err)
		}
	}
}

func idle() (machine.Times, error) { return machine.Times{}, nil }

func TestQuietFails(t *testing.T) {
	broken := errors.New("broken")
	q := quiet{share: 0.99, look: time.Millisecond, now: idle}
	if _, err := q.take(t.Context(), func() (cluster.Sample, error) { return cluster.Sample{}, broken }); !errors.Is(err, broken) {
		t.Errorf("a measurement that fails: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := q.take(ctx, func() (cluster.Sample, error) { return cluster.Sample{}, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that has ended: %v", err)
	}
}
