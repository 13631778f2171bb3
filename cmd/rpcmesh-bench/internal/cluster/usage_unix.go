//go:build unix

package cluster

import (
	"syscall"
	"time"
)

// kernelUsageNow is what the kernel accounts to this process.
func kernelUsageNow() kernelUsage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return kernelUsage{}
	}
	return kernelUsage{
		CPU:       time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		Voluntary: int64(r.Nvcsw), Involuntary: int64(r.Nivcsw), //nolint:unconvert // narrower on some systems
	}
}
