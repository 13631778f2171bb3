// Package report turns samples into medians, ratios, tables and verdicts.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// Baseline is the peer that tables compare the others with.
const Baseline = "grpc-go"

// The other peers, by the names that they have in package peer.
const (
	ours      = "rpcmesh"
	gateway   = "gateway"
	connectGo = "connect-go"
	drpc      = "drpc"
	nats      = "nats"
	easyrpc   = "easyrpc"
	tcp       = "tcp"
)

// A Report is what a run of the benchmark found.
type Report struct {
	Environment Environment   `json:"environment"`
	Command     string        `json:"command"`
	Rounds      int           `json:"rounds"`
	Window      time.Duration `json:"window_ns"`
	// Quiet tells of samples taken again, nil where none would have been.
	Quiet *Quiet `json:"quiet,omitempty"`
	// Peers are those measured, in the order of the tables.
	Peers []Peer  `json:"peers"`
	Cells []*Cell `json:"cells"`
	// Notes are what a reader should know of the run, a sentence each.
	Notes []string `json:"notes,omitempty"`
	// Failures are the measurements that gave no sample, a sentence each.
	Failures []string `json:"failures,omitempty"`
	// Verdicts are the goals that the run could judge, and those it could not.
	Verdicts []Verdict `json:"goals"`
}

// Quiet tells what came of keeping samples apart from what others do on the machine.
type Quiet struct {
	// Share of the CPUs is what others may have used during a sample, from 0 to 1.
	Share float64 `json:"share"`
	// Skipped counts the samples that were taken again, Loud those that stand although others used more.
	Skipped int `json:"skipped"`
	Loud    int `json:"loud"`
}

// A Peer is one column of comparison.
type Peer struct {
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

// order is the peers' in tables and charts.
var order = []string{ours, gateway, Baseline, connectGo, drpc, nats, easyrpc, tcp}

// Sort puts peers in the order of the tables.
func Sort(peers []Peer) {
	slices.SortFunc(peers, func(a, b Peer) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
}

// A Cell is one peer under one scenario.
type Cell struct {
	Scenario scenario.Scenario `json:"setup"`
	Name     string            `json:"scenario"`
	Peer     string            `json:"peer"`
	// Median has each metric's median on its own, over the samples.
	Median cluster.Sample `json:"median"`
	// Spread is how far apart the lowest and the highest calls a second are, as a share of the median.
	Spread float64 `json:"spread,omitempty"`
	// Samples has one for each round that succeeded.
	Samples []cluster.Sample `json:"samples,omitempty"`
	// Syscalls and Futexes are what a call takes of them, counted in a round of which nothing else counts. 0 means
	// not counted.
	Syscalls float64 `json:"syscalls_per_call,omitempty"`
	Futexes  float64 `json:"futex_calls_per_call,omitempty"`
}

// Add puts a sample into the cell of that scenario and peer.
func (r *Report) Add(s scenario.Scenario, peer string, sample cluster.Sample) {
	c := r.cell(s.Name(), peer)
	if c == nil {
		c = &Cell{Scenario: s, Name: s.Name(), Peer: peer}
		r.Cells = append(r.Cells, c)
	}
	c.Samples = append(c.Samples, sample)
}

// AddEvents puts the events of a sample in which they were counted into the cell of that scenario and peer.
func (r *Report) AddEvents(s scenario.Scenario, peer string, sample cluster.Sample) {
	if c := r.cell(s.Name(), peer); c != nil {
		c.Syscalls, c.Futexes = sample.Syscalls, sample.Futexes
	}
}

// Finish computes what follows from the samples; medians stay as they are where there are none.
func (r *Report) Finish() {
	for _, c := range r.Cells {
		if len(c.Samples) > 0 {
			c.Median = median(c.Samples)
			c.Spread = spread(values(c.Samples, callsPerSecond))
		}
	}
	r.Verdicts = judge(Goals(), r.cell)
}

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// ReadJSON reads a report as WriteJSON writes it, and judges it by today's goals.
func ReadJSON(in io.Reader) (*Report, error) {
	var r Report
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return nil, fmt.Errorf("reading a report: %w", err)
	}
	r.Finish()
	return &r, nil
}

func (r *Report) cell(scenarioName, peer string) *Cell {
	i := slices.IndexFunc(r.Cells, func(c *Cell) bool { return c.Name == scenarioName && c.Peer == peer })
	if i < 0 {
		return nil
	}
	return r.Cells[i]
}
