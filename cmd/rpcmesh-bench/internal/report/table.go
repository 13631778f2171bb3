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
		rows := [][]string{header(cells[0].Scenario.Kind)}
		for _, c := range cells {
			rows = append(rows, r.row(c))
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

func header(k scenario.Kind) []string {
	row := []string{"path", "peer"}
	for _, m := range columns(k) {
		row = append(row, m.name, "×")
	}
	if k == scenario.Throughput || k == scenario.Beside {
		row = append(row, "MB/s")
	}
	return append(row, allocations.name, "±")
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

func (r *Report) row(c *Cell) []string {
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
	wide := "–"
	if len(c.Samples) > 1 {
		wide = fmt.Sprintf("%.0f %%", 100*spread(values(c.Samples, callsPerSecond)))
	}
	return append(row, number(c.Median.Allocations), wide)
}

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
	digits := strconv.FormatFloat(math.Round(v), 'f', 0, 64)
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
