package cluster

import (
	"runtime/metrics"
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/machine"
)

// usage is what a process used.
type usage struct {
	kernelUsage

	// Allocations counts the objects allocated, Bytes their bytes.
	Allocations uint64 `json:"allocations,omitempty"`
	Bytes       uint64 `json:"bytes,omitempty"`
	// GC is the CPU time of the garbage collector, of which the runtime tells after each cycle.
	GC time.Duration `json:"gc,omitempty"`

	machine.Events
}

// kernelUsage is what the kernel accounts to a process.
type kernelUsage struct {
	// CPU is user and system time.
	CPU time.Duration `json:"cpu"`
	// Voluntary counts how often a thread gave its CPU up to wait, Involuntary how often it was taken away.
	Voluntary   int64 `json:"voluntary,omitempty"`
	Involuntary int64 `json:"involuntary,omitempty"`
}

func (u usage) plus(v usage) usage {
	u.CPU += v.CPU
	u.Voluntary += v.Voluntary
	u.Involuntary += v.Involuntary
	u.Allocations += v.Allocations
	u.Bytes += v.Bytes
	u.GC += v.GC
	u.Syscalls += v.Syscalls
	u.Futexes += v.Futexes
	return u
}

func (u usage) minus(v usage) usage {
	u.CPU -= v.CPU
	u.Voluntary -= v.Voluntary
	u.Involuntary -= v.Involuntary
	u.Allocations -= v.Allocations
	u.Bytes -= v.Bytes
	u.GC -= v.GC
	u.Syscalls -= v.Syscalls
	u.Futexes -= v.Futexes
	return u
}

// usageNow is what this process has used since it started. Its events are not in it.
func usageNow() usage {
	sample := []metrics.Sample{
		{Name: "/gc/heap/allocs:objects"},
		{Name: "/gc/heap/allocs:bytes"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
	}
	metrics.Read(sample)
	return usage{
		kernelUsage: kernelUsageNow(),
		Allocations: sample[0].Value.Uint64(),
		Bytes:       sample[1].Value.Uint64(),
		GC:          time.Duration(sample[2].Value.Float64() * float64(time.Second)),
	}
}
