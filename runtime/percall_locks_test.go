//go:build countlocks

package rpcmesh_test

import "sync"

// locksTaken is how many locks the process has taken. The standard library that counts them is made by
// .ci/steps/percall.
func locksTaken() int64 { return sync.Locked.Load() }
