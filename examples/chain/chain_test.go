package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"go.uber.org/goleak"

	"github.com/rpcmesh/rpcmesh/examples/internal/exampletest"
)

func TestMain(m *testing.M) {
	if os.Getenv("RUN_EXAMPLE") != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestRun(t *testing.T) {
	var account bytes.Buffer
	if err := command(t.Context(), nil, &account); err != nil {
		t.Fatalf("%v, after\n%s", err, &account)
	}
	exampletest.CheckAccount(t, account.String())
}

// TestServe runs the nodes one by one, as in terminals of their own, stops one in the middle and starts
// it again.
func TestServe(t *testing.T) {
	a := exampletest.Start(t, command, "-serve", "a", "-listen", "127.0.0.1:0")
	b := exampletest.Start(t, command, "-serve", "b", "-listen", "127.0.0.1:0", "-link", url(a))
	bURL := url(b)
	c := exampletest.Start(t, command, "-serve", "C", "-listen", "127.0.0.1:0", "-link", bURL)
	for _, call := range []string{"A.Shout(", "B.Spell(", "B.Divide(", "C.Average("} {
		a.WaitFor(0, "+ "+call)
		b.WaitFor(0, "+ "+call)
		c.WaitFor(0, "+ "+call)
	}
	c.WaitFor(0, `A.Shout("good morning") by C -> B -> A: "GOOD MORNING"`)

	markA, markC := a.Mark(), c.Mark()
	if err := b.Stop(); err != nil {
		t.Errorf("B ended with %v", err)
	}
	a.WaitFor(markA, "- C.Average of C is gone")
	c.WaitFor(markC, "- A.Shout of A is gone")

	markA, markC = a.Mark(), c.Mark()
	exampletest.Start(t, command, "-serve", "b", "-listen", bURL[len("http://"):], "-link", url(a))
	a.WaitFor(markA, "+ C.Average(")
	c.WaitFor(markC, "+ A.Shout(")
}

// url returns the URL at which a node that was started alone listens.
func url(r *exampletest.Running) string {
	return regexp.MustCompile(`http://[\d.:]+`).FindString(r.WaitFor(0, "listens at"))
}

// TestProgram runs the program as a process.
func TestProgram(t *testing.T) {
	for _, tt := range []struct {
		args []string
		ok   bool
	}{
		{nil, true},
		{[]string{"-h"}, true},
		{[]string{"-serve", "z"}, false},
		{[]string{"-no-such-flag"}, false},
		{[]string{"-serve", "a", "-listen", "nowhere"}, false},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], tt.args...)
		cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
		if output, err := cmd.CombinedOutput(); (err == nil) != tt.ok {
			t.Errorf("%q: %v\n%s", tt.args, err, output)
		}
	}
}

// TestRunEnds cuts the run short.
func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := command(ctx, nil, new(bytes.Buffer)); err == nil {
		t.Error("it went on without a context")
	}
}
