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
	if as := os.Getenv(percallEnv); as != "" {
		os.Exit(runPercall(as))
	}
	goleak.VerifyTestMain(m)
}
