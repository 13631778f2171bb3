package errortest

import (
	"regexp"
	"strings"
	"testing"
)

// Check brings about each row of a group by its ID, and compares what comes of it. Each row has one trigger, and
// each trigger a row.
func Check(t *testing.T, g *Group, triggers map[string]func(t *testing.T) Outcome) {
	t.Helper()
	known := map[string]bool{}
	for i := range g.Rows {
		row := &g.Rows[i]
		known[row.ID] = true
		trigger := triggers[row.ID]
		if trigger == nil {
			t.Errorf("nothing brings about %q of %q", row.ID, g.Title)
			continue
		}
		t.Run(row.ID, func(t *testing.T) { compare(t, row, trigger(t)) })
	}
	for id := range triggers {
		if !known[id] {
			t.Errorf("%q has no row in %q", id, g.Title)
		}
	}
}

// CheckOne compares what came of one row of a group, for a test that can't bring about all of them by [Check].
func CheckOne(t *testing.T, g *Group, id string, got Outcome) {
	t.Helper()
	for i := range g.Rows {
		if g.Rows[i].ID == id {
			compare(t, &g.Rows[i], got)
			return
		}
	}
	t.Errorf("%q has no row in %q", id, g.Title)
}

func compare(t *testing.T, row *Row, got Outcome) {
	t.Helper()
	if got.Code != row.Code {
		t.Errorf("%s: its code is %q, want %q", row.ID, got.Code, row.Code)
	}
	if !pattern(row.Text, true).MatchString(got.Text) {
		t.Errorf("%s: it says\n\t%s\nwant\n\t%s", row.ID, got.Text, row.Text)
	}
	switch {
	case row.Log == "" && got.Log != "":
		t.Errorf("%s: it logs\n\t%s\nwant nothing", row.ID, got.Log)
	case !pattern(row.Log, false).MatchString(unquoted(got.Log)):
		t.Errorf("%s: it logs\n\t%s\nwant\n\t%s", row.ID, unquoted(got.Log), row.Log)
	}
}

// unquoted is a log without the quotes of slog's text format, in which people do not read it.
func unquoted(log string) string {
	return strings.NewReplacer(`\"`, `"`, `"`, "").Replace(log)
}

// pattern matches a text with "…" for anything, whole or as a part.
func pattern(text string, whole bool) *regexp.Regexp {
	parts := strings.Split(text, "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	expr := "(?s)" + strings.Join(parts, ".*")
	if whole {
		expr = "(?s)^" + strings.Join(parts, ".*") + "$"
	}
	return regexp.MustCompile(expr)
}
