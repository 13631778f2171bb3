package report

import "fmt"

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
