package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/report"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// measurement is one peer under one scenario.
type measurement struct {
	scenario scenario.Scenario
	peer     peer.Peer
}

// choose lists the measurements that the flags ask for, scenario by scenario.
func choose(scenarios, peers string, quick bool) ([]measurement, error) {
	chosen, err := choosePeers(peers)
	if err != nil {
		return nil, err
	}
	wanted := func(string) bool { return true }
	if scenarios == "goals" {
		goals := report.GoalScenarios()
		wanted = func(name string) bool { return goals[name] }
	} else if scenarios != "" {
		expression, err := regexp.Compile(scenarios)
		if err != nil {
			return nil, fmt.Errorf("-scenarios: %w", err)
		}
		wanted = expression.MatchString
	}
	var plan []measurement
	for _, s := range scenario.All() {
		if quick && !s.Quick || !wanted(s.Name()) {
			continue
		}
		for _, p := range chosen {
			if s.Fits(p.Traits()) {
				plan = append(plan, measurement{s, p})
			}
		}
	}
	if len(plan) == 0 {
		return nil, errors.New("no scenario fits these flags; see -list")
	}
	return plan, nil
}

func choosePeers(names string) ([]peer.Peer, error) {
	if names == "" {
		return peer.All(), nil
	}
	var chosen []peer.Peer
	for name := range strings.SplitSeq(names, ",") {
		p, err := peer.Named(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, p)
	}
	return chosen, nil
}

// givenUp is how long after its time a measurement is given up.
const givenUp = 20 * time.Second

// run makes every measurement of the plan once a round. A measurement that fails is noted, and the rest
// goes on; when ctx or the time ends, the report has what there is.
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
	opts := cluster.Options{
		Warmup: o.warmup, Window: o.window, Limit: o.warmup + o.window + givenUp,
		Credentials: credentials, Profiles: o.profiles,
	}
	rep := &report.Report{Environment: report.Here(), Rounds: o.rounds, Window: o.window}
	began, done := time.Now(), 0
	for round := range o.rounds {
		for _, m := range inRound(plan, round) {
			if ctx.Err() != nil {
				rep.Failures = append(rep.Failures, fmt.Sprintf("ended after %d of %d measurements", done, o.rounds*len(plan)))
				rep.Finish(columns())
				return rep, nil
			}
			name := m.peer.Traits().Name
			sample, err := cluster.Measure(ctx, m.peer, m.scenario, opts)
			if err != nil {
				rep.Failures = append(rep.Failures, fmt.Sprintf("round %d, %s, %s: %v", round+1, m.scenario.Name(), name, err))
			} else {
				rep.Add(m.scenario, name, sample)
			}
			done++
			left := time.Since(began) / time.Duration(done) * time.Duration(o.rounds*len(plan)-done)
			fmt.Fprintf(progress, "\r\x1b[K%d/%d, %v left: %s %s", done, o.rounds*len(plan), left.Round(time.Second), m.scenario.Name(), name)
		}
	}
	fmt.Fprint(progress, "\r\x1b[K")
	rep.Finish(columns())
	return rep, nil
}

// inRound turns the order of each scenario's peers by one a round, so that none always follows the same
// other.
func inRound(plan []measurement, round int) []measurement {
	var turned []measurement
	for rest := plan; len(rest) > 0; {
		name := rest[0].scenario.Name()
		n := slices.IndexFunc(rest, func(m measurement) bool { return m.scenario.Name() != name })
		if n < 0 {
			n = len(rest)
		}
		first := round % n
		turned = append(append(turned, rest[first:n]...), rest[:first]...)
		rest = rest[n:]
	}
	return turned
}
