package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/report"
)

// givenUp is how long after its time a measurement is given up.
const givenUp = 20 * time.Second

// eventsWindow is how long events are counted.
const eventsWindow = 300 * time.Millisecond

// A runner makes the measurements of a plan and puts them into a report.
type runner struct {
	options  options
	cluster  cluster.Options
	quiet    *quiet
	report   *report.Report
	progress io.Writer
	began    time.Time
	done     int // measurements
	planned  int
}

// run makes every measurement of the plan once a round, and with -events once more. A measurement that fails
// is noted, and the rest goes on; when ctx or the time ends, the report has what there is.
func run(ctx context.Context, plan []measurement, o options, progress io.Writer) (*report.Report, error) {
	credentials, err := peer.NewCredentials()
	if err != nil {
		return nil, err
	}
	if o.total > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.total)
		defer cancel()
	}
	r := runner{
		options: o,
		cluster: cluster.Options{
			Warmup: o.warmup, Window: o.window, Limit: o.warmup + o.window + givenUp,
			Credentials: credentials, Profiles: o.profiles, CPUs: o.cpus,
		},
		quiet:    newQuiet(o.quiet),
		report:   &report.Report{Environment: report.Here(), Rounds: o.rounds, Window: o.window, Peers: columns(plan)},
		progress: progress,
		began:    time.Now(),
		planned:  o.rounds * len(plan),
	}
	if o.events && r.canCount() {
		r.planned += len(plan)
	} else {
		o.events = false
	}
	for round := range o.rounds {
		if !r.round(ctx, round, inRound(plan, round), r.add) {
			break
		}
	}
	if o.events && ctx.Err() == nil {
		r.cluster.Count, r.cluster.Profiles = true, ""
		r.cluster.Window = min(o.window, eventsWindow) // counts are steadier than times
		r.round(ctx, o.rounds, plan, r.addEvents)
	}
	fmt.Fprint(progress, "\r\x1b[K")
	r.report.Quiet = r.quiet.summary()
	r.report.Finish()
	return r.report, nil
}

// canCount tells whether the kernel lets system calls be counted; if not, the report says why.
func (r *runner) canCount() bool {
	counters, err := machine.Count()
	if err != nil {
		r.report.Notes = append(r.report.Notes, fmt.Sprintf("system calls were not counted: %v", err))
		return false
	}
	counters.Close()
	return true
}

// round makes each measurement once, and tells whether there was time for all.
func (r *runner) round(ctx context.Context, round int, plan []measurement, add func(measurement, cluster.Sample)) bool {
	for _, m := range plan {
		if ctx.Err() != nil {
			r.report.Failures = append(r.report.Failures, fmt.Sprintf("ended after %d of %d measurements", r.done, r.planned))
			return false
		}
		sample, err := r.quiet.take(ctx, func() (cluster.Sample, error) {
			return cluster.Measure(ctx, m.peer, m.scenario, r.cluster)
		})
		name := m.peer.Traits().Name
		if err != nil {
			r.report.Failures = append(r.report.Failures, fmt.Sprintf("round %d, %s, %s: %v", round+1, m.scenario.Name(), name, err))
		} else {
			add(m, sample)
		}
		r.done++
		left := time.Since(r.began) / time.Duration(r.done) * time.Duration(r.planned-r.done)
		fmt.Fprintf(r.progress, "\r\x1b[K%d/%d, %v left: %s %s", r.done, r.planned, left.Round(time.Second), m.scenario.Name(), name)
	}
	return true
}

func (r *runner) add(m measurement, s cluster.Sample) {
	r.report.Add(m.scenario, m.peer.Traits().Name, s)
}

func (r *runner) addEvents(m measurement, s cluster.Sample) {
	r.report.AddEvents(m.scenario, m.peer.Traits().Name, s)
}

// columns are the plan's peers, in the order of its first scenarios, which is that of the tables.
func columns(plan []measurement) []report.Peer {
	seen := make(map[string]peer.Traits)
	for _, m := range plan {
		seen[m.peer.Traits().Name] = m.peer.Traits()
	}
	all := make([]report.Peer, 0, len(seen))
	for name, t := range seen {
		all = append(all, report.Peer{Name: name, Note: t.Note})
	}
	report.Sort(all)
	return all
}
