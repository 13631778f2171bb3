package main

import (
	"context"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/report"
)

const (
	// quietTries is how often a sample is taken at most before the quietest one stands.
	quietTries = 4
	// quietLook is how long the machine is looked at before a sample. A shorter time is only a few of the ticks that
	// the kernel counts by.
	quietLook = 100 * time.Millisecond
	// quietWaits is how often it is looked at, at most.
	quietWaits = 20
)

// quiet keeps samples apart from what others do on the machine.
type quiet struct {
	share         float64 // of the CPUs that others may use; 0 takes each sample as it comes
	now           func() (machine.Times, error)
	look          time.Duration // how long the machine is looked at before a sample
	skipped, loud int
}

func newQuiet(share float64) *quiet { return &quiet{share: share, now: machine.Now, look: quietLook} }

// take takes a sample once the machine is quiet, and again while others used more than their share meanwhile.
func (q *quiet) take(ctx context.Context, measure func() (cluster.Sample, error)) (cluster.Sample, error) {
	if q.share == 0 {
		return measure()
	}
	var best cluster.Sample
	for try := range quietTries {
		if err := q.wait(ctx); err != nil {
			return cluster.Sample{}, err
		}
		sample, err := measure()
		if err != nil {
			return cluster.Sample{}, err
		}
		if try == 0 || sample.Others < best.Others {
			best = sample
		}
		if best.Others <= q.share {
			q.skipped += try
			return best, nil
		}
	}
	q.skipped += quietTries - 1
	q.loud++
	return best, nil
}

// wait waits until others leave the machine alone, but not for ever: they may be about to.
func (q *quiet) wait(ctx context.Context) error {
	look := time.NewTicker(q.look)
	defer look.Stop()
	before, err := q.now()
	for range quietWaits {
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
		var now machine.Times
		if now, err = q.now(); err == nil && now.Share(before, 0) <= q.share {
			return nil
		}
		before = now
	}
	return nil
}

func (q *quiet) summary() *report.Quiet {
	if q.share == 0 {
		return nil
	}
	return &report.Quiet{Share: q.share, Skipped: q.skipped, Loud: q.loud}
}
