package report

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/scenario"
)

// WriteText writes the report as Markdown that also reads well on a terminal.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	r.head(&b)
	for title, cells := range r.titles() {
		fmt.Fprintf(&b, "\n### %s\n\n", title)
		counted := slices.ContainsFunc(cells, func(c *Cell) bool { return c.Syscalls > 0 })
		rows := [][]string{header(cells[0].Scenario.Kind, counted)}
		for _, c := range cells {
			rows = append(rows, r.row(c, counted))
		}
		table(&b, rows, 2)
	}
	r.verdicts(&b)
	if len(r.Failures) > 0 {
		b.WriteString("\n### Failures\n\n")
		for _, f := range r.Failures {
			fmt.Fprintf(&b, "- %s\n", f)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) head(b *strings.Builder) {
	times := "one round"
	if r.Rounds > 1 {
		times = fmt.Sprintf("medians of %d interleaved rounds", r.Rounds)
	}
	fmt.Fprintf(b, "`%s`: %s, %v each. × is against %s on the same path. CPU\n", r.Command, times, r.Window, Baseline)
	b.WriteString("and allocations are summed over all processes. ± is from the lowest to the highest calls/s.\n\n")
	for _, line := range r.Environment.lines() {
		fmt.Fprintf(b, "- %s\n", line)
	}
	for _, p := range r.Peers {
		if p.Note != "" && slices.ContainsFunc(r.Cells, func(c *Cell) bool { return c.Peer == p.Name }) {
			fmt.Fprintf(b, "- %s: %s\n", p.Name, p.Note)
		}
	}
	for _, note := range r.remarks() {
		fmt.Fprintf(b, "- %s\n", note)
	}
}

// remarks are the notes, and what came of keeping the samples apart from others' work.
func (r *Report) remarks() []string {
	remarks := slices.Clone(r.Notes)
	if q := r.Quiet; q != nil {
		remarks = append(remarks, fmt.Sprintf("samples during which other processes used more than %s of the CPUs were taken again: %d were skipped so; %d stand although others used more each time",
			percent(q.Share), q.Skipped, q.Loud))
	}
	return remarks
}

// titles yields the tables in the order of their first cells; in each, cells stand by path, then by peer.
func (r *Report) titles() func(func(string, []*Cell) bool) {
	var order []string
	tables := make(map[string][]*Cell)
	for _, c := range r.Cells {
		title := c.Scenario.Title()
		if tables[title] == nil {
			order = append(order, title)
		}
		tables[title] = append(tables[title], c)
	}
	place := func(peer string) int {
		return slices.IndexFunc(r.Peers, func(p Peer) bool { return p.Name == peer })
	}
	return func(yield func(string, []*Cell) bool) {
		for _, title := range order {
			cells := tables[title]
			slices.SortStableFunc(cells, func(a, b *Cell) int {
				if a.Scenario.Relays != b.Scenario.Relays {
					return a.Scenario.Relays - b.Scenario.Relays
				}
				return place(a.Peer) - place(b.Peer)
			})
			if !yield(title, cells) {
				return
			}
		}
	}
}

// switches is of both kinds: a thread that waits, and one that is preempted.
const switches = "switches/call"

func header(k scenario.Kind, counted bool) []string {
	row := []string{"path", "peer"}
	for _, m := range columns(k) {
		row = append(row, m.name, "×")
	}
	if k == scenario.Throughput || k == scenario.Beside {
		row = append(row, "MB/s")
	}
	row = append(row, allocations.name, allocatedBytes.name, gcShare.name, switches)
	if k == scenario.Paced {
		row = append(row, serverCPU.name)
	}
	if counted {
		row = append(row, "syscalls/call", "futexes/call")
	}
	return append(row, "±")
}

// columns are the metrics that are compared with the baseline.
func columns(k scenario.Kind) []metric {
	switch k {
	case scenario.Throughput:
		return []metric{callsPerSecond, cpuPerCall}
	case scenario.Beside:
		return []metric{p50, p99, bulkPerSecond}
	default:
		return []metric{callsPerSecond, p50, p99, cpuPerCall}
	}
}

func (r *Report) row(c *Cell, counted bool) []string {
	row := []string{c.Scenario.Path(), c.Peer}
	base := r.cell(c.Name, Baseline)
	for _, m := range columns(c.Scenario.Kind) {
		value := *m.of(&c.Median)
		row = append(row, number(value))
		if base == nil {
			row = append(row, "")
		} else {
			row = append(row, times(ratio(value, *m.of(&base.Median))))
		}
	}
	switch c.Scenario.Kind {
	case scenario.Throughput:
		row = append(row, number(c.Median.Calls*float64(c.Scenario.Payload)/1e6))
	case scenario.Beside:
		row = append(row, number(c.Median.Bulk*float64(c.Scenario.Bulk)/1e6))
	}
	return append(row, c.costs(counted)...)
}

// costs are the columns that are not compared with the baseline.
func (c *Cell) costs(counted bool) []string {
	m := &c.Median
	row := []string{number(m.Allocations), number(m.Bytes), percent(m.GC), number(m.Voluntary + m.Involuntary)}
	if c.Scenario.Kind == scenario.Paced {
		row = append(row, number(m.Server))
	}
	if counted {
		row = append(row, number(c.Syscalls), number(c.Futexes))
	}
	return append(row, percent(c.Spread))
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func (r *Report) verdicts(b *strings.Builder) {
	rows := [][]string{{"goal", "wanted", "reached", "figures", ""}}
	for _, v := range r.Verdicts {
		if v.State == Open {
			continue
		}
		rows = append(rows, []string{v.Goal, v.Wanted, times(v.Reached), v.Figures, string(v.State)})
	}
	b.WriteString("\n### Goals\n\n")
	if len(rows) > 1 {
		table(b, rows, 1)
		b.WriteByte('\n')
	}
	if open := len(r.Verdicts) - len(rows) + 1; open > 0 {
		fmt.Fprintf(b, "%d of %d goals were not measured in this run.\n", open, len(r.Verdicts))
	}
}

// number prints three significant digits or more, and thousands apart.
func number(v float64) string {
	switch {
	case v < 0.005:
		return "–"
	case v < 10:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case v < 100:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return grouped(strconv.FormatFloat(math.Round(v), 'f', 0, 64))
}

// grouped sets thousands apart.
func grouped(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

func times(v float64) string {
	if v == 0 {
		return "–"
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// table writes rows, the first a header, with the first left columns flush left and all others right.
func table(b *strings.Builder, rows [][]string, left int) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell), 2)
		}
	}
	for i, row := range rows {
		for j, cell := range row {
			pad := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell))
			if j >= left {
				fmt.Fprintf(b, "| %s%s ", pad, cell)
			} else {
				fmt.Fprintf(b, "| %s%s ", cell, pad)
			}
		}
		b.WriteString("|\n")
		if i > 0 {
			continue
		}
		for j, width := range widths {
			dashes := strings.Repeat("-", width)
			if j >= left {
				dashes = dashes[1:] + ":"
			}
			fmt.Fprintf(b, "| %s ", dashes)
		}
		b.WriteString("|\n")
	}
}
