// Package report turns samples into medians, ratios, tables and verdicts.
package report

import (
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// Baseline is the peer that tables compare the others with.
const Baseline = "grpc-go"

// A Report is what a run of the benchmark found.
type Report struct {
	Environment Environment   `json:"environment"`
	Command     string        `json:"command"`
	Rounds      int           `json:"rounds"`
	Window      time.Duration `json:"window_ns"`
	Peers       []Peer        `json:"peers"`
	Cells       []*Cell       `json:"cells"`
	// Failures are the measurements that gave no sample, a sentence each.
	Failures []string `json:"failures,omitempty"`
	// Verdicts are the goals that the run could judge, and those it could not.
	Verdicts []Verdict `json:"goals"`
}

// A Peer is one column of comparison.
type Peer struct {
	Name string `json:"name"`
	Note string `json:"note,omitempty"`
}

// A Cell is one peer under one scenario.
type Cell struct {
	Scenario scenario.Scenario `json:"-"`
	Name     string            `json:"scenario"`
	Peer     string            `json:"peer"`
	// Median has each metric's median on its own, over the samples.
	Median cluster.Sample `json:"median"`
	// Samples has one for each round that succeeded.
	Samples []cluster.Sample `json:"samples"`
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

// Finish computes what follows from the samples. Order is the peers' in the tables.
func (r *Report) Finish(order []Peer) {
	r.Peers = order
	for _, c := range r.Cells {
		c.Median = median(c.Samples)
	}
	r.Verdicts = judge(Goals(), r.cell)
}

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func (r *Report) cell(scenarioName, peer string) *Cell {
	i := slices.IndexFunc(r.Cells, func(c *Cell) bool { return c.Name == scenarioName && c.Peer == peer })
	if i < 0 {
		return nil
	}
	return r.Cells[i]
}
