package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
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
	if err := run(t.Context(), &account); err != nil {
		t.Fatalf("%v, after\n%s", err, &account)
	}
	exampletest.CheckAccount(t, account.String())
}

// TestProgram runs the program as a process.
func TestProgram(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "RUN_EXAMPLE=1")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// TestRunEnds cuts the run short.
func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, new(bytes.Buffer)); err == nil {
		t.Error("it went on without a context")
	}
}
