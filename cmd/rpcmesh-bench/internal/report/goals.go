package report

import (
	"fmt"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

const ours = "rpcmesh"

// A Goal is a ratio of two medians of one run that the project has set itself.
type Goal struct {
	// Text says what is compared, in words.
	Text string
	// Want is the bound: the least, or with AtMost the greatest, ratio.
	Want   float64
	AtMost bool

	metric      metric
	over, under ref
}

// ref names a cell.
type ref struct{ scenario, peer string }

// tlsAllowance is what encryption may take off a goal.
const tlsAllowance = 0.85

// Goals are the project's, in cleartext, then those that hold over TLS too.
func Goals() []Goal {
	goals := throughputGoals()
	goals = append(goals, latencyGoals()...)
	goals = append(goals, loadGoals()...)
	for _, g := range goals {
		if encrypted, ok := g.withTLS(); ok {
			goals = append(goals, encrypted)
		}
	}
	return append(goals, gatewayGoals()...)
}

// GoalScenarios are the names of the scenarios that goals compare.
func GoalScenarios() map[string]bool {
	names := make(map[string]bool)
	for _, g := range Goals() {
		names[g.over.scenario], names[g.under.scenario] = true, true
	}
	return names
}

func unary(payload, callers, relays int) scenario.Scenario {
	load := scenario.Load{Kind: scenario.Unary, Payload: payload, Callers: callers}
	return scenario.Scenario{Load: load, Relays: relays}
}

// more asks that our figure be at least want times another peer's.
func more(text string, m metric, s scenario.Scenario, than string, want float64) Goal {
	return Goal{Text: text, Want: want, metric: m, over: ref{s.Name(), ours}, under: ref{s.Name(), than}}
}

// less asks that another peer's figure be at least want times ours.
func less(text string, m metric, s scenario.Scenario, than string, want float64) Goal {
	return Goal{Text: text, Want: want, metric: m, over: ref{s.Name(), than}, under: ref{s.Name(), ours}}
}

// atMost asks that our figure be at most want times another peer's.
func atMost(text string, m metric, s scenario.Scenario, than string, want float64) Goal {
	g := more(text, m, s, than, want)
	g.AtMost = true
	return g
}

var paths = [...]string{"direct", "one relay", "two relays"}

func throughputGoals() []Goal {
	var goals []Goal
	for relays, want := range []float64{5, 10, 13} {
		text := paths[relays] + ", 64 callers, calls/s: ours against grpc-go's"
		goals = append(goals, more(text, callsPerSecond, unary(64, 64, relays), Baseline, want))
	}
	for relays := 1; relays <= 2; relays++ {
		text := fmt.Sprintf("%s, 64 callers, calls/s: ours against NATS's with as many servers", paths[relays])
		goals = append(goals, more(text, callsPerSecond, unary(64, 64, relays), "nats", 3))
	}
	twoRelays := atMost("two relays, 64 callers, CPU a call: ours against grpc-go's direct",
		cpuPerCall, unary(64, 64, 2), Baseline, 0.4)
	twoRelays.under.scenario = unary(64, 64, 0).Name()
	return append(goals, twoRelays)
}

// gatewayGoals hold the gateway against what stands in its place elsewhere. Three relays of the gateway's
// are the node that has it and two between that one and the origin.
func gatewayGoals() []Goal {
	here := atMost("gRPC through the gateway to its own node, 64 callers, CPU a call: ours against grpc-go's direct",
		cpuPerCall, unary(64, 64, 0), Baseline, 1.3)
	far := atMost("gRPC through the gateway and two relays, 64 callers, CPU a call: ours against grpc-go's through one proxy",
		cpuPerCall, unary(64, 64, 3), Baseline, 1)
	here.over.peer, far.over.peer = "gateway", "gateway"
	far.under.scenario = unary(64, 64, 1).Name()
	return []Goal{here, far}
}

func latencyGoals() []Goal {
	var goals []Goal
	for relays, want := range []float64{1.7, 1.6, 1.9} {
		text := paths[relays] + ", 1 caller, p50: grpc-go's against ours"
		goals = append(goals, less(text, p50, unary(64, 1, relays), Baseline, want))
	}
	return append(goals, atMost("direct, 1 caller, p50: ours against bare TCP's", p50, unary(64, 1, 0), "tcp", 1.15))
}

func loadGoals() []Goal {
	var goals []Goal
	for relays := range 2 {
		paced := scenario.Scenario{
			Load:   scenario.Load{Kind: scenario.Paced, Payload: 64, Rate: scenario.Offered},
			Relays: relays,
		}
		text := fmt.Sprintf("%s, %d calls/s offered, CPU a call: grpc-go's against ours", paths[relays], scenario.Offered)
		goals = append(goals, less(text, cpuPerCall, paced, Baseline, 2))
	}
	goals = append(goals,
		more("direct, 64 KiB, 1 caller, calls/s: ours against grpc-go's", callsPerSecond, unary(64<<10, 1, 0), Baseline, 2),
		more("direct, 64 KiB, 64 callers, calls/s: ours against grpc-go's", callsPerSecond, unary(64<<10, 64, 0), Baseline, 1.8))
	streams := func(n int) scenario.Scenario {
		return scenario.Scenario{Load: scenario.Load{Kind: scenario.PingPong, Payload: 64, Callers: n}}
	}
	beside := scenario.Scenario{
		Load: scenario.Load{Kind: scenario.Beside, Payload: 64, Callers: scenario.BulkCallers, Bulk: 1 << 20},
	}
	return append(goals,
		more("direct, ping-pong on 1 stream: ours against grpc-go's", callsPerSecond, streams(1), Baseline, 1.4),
		more("direct, ping-pong on 64 streams: ours against grpc-go's", callsPerSecond, streams(64), Baseline, 2),
		atMost("direct, 1 caller beside bulk, p50: ours against grpc-go's", p50, beside, Baseline, 1.0/6),
		atMost("direct, 1 caller beside bulk, p99: ours against grpc-go's", p99, beside, Baseline, 1.0/5),
		more("direct, bulk beside 1 caller, calls/s: ours against grpc-go's", bulkPerSecond, beside, Baseline, 1))
}

// withTLS is the goal over TLS, where both peers run over it.
func (g Goal) withTLS() (Goal, bool) {
	if g.over.peer != Baseline && g.under.peer != Baseline {
		return Goal{}, false
	}
	g.Text += ", TLS 1.3"
	g.over.scenario += "/tls"
	g.under.scenario += "/tls"
	if g.AtMost {
		g.Want /= tlsAllowance
	} else {
		g.Want *= tlsAllowance
	}
	return g, true
}

// A Verdict says how a goal stands.
type Verdict struct {
	Goal    string  `json:"goal"`
	Wanted  string  `json:"wanted"`
	Reached float64 `json:"reached,omitempty"`
	Figures string  `json:"figures,omitempty"`
	State   State   `json:"state"`
}

// State is what became of a goal.
type State string

const (
	// Met goals were reached.
	Met State = "met"
	// Missed goals were measured, and not reached.
	Missed State = "missed"
	// Open goals lack a measurement.
	Open State = "not measured"
)

func judge(goals []Goal, find func(scenario, peer string) *Cell) []Verdict {
	verdicts := make([]Verdict, 0, len(goals))
	for _, g := range goals {
		v := Verdict{Goal: g.Text, Wanted: fmt.Sprintf("≥ %.2f", g.Want), State: Open}
		if g.AtMost {
			v.Wanted = fmt.Sprintf("≤ %.2f", g.Want)
		}
		over, under := find(g.over.scenario, g.over.peer), find(g.under.scenario, g.under.peer)
		if over != nil && under != nil {
			a, b := *g.metric.of(&over.Median), *g.metric.of(&under.Median)
			v.Reached = ratio(a, b)
			v.Figures = fmt.Sprintf("%s / %s %s", number(a), number(b), g.metric.name)
			v.State = g.state(v.Reached)
		}
		verdicts = append(verdicts, v)
	}
	return verdicts
}

func (g Goal) state(reached float64) State {
	switch {
	case reached == 0:
		return Open
	case g.AtMost && reached <= g.Want, !g.AtMost && reached >= g.Want:
		return Met
	}
	return Missed
}
