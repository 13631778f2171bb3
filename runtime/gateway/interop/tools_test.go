package interop

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds what a client may take, its start included.
const patience = time.Minute

// need returns the path of a program. Where it is missing the test is skipped, unless the environment
// variable RPCMESH_INTEROP is "all": then it fails.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, program+" is not installed")
	}
	return path
}

// missing skips the test for lack of a tool, or fails it where all are to be there.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("RPCMESH_INTEROP") == "all" {
		t.Fatal(what)
	}
	t.Skip("NOT TESTED: " + what)
}

// installed returns a folder that .ci/steps/clients installs packages in.
func installed(t *testing.T, folder string) string {
	t.Helper()
	path, err := filepath.Abs(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		missing(t, folder+" is not there: bash .ci/run clients installs it")
	}
	return path
}

// run runs a program to its end and returns what it wrote to its standard output. Lines of input, if
// there are any, become its standard input.
func run(t *testing.T, ok bool, input []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Stdin = strings.NewReader(strings.Join(input, "\n"))
	err := cmd.Run()
	if (err == nil) != ok {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, &stdout, &stderr)
	}
	if !ok {
		return stdout.String() + stderr.String()
	}
	return stdout.String()
}

// wantText fails the test unless text has each of parts.
func wantText(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
}
