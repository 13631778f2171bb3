//go:build unix

package cluster

import (
	"syscall"
	"time"
)

// cpuNow is the user and system time that this process has used.
func cpuNow() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
