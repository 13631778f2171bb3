package report

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/peer"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

func TestMedianOf(t *testing.T) {
	for _, test := range []struct {
		all  []float64
		want float64
	}{
		{nil, 0},
		{[]float64{7}, 7},
		{[]float64{9, 1}, 5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 100, 1, 2}, 3},
	} {
		before := slices.Clone(test.all)
		if got := medianOf(test.all); got != test.want {
			t.Errorf("medianOf(%v) = %v, want %v", test.all, got, test.want)
		}
		if !slices.Equal(before, test.all) {
			t.Errorf("medianOf reordered %v to %v", before, test.all)
		}
	}
}

func TestMedianTakesEachMetricOnItsOwn(t *testing.T) {
	got := median([]cluster.Sample{
		{Calls: 1, P50: 30, P99: 200, CPU: 7, Allocations: 5, Bulk: 1},
		{Calls: 2, P50: 10, P99: 300, CPU: 8, Allocations: 4, Bulk: 3},
		{Calls: 3, P50: 20, P99: 100, CPU: 9, Allocations: 6, Bulk: 2},
	})
	want := cluster.Sample{Calls: 2, P50: 20, P99: 200, CPU: 8, Allocations: 5, Bulk: 2}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSpread(t *testing.T) {
	if got := spread([]float64{90, 110, 100}); math.Abs(got-0.2) > 1e-9 {
		t.Errorf("spread = %v, want 0.2", got)
	}
	if got := spread([]float64{0, 0}); got != 0 {
		t.Errorf("spread around 0 = %v, want 0", got)
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{
		0: "–", 0.001: "–", 0.5: "0.50", 9.876: "9.88", 54.32: "54.3", 100: "100", 999.6: "1,000", 1234567: "1,234,567",
	} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	cells := map[ref]*Cell{
		{"s", ours}:     {Median: cluster.Sample{Calls: 500, P50: 20}},
		{"s", Baseline}: {Median: cluster.Sample{Calls: 100, P50: 40}},
	}
	s, absent := ref{"s", ours}, ref{"s", "absent"}
	base := ref{"s", Baseline}
	for name, test := range map[string]struct {
		goal    Goal
		reached float64
		state   State
	}{
		"at least, met":     {Goal{Want: 5, metric: callsPerSecond, over: s, under: base}, 5, Met},
		"at least, missed":  {Goal{Want: 5.1, metric: callsPerSecond, over: s, under: base}, 5, Missed},
		"at most, met":      {Goal{Want: 0.5, AtMost: true, metric: p50, over: s, under: base}, 0.5, Met},
		"at most, missed":   {Goal{Want: 0.4, AtMost: true, metric: p50, over: s, under: base}, 0.5, Missed},
		"theirs over ours":  {Goal{Want: 2, metric: p50, over: base, under: s}, 2, Met},
		"peer not measured": {Goal{Want: 2, metric: p50, over: absent, under: s}, 0, Open},
		"metric missing":    {Goal{Want: 2, AtMost: true, metric: p99, over: s, under: base}, 0, Open},
	} {
		v := judge([]Goal{test.goal}, func(scenario, peer string) *Cell { return cells[ref{scenario, peer}] })[0]
		if v.Reached != test.reached || v.State != test.state {
			t.Errorf("%s: reached %v, %s; want %v, %s", name, v.Reached, v.State, test.reached, test.state)
		}
	}
}

// A goal that compares what nobody measures would stay open for ever.
func TestGoalsCompareWhatIsMeasured(t *testing.T) {
	scenarios := make(map[string]scenario.Scenario)
	for _, s := range scenario.All([]int{1, 2}) {
		scenarios[s.Name()] = s
	}
	for _, g := range Goals() {
		for _, r := range []ref{g.over, g.under} {
			s, ok := scenarios[r.scenario]
			if !ok {
				t.Errorf("%s: no scenario %s", g.Text, r.scenario)
				continue
			}
			p, err := peer.Named(r.peer)
			if err != nil {
				t.Errorf("%s: %v", g.Text, err)
			} else if !s.Fits(p.Traits()) {
				t.Errorf("%s: %s does not run %s", g.Text, r.peer, r.scenario)
			}
		}
	}
}

func TestGoalsOverTLS(t *testing.T) {
	goals := make(map[string]Goal)
	for _, g := range Goals() {
		if goals[g.Text].Text != "" {
			t.Errorf("two goals: %s", g.Text)
		}
		goals[g.Text] = g
	}
	for text, want := range map[string]float64{
		"direct, 64 callers, calls/s: ours against grpc-go's, TLS 1.3":             5 * 0.85,
		"direct, 1 caller beside bulk, p99: ours against grpc-go's, TLS 1.3":       0.2 / 0.85,
		"direct, 1 caller, p50: ours against bare TCP's, TLS 1.3":                  0,
		"one relay, 64 callers, calls/s: ours against NATS's with as many servers": 2.5,
	} {
		if got := goals[text].Want; math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: wants %v, not %v", text, got, want)
		}
	}
}

// sample is a report of two peers, two paths and two rounds.
func sample() *Report {
	r := &Report{
		Environment: Environment{CPU: "A Processor", Cores: 2, System: "linux/amd64 6.1", Go: "go1.26.0"},
		Command:     "rpcmesh-bench -rounds 2", Rounds: 2, Window: time.Second,
		Failures: []string{"round 1, unary/64B/64/relay2, nats: given up after 21s"},
	}
	load := scenario.Load{Kind: scenario.Unary, Payload: 64, Callers: 64}
	for round := range 2 {
		faster := float64(round) * 1000
		for relays := range 2 {
			s := scenario.Scenario{Load: load, Relays: relays}
			slower := float64(relays + 1)
			r.Add(s, "grpc-go", cluster.Sample{Calls: (59_500 + faster) / slower, P50: 1000, P99: 9000.4, CPU: 25 * slower, Allocations: 129})
			r.Add(s, "rpcmesh", cluster.Sample{Calls: (359_500 + faster) / slower, P50: 125, P99: 1800, CPU: 5 * slower, Allocations: 9.5, Bytes: 900, GC: 0.12, Voluntary: 1, Involuntary: 0.5})
		}
	}
	r.Peers = []Peer{{Name: "rpcmesh", Note: "every process a node"}, {Name: "grpc-go"}, {Name: "nats", Note: "not in this run"}}
	r.Finish()
	return r
}

func TestWriteText(t *testing.T) {
	const want = "`rpcmesh-bench -rounds 2`: medians of 2 interleaved rounds, 1s each. × is against grpc-go on the same path. CPU\n" +
		`and allocations are summed over all processes. ± is from the lowest to the highest calls/s.

- 2 cores, A Processor, linux/amd64 6.1, go1.26.0
- rpcmesh: every process a node

### Unary, 64 B, 64 callers

| path   | peer    | calls/s |    × | p50 µs |    × | p99 µs |    × | CPU µs/call |    × | allocs/call | B/call |   GC | switches/call |   ± |
| ------ | ------- | ------: | ---: | -----: | ---: | -----: | ---: | ----------: | ---: | ----------: | -----: | ---: | ------------: | --: |
| direct | rpcmesh | 360,000 | 6.00 |    125 | 0.12 |  1,800 | 0.20 |        5.00 | 0.20 |        9.50 |    900 | 12 % |          1.50 | 0 % |
| direct | grpc-go |  60,000 | 1.00 |  1,000 | 1.00 |  9,000 | 1.00 |        25.0 | 1.00 |         129 |      – |  0 % |             – | 2 % |
| relay1 | rpcmesh | 180,000 | 6.00 |    125 | 0.12 |  1,800 | 0.20 |        10.0 | 0.20 |        9.50 |    900 | 12 % |          1.50 | 0 % |
| relay1 | grpc-go |  30,000 | 1.00 |  1,000 | 1.00 |  9,000 | 1.00 |        50.0 | 1.00 |         129 |      – |  0 % |             – | 2 % |

### Goals

| goal                                                   |  wanted | reached |                  figures |        |
| ------------------------------------------------------ | ------: | ------: | -----------------------: | -----: |
| direct, 64 callers, calls/s: ours against grpc-go's    |  ≥ 5.00 |    6.00 | 360,000 / 60,000 calls/s |    met |
| one relay, 64 callers, calls/s: ours against grpc-go's | ≥ 10.00 |    6.00 | 180,000 / 30,000 calls/s | missed |

46 of 48 goals were not measured in this run.

### Failures

- round 1, unary/64B/64/relay2, nats: given up after 21s
`
	var got strings.Builder
	if err := sample().WriteText(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}

func TestWriteJSON(t *testing.T) {
	var out strings.Builder
	if err := sample().WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Cells []struct {
			Scenario string
			Peer     string
			Median   map[string]float64
			Samples  []map[string]float64
		}
		Goals []Verdict
	}
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Cells) != 4 || len(got.Goals) != len(Goals()) {
		t.Fatalf("%d cells and %d goals", len(got.Cells), len(got.Goals))
	}
	c := got.Cells[1]
	if c.Scenario != "unary/64B/64/direct" || c.Peer != "rpcmesh" || len(c.Samples) != 2 || c.Median["calls_per_second"] != 360_000 {
		t.Errorf("the second cell is %+v", c)
	}
}
