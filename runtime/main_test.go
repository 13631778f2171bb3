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
	if as := os.Getenv(hubEnv); as != "" {
		os.Exit(runHub(as))
	}
	goleak.VerifyTestMain(m)
}
