// Package exampletest runs examples and compares what they write with their READMEs.
package exampletest

import (
	"flag"
	"os"
	"regexp"
	"strings"
)

var update = flag.Bool("update", false, "write the account into README.md instead of comparing it")

// T is what this package needs of a *testing.T.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// CheckAccount compares got, but for ports and times of day, with the account in README.md, which is its
// block of text.
func CheckAccount(t T, got string) {
	t.Helper()
	const path = "README.md"
	readme, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v", err)
	}
	before, rest, found := strings.Cut(string(readme), "```text\n")
	want, after, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatalf("%s has no block of text for the account", path)
	}
	got = strings.TrimPrefix(mask(got), "\n")
	if *update {
		if err := os.WriteFile(path, []byte(before+"```text\n"+got+"```\n"+after), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		if g, w := line(gotLines, i), line(wantLines, i); g != w {
			t.Fatalf("%s differs in line %d of the account (run with -update if what is new is right):\n got: %s\nwant: %s\n\nall of it:\n%s",
				path, i+1, g, w, got)
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(end)"
}

var (
	ports = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	times = regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`)
)

// mask replaces what differs from run to run by something of about the same width.
func mask(s string) string {
	return times.ReplaceAllString(ports.ReplaceAllString(s, "127.0.0.1:NNNNN"), "hh:mm:ss")
}
