// Package exampletest runs examples and compares what they write with what is checked in.
package exampletest

import (
	"flag"
	"os"
	"regexp"
	"strings"
)

var update = flag.Bool("update", false, "write the accounts of examples anew instead of comparing with them")

// T is what this package needs of a *testing.T.
type T interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(f func())
}

// CheckAccount compares got with the file at path, but for ports and times of day.
func CheckAccount(t T, path, got string) {
	t.Helper()
	got = mask(got)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatalf("%v", err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run with -update to write it", err)
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		if g, w := line(gotLines, i), line(wantLines, i); g != w {
			t.Fatalf("%s, line %d (run with -update if what is new is right):\n got: %s\nwant: %s\n\nall of it:\n%s", path, i+1, g, w, got)
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
	return times.ReplaceAllString(ports.ReplaceAllString(s, "127.0.0.1:PORT"), "hh:mm:ss")
}
