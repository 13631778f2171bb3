package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// CanPin tells that processes can be bound to CPUs here.
const CanPin = true

// CPUs are those that this process may run on.
func CPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	var cpus []int
	for cpu := range maxCPU + 1 {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// OnCPUs runs start on a thread that is bound to cpus, so that a process it starts is bound from its first
// instruction on. None means wherever this process runs.
func OnCPUs(cpus []int, start func() error) error {
	if len(cpus) == 0 {
		return start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, wanted, got unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return os.NewSyscallError("sched_getaffinity", err)
	}
	for _, cpu := range cpus {
		wanted.Set(cpu)
	}
	if err := unix.SchedSetaffinity(0, &wanted); err != nil {
		return fmt.Errorf("binding to CPUs %v: %w", cpus, os.NewSyscallError("sched_setaffinity", err))
	}
	err := unix.SchedGetaffinity(0, &got)
	switch {
	case err != nil:
		err = os.NewSyscallError("sched_getaffinity", err)
	case got != wanted: // the kernel drops the CPUs that it does not have
		err = fmt.Errorf("this process may not use all of the CPUs %v", cpus)
	default:
		err = start()
	}
	return errors.Join(err, os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &before)))
}
