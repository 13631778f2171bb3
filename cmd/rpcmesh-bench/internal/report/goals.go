package report

import (
	"fmt"
	"slices"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

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
	goals := slices.Concat(crowdGoals(), loneGoals(), offeredGoals(), longGoals(), streamGoals(), besideGoals())
	for _, g := range goals {
		if encrypted, ok := g.withTLS(); ok {
			goals = append(goals, encrypted)
		}
	}
	return slices.Concat(goals, manyGoals(), peerGoals(), gatewayGoals())
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

func streams(n int) scenario.Scenario {
	return scenario.Scenario{Load: scenario.Load{Kind: scenario.PingPong, Payload: 64, Callers: n}}
}

func besideBulk() scenario.Scenario {
	load := scenario.Load{Kind: scenario.Beside, Payload: 64, Callers: scenario.BulkCallers, Bulk: 1 << 20}
	return scenario.Scenario{Load: load}
}

func onOneCPU(callers int) scenario.Scenario {
	s := unary(64, callers, 0)
	s.OneCPU = true
	return s
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

// crowdGoals are of 64 callers.
func crowdGoals() []Goal {
	var goals []Goal
	for relays, want := range []float64{5, 10, 13} {
		text := paths[relays] + ", 64 callers, calls/s: ours against grpc-go's"
		goals = append(goals, more(text, callsPerSecond, unary(64, 64, relays), Baseline, want))
	}
	twoRelays := atMost("two relays, 64 callers, CPU a call: ours against grpc-go's direct",
		cpuPerCall, unary(64, 64, 2), Baseline, 0.3)
	twoRelays.under.scenario = unary(64, 64, 0).Name()
	return append(goals, twoRelays)
}

// manyGoals are of 1,024 callers.
func manyGoals() []Goal {
	var goals []Goal
	for relays, want := range []float64{8, 20, 25} {
		text := paths[relays] + ", 1,024 callers, calls/s: ours against grpc-go's"
		goals = append(goals, more(text, callsPerSecond, unary(64, 1024, relays), Baseline, want))
	}
	return goals
}

// loneGoals are of one caller.
func loneGoals() []Goal {
	var goals []Goal
	for relays, want := range []float64{2, 3, 3.5} {
		text := paths[relays] + ", 1 caller, p50: grpc-go's against ours"
		goals = append(goals, less(text, p50, unary(64, 1, relays), Baseline, want))
	}
	return append(goals,
		atMost("direct, 1 caller, CPU a call: ours against grpc-go's", cpuPerCall, unary(64, 1, 0), Baseline, 0.35))
}

func offeredGoals() []Goal {
	var goals []Goal
	for relays := range 2 {
		paced := scenario.Scenario{
			Load:   scenario.Load{Kind: scenario.Paced, Payload: 64, Rate: scenario.Offered},
			Relays: relays,
		}
		text := fmt.Sprintf("%s, %d calls/s offered, CPU a call: grpc-go's against ours", paths[relays], scenario.Offered)
		goals = append(goals, less(text, cpuPerCall, paced, Baseline, 2))
	}
	return goals
}

func longGoals() []Goal {
	return []Goal{
		more("direct, 64 KiB, 1 caller, calls/s: ours against grpc-go's", callsPerSecond, unary(64<<10, 1, 0), Baseline, 2),
		more("direct, 64 KiB, 64 callers, calls/s: ours against grpc-go's", callsPerSecond, unary(64<<10, 64, 0), Baseline, 1.8),
	}
}

func streamGoals() []Goal {
	return []Goal{
		more("direct, ping-pong on 1 stream: ours against grpc-go's", callsPerSecond, streams(1), Baseline, 1.6),
		more("direct, ping-pong on 64 streams: ours against grpc-go's", callsPerSecond, streams(64), Baseline, 2),
	}
}

func besideGoals() []Goal {
	return []Goal{
		atMost("direct, 1 caller beside bulk, p50: ours against grpc-go's", p50, besideBulk(), Baseline, 1.0/6),
		atMost("direct, 1 caller beside bulk, p99: ours against grpc-go's", p99, besideBulk(), Baseline, 1.0/5),
		more("direct, bulk beside 1 caller, calls/s: ours against grpc-go's", bulkPerSecond, besideBulk(), Baseline, 1),
	}
}

// peerGoals hold us against the others where they are good.
func peerGoals() []Goal {
	var goals []Goal
	for relays := 1; relays <= 2; relays++ {
		text := fmt.Sprintf("%s, 64 callers, calls/s: ours against NATS's with as many servers", paths[relays])
		goals = append(goals, more(text, callsPerSecond, unary(64, 64, relays), nats, 2.5))
	}
	return append(goals,
		more("direct, ping-pong on 1 stream: ours against drpc's", callsPerSecond, streams(1), drpc, 1.2),
		more("direct, 64 KiB, 64 callers, calls/s: ours against drpc's", callsPerSecond, unary(64<<10, 64, 0), drpc, 1),
		more("direct, 1 MiB, 8 callers, calls/s: ours against drpc's", callsPerSecond, unary(1<<20, scenario.BulkCallers, 0), drpc, 1),
		more("direct, bulk beside 1 caller, calls/s: ours against drpc's", bulkPerSecond, besideBulk(), drpc, 1),
		atMost("direct, 1 caller, p50: ours against bare TCP's", p50, unary(64, 1, 0), tcp, 1.15),
		atMost("direct, 1 caller, all processes on one CPU, CPU a call: ours against a TCP ping-pong's", cpuPerCall, onOneCPU(1), tcp, 1.5),
	)
}

// gatewayGoals hold the gateway against what stands in its place elsewhere. Three relays of the gateway's
// are the node that has it and two between that one and the origin.
func gatewayGoals() []Goal {
	here := atMost("gRPC through the gateway to its own node, 64 callers, CPU a call: ours against grpc-go's direct",
		cpuPerCall, unary(64, 64, 0), Baseline, 1.3)
	far := atMost("gRPC through the gateway and two relays, 64 callers, CPU a call: ours against grpc-go's through one proxy",
		cpuPerCall, unary(64, 64, 3), Baseline, 1)
	bulk := more("gRPC through the gateway to its own node, 1 MiB, 8 callers, calls/s: ours against grpc-go's direct",
		callsPerSecond, unary(1<<20, scenario.BulkCallers, 0), Baseline, 1)
	here.over.peer, far.over.peer, bulk.over.peer = gateway, gateway, gateway
	far.under.scenario = unary(64, 64, 1).Name()
	return []Goal{here, far, bulk}
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
