package report

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// line is a row of a page's table: a scenario, and what of each peer's cell stands in it.
type line struct {
	label    string
	scenario scenario.Scenario
	show     func(*Cell) string
}

// parts are the generated parts of the documentation, by the names that their markers give.
func (r *Report) parts() map[string]string {
	parts := map[string]string{
		"summary":     r.matrix([]string{ours, Baseline, nats, tcp}, summaryLines()),
		"environment": r.environment(),
		"calls":       r.matrix([]string{ours, Baseline, drpc, nats, easyrpc, tcp}, callLines()),
		"latency":     r.matrix([]string{ours, Baseline, drpc, nats, easyrpc, tcp}, loneLines()),
		"streams":     r.matrix([]string{ours, Baseline, drpc, tcp}, streamLines()),
		"long":        r.matrix([]string{ours, gateway, Baseline, drpc, tcp}, longLines()),
		"extremes":    r.matrix([]string{ours, Baseline, drpc, tcp}, extremeLines()),
		"gateway":     r.matrix([]string{gateway, Baseline}, gatewayLines()),
		"tls":         r.matrix([]string{ours, gateway, Baseline}, tlsLines()),
		"costs":       r.costs(),
		"goals":       r.goals(),
	}
	for _, p := range plots() {
		parts["chart_"+strings.TrimSuffix(p.file, ".svg")] = r.image(p)
	}
	return parts
}

// image is how the page shows a plot, if there is anything to plot.
func (r *Report) image(p plot) string {
	if len(r.chart(p).Groups) == 0 {
		return ""
	}
	return fmt.Sprintf("![%s](charts/%s)\n", p.title, p.file)
}

func rate(c *Cell) string       { return number(c.Median.Calls) }
func rateAndCPU(c *Cell) string { return number(c.Median.Calls) + " (" + number(c.Median.CPU) + ")" }

func lone(c *Cell) string {
	return fmt.Sprintf("%s / %s (%s)", number(c.Median.P50), number(c.Median.P99), number(c.Median.CPU))
}

func besides(c *Cell) string { return number(c.Median.P50/1000) + " / " + number(c.Median.P99/1000) }

func summaryLines() []line {
	return []line{
		{"64 callers, direct: calls/s (CPU µs a call, all processes)", unary(64, 64, 0), rateAndCPU},
		{"... over one relay", unary(64, 64, 1), rateAndCPU},
		{"... over two relays", unary(64, 64, 2), rateAndCPU},
		{"1 caller, direct: p50, µs", unary(64, 1, 0), func(c *Cell) string { return number(c.Median.P50) }},
	}
}

func callLines() []line {
	var lines []line
	for _, callers := range []int{64, 1024} {
		for relays, path := range paths {
			lines = append(lines, line{counted(callers) + ", " + path, unary(64, callers, relays), rateAndCPU})
		}
	}
	return lines
}

func loneLines() []line {
	var lines []line
	for relays, path := range paths {
		lines = append(lines, line{"1 caller, " + path, unary(64, 1, relays), lone})
	}
	return lines
}

func streamLines() []line {
	return []line{
		{"1 stream", streams(1), rateAndCPU},
		{"64 streams", streams(64), rateAndCPU},
	}
}

func longLines() []line {
	return []line{
		{"64 KiB, 1 caller: calls/s", unary(64<<10, 1, 0), rate},
		{"64 KiB, 64 callers: calls/s", unary(64<<10, 64, 0), rate},
		{"1 MiB, 8 callers: calls/s", unary(1<<20, scenario.BulkCallers, 0), rate},
		{"1 MiB, 8 callers, beside 1 of 64 bytes: calls/s", besideBulk(), func(c *Cell) string { return number(c.Median.Bulk) }},
		{"... and the 1 caller's p50 / p99, ms", besideBulk(), besides},
	}
}

func extremeLines() []line {
	links := scenario.Scenario{Load: scenario.Load{
		Kind: scenario.Paced, Payload: 64, Rate: scenario.Links, Links: scenario.Links,
	}}
	crowd := unary(64, scenario.Crowd, 0)
	crowd.Links = scenario.CrowdLinks
	lines := []line{
		{
			"1,000 links with a call a second each: the hub's CPU, µs a call", links,
			func(c *Cell) string { return number(c.Median.Server) },
		},
		{"100,000 callers on two links: calls/s (CPU)", crowd, rateAndCPU},
		{"1 caller, all on one CPU: calls/s (CPU)", onOneCPU(1), rateAndCPU},
		{"64 callers, all on one CPU: calls/s (CPU)", onOneCPU(64), rateAndCPU},
	}
	for _, procs := range []int{1, 2, 4, 8, 16, 32, 64} {
		s := unary(64, 64, 0)
		s.Procs = procs
		lines = append(lines, line{fmt.Sprintf("64 callers, GOMAXPROCS %d: calls/s (CPU)", procs), s, rateAndCPU})
	}
	return lines
}

func gatewayLines() []line {
	return []line{
		{"one node with a gateway, or one server", unary(64, 64, 0), rateAndCPU},
		{"one more in between", unary(64, 64, 1), rateAndCPU},
		{"two more in between", unary(64, 64, 2), rateAndCPU},
		{"three more in between", unary(64, 64, 3), rateAndCPU},
	}
}

func tlsLines() []line {
	var lines []line
	for _, callers := range []int{64, 1} {
		for relays, path := range paths {
			s := unary(64, callers, relays)
			s.TLS = true
			lines = append(lines, line{counted(callers) + ", " + path, s, rateAndCPU})
		}
	}
	return lines
}

func counted(callers int) string {
	if callers == 1 {
		return "1 caller"
	}
	return grouped(strconv.Itoa(callers)) + " callers"
}

// matrix is a table with a column for each of the peers that were measured, and a row for each line of which
// anything was.
func (r *Report) matrix(peers []string, lines []line) string {
	var measured []Peer
	for _, name := range peers {
		for _, p := range r.Peers {
			if p.Name == name {
				measured = append(measured, p)
			}
		}
	}
	head := []string{""}
	for _, p := range measured {
		head = append(head, p.title())
	}
	rows := [][]string{head}
	for _, l := range lines {
		row, found := []string{l.label}, false
		for _, p := range measured {
			figure := ""
			if c := r.cell(l.scenario.Name(), p.Name); c != nil {
				figure, found = l.show(c), true
			}
			row = append(row, figure)
		}
		if found {
			rows = append(rows, row)
		}
	}
	return tableOf(rows, 1)
}

// tableOf is a table, or says that it would have but a header.
func tableOf(rows [][]string, left int) string {
	if len(rows) == 1 {
		return "This run did not measure it.\n"
	}
	var b strings.Builder
	table(&b, rows, left)
	return b.String()
}

// costs are what a call takes of what is counted, not timed.
func (r *Report) costs() string {
	rows := [][]string{{"", "", "allocations", "bytes", "GC", "waits", "preemptions", "system calls", "futex calls"}}
	for _, s := range []scenario.Scenario{unary(64, 64, 0), unary(64, 64, 2), unary(64, 1, 0)} {
		for _, p := range r.Peers {
			c := r.cell(s.Name(), p.Name)
			if c == nil || c.Median.Bytes == 0 { // not counted, as in a program that is not Go
				continue
			}
			m := &c.Median
			rows = append(rows, []string{
				counted(s.Callers) + ", " + paths[s.Relays], p.title(), number(m.Allocations), number(m.Bytes), percent(m.GC),
				number(m.Voluntary), number(m.Involuntary), number(c.Syscalls), number(c.Futexes),
			})
		}
	}
	return tableOf(rows, 2)
}

func (r *Report) goals() string {
	rows := [][]string{{"ratio of medians", "goal", "reached", "figures"}}
	met := 0
	for _, v := range r.Verdicts {
		if v.State == Open {
			continue
		}
		reached := times(v.Reached)
		if v.State == Met {
			reached = "**" + reached + "**"
			met++
		}
		rows = append(rows, []string{v.Goal, v.Wanted, reached, v.Figures})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "Of %d goals that this run judges, %d are reached, in bold.\n\n", len(rows)-1, met)
	table(&b, rows, 1)
	return b.String()
}

func (r *Report) environment() string {
	var b strings.Builder
	fmt.Fprintf(&b, "- `%s`: medians of %d interleaved rounds, %v each\n", r.Command, r.Rounds, r.Window)
	for _, l := range r.Environment.lines() {
		fmt.Fprintf(&b, "- %s\n", l)
	}
	for _, remark := range r.remarks() {
		fmt.Fprintf(&b, "- %s\n", remark)
	}
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "- failed: %s\n", f)
	}
	return b.String()
}
