package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/report"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// measurement is one peer under one scenario.
type measurement struct {
	scenario scenario.Scenario
	peer     peer.Peer
}

// choose lists the measurements that the flags ask for, scenario by scenario. All are the peers that there are.
func choose(o options, all []peer.Peer) ([]measurement, error) {
	chosen, err := choosePeers(o.peers, all)
	if err != nil {
		return nil, err
	}
	wanted, err := chooseScenarios(o.scenarios)
	if err != nil {
		return nil, err
	}
	var plan []measurement
	for _, s := range scenario.All(o.procs) {
		if o.quick && !s.Quick || s.OneCPU && !machine.CanPin {
			continue
		}
		for _, p := range chosen {
			if s.Fits(p.Traits()) && wanted(s, p.Traits().Name) {
				plan = append(plan, measurement{s, p})
			}
		}
	}
	if len(plan) == 0 {
		return nil, errors.New("no scenario fits these flags; see -list")
	}
	return plan, nil
}

// chooseScenarios reads -scenarios.
func chooseScenarios(flag string) (func(s scenario.Scenario, peer string) bool, error) {
	switch flag {
	case "":
		return func(scenario.Scenario, string) bool { return true }, nil
	case "goals":
		goals := report.GoalScenarios()
		return func(s scenario.Scenario, _ string) bool { return goals[s.Name()] }, nil
	case "table":
		return func(s scenario.Scenario, peer string) bool { return s.Table.Has(peer) }, nil
	}
	expression, err := regexp.Compile(flag)
	if err != nil {
		return nil, fmt.Errorf("-scenarios: %w", err)
	}
	return func(s scenario.Scenario, _ string) bool { return expression.MatchString(s.Name()) }, nil
}

func choosePeers(names string, all []peer.Peer) ([]peer.Peer, error) {
	if names == "" {
		return all, nil
	}
	var chosen []peer.Peer
	for name := range strings.SplitSeq(names, ",") {
		name = strings.TrimSpace(name)
		i := slices.IndexFunc(all, func(p peer.Peer) bool { return p.Traits().Name == name })
		if i < 0 {
			return nil, fmt.Errorf("no such peer: %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
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
