package report

import (
	"os"
	"path/filepath"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/chart"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// plot is a chart of one metric.
type plot struct {
	file, title, subtitle string
	metric                metric
	groups                []plotGroup
	without               string // a peer whose bars would leave none of the others' to be seen
}

// plotGroup is one scenario of a plot.
type plotGroup struct {
	name     string
	scenario scenario.Scenario
	// factor turns the metric into the plot's unit; 0 stands for 1.
	factor float64
}

func plots() []plot {
	const mib = 1.0 / 16 // of 64 KiB
	beside := "1 MiB, 8 callers, beside a caller of 64 bytes"
	return []plot{
		{
			file: "callers64.svg", title: "Calls a second of 64 callers",
			subtitle: "64 bytes each way, cleartext; longer is better",
			metric:   callsPerSecond, groups: byPath(64),
		},
		{
			file: "cpu64.svg", title: "CPU a call of 64 callers",
			subtitle: "µs, all processes together; 64 bytes each way, cleartext; shorter is better",
			metric:   cpuPerCall, groups: byPath(64),
			without: easyrpc,
		},
		{
			file: "caller1.svg", title: "Time of a call of 1 caller",
			subtitle: "p50 in µs; 64 bytes each way, cleartext; shorter is better",
			metric:   p50, groups: byPath(1),
		},
		{
			file: "callers1024.svg", title: "Calls a second of 1,024 callers",
			subtitle: "64 bytes each way, cleartext; longer is better",
			metric:   callsPerSecond, groups: byPath(1024),
		},
		{
			file: "streams.svg", title: "Messages a second on streams",
			subtitle: "64 bytes back and forth, direct, cleartext; longer is better",
			metric:   callsPerSecond, groups: []plotGroup{{"1 stream", streams(1), 0}, {"64 streams", streams(64), 0}},
		},
		{
			file: "long64k.svg", title: "Messages of 64 KiB",
			subtitle: "MiB a second each way, direct, cleartext; longer is better",
			metric:   callsPerSecond, groups: []plotGroup{{"1 caller", unary(64<<10, 1, 0), mib}, {"64 callers", unary(64<<10, 64, 0), mib}},
		},
		{
			file: "bulk.svg", title: "Messages of 1 MiB",
			subtitle: "MiB a second each way, direct, cleartext; longer is better",
			metric:   bulkPerSecond, groups: []plotGroup{{beside, besideBulk(), 0}},
		},
	}
}

func byPath(callers int) []plotGroup {
	var groups []plotGroup
	for relays, path := range paths {
		groups = append(groups, plotGroup{path, unary(64, callers, relays), 0})
	}
	return groups
}

// WriteCharts draws, into a folder that is made if need be, each chart of which something was measured.
func (r *Report) WriteCharts(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // charts are no secret
		return err
	}
	for _, p := range plots() {
		c := r.chart(p)
		if len(c.Groups) == 0 {
			continue
		}
		f, err := os.Create(filepath.Join(dir, p.file))
		if err != nil {
			return err
		}
		if err := c.Write(f); err != nil {
			f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Report) chart(p plot) chart.Chart {
	c := chart.Chart{Title: p.title, Subtitle: p.subtitle}
	for _, g := range p.groups {
		group := chart.Group{Name: g.name}
		for _, peer := range r.Peers {
			cell := r.cell(g.scenario.Name(), peer.Name)
			if cell == nil || peer.Name == p.without {
				continue
			}
			amount := *p.metric.of(&cell.Median)
			if amount == 0 {
				continue
			}
			if g.factor != 0 {
				amount *= g.factor
			}
			group.Bars = append(group.Bars, chart.Bar{
				Label: peer.title(), Amount: amount, Text: number(amount), Strong: peer.Name == ours,
			})
		}
		if len(group.Bars) > 0 {
			c.Groups = append(c.Groups, group)
		}
	}
	return c
}

// title is the peer's name as a reader knows it.
func (p Peer) title() string {
	switch p.Name {
	case gateway:
		return "rpcmesh, gRPC"
	case nats:
		return "NATS"
	case easyrpc:
		return "EasyRpc"
	case tcp:
		return "bare TCP"
	}
	return p.Name
}
