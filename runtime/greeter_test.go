package rpcmesh_test

import (
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/greettest"
)

// greeter implements all four kinds.
type greeter = greettest.Greeter

func wantError(t *testing.T, err error, code connect.Code, text string) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want %s with %q", err, code, text)
	}
}
