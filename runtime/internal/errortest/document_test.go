package errortest

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

//go:generate go test -run=TestDocument -update

var update = flag.Bool("update", false, "write docs/errors.md anew")

// TestDocument compares docs/errors.md with the table.
func TestDocument(t *testing.T) {
	const path = "../../../docs/errors.md"
	if *update {
		if err := os.WriteFile(path, []byte(Document()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(b), Document()); diff != "" {
		t.Errorf("if the table is right, run go generate ./runtime/internal/errortest (-checked in, +generated):\n%s", diff)
	}
}

// TestRows holds the rows to saying what the page needs.
func TestRows(t *testing.T) {
	whens := map[string]bool{}
	for _, g := range Groups {
		ids := map[string]bool{}
		for i := range g.Rows {
			r := &g.Rows[i]
			if r.ID == "" || r.When == "" || r.Do == "" || r.Code == "" && r.Log == "" || strings.Contains(r.Text+r.Log, "`") {
				t.Errorf("%s: %q lacks something, or has a backquote", g.Title, r.ID)
			}
			if ids[r.ID] || whens[r.When] {
				t.Errorf("%s: %q is there twice", g.Title, r.ID)
			}
			ids[r.ID], whens[r.When] = true, true
			if r.Text != "" && !tells(r.Text) {
				t.Errorf("%s: the text of %q does not say what to do: %s", g.Title, r.ID, r.Text)
			}
		}
	}
}

// tells reports whether a text says what to do: by a verb, or by what a field must be.
func tells(text string) bool {
	for _, hint := range []string{
		"set ", "give ", "must be", "must have", "must not", "may have", "use ", "call ", "start ", "wait", "try again", "looks like",
		"log", "mount ", "make ", "name it", "ask for", "link to", "link by", "let ", "see ", "put ", "renew", "correct ", "raise ",
	} {
		if strings.Contains(strings.ToLower(text), hint) {
			return true
		}
	}
	return false
}
