// Package machine asks the kernel what only it knows: which CPUs a process may run on, how much of them all
// processes use, and how often a process enters the kernel. Where a system cannot tell, an error says so.
package machine

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxCPU bounds the CPUs that a list may name.
const maxCPU = 1023

// ErrUnsupported is what this system cannot do for the benchmark; what wraps it says what.
var ErrUnsupported = errors.New("only Linux has it")

// ParseCPUs reads a list in the kernel's notation, for example 0,2-3, and returns its CPUs in order.
func ParseCPUs(list string) ([]int, error) {
	var cpus []int
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no list of CPUs such as 0,2-3", list)
		}
		to, err := strconv.ParseUint(last, 10, 16)
		if err != nil || to < from || to > maxCPU {
			return nil, fmt.Errorf("%q is no list of CPUs such as 0,2-3", list)
		}
		for cpu := from; cpu <= to; cpu++ {
			cpus = append(cpus, int(cpu))
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

// Times are what the machine's CPUs have spent since it started, summed over them.
type Times struct {
	// Busy is the time that they worked, interrupts and what a hypervisor gave to others included.
	Busy time.Duration
	// All is the time that there was.
	All time.Duration
}

// Share is how much of the CPUs' time between then and t was spent on anything but own, from 0 to 1.
func (t Times) Share(then Times, own time.Duration) float64 {
	all := t.All - then.All
	if all <= 0 {
		return 0
	}
	return min(max(float64(t.Busy-then.Busy-own)/float64(all), 0), 1)
}

// Events are what a process asked of the kernel.
type Events struct {
	// Syscalls counts all system calls, Futexes those that wait for or wake a thread.
	Syscalls uint64 `json:"syscalls"`
	Futexes  uint64 `json:"futexes"`
}
