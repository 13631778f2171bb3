package rpcmesh_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if as := os.Getenv(hostEnv); as != "" {
		os.Exit(runHost(as))
	}
	goleak.VerifyTestMain(m)
}
