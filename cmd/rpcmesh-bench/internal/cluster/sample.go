package cluster

import (
	"time"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/load"
)

// A Sample is one measurement. What is counted a call is summed over all processes, and calls that move bulk count
// too.
type Sample struct {
	// Calls is calls a second, or messages a second that came back on streams.
	Calls float64 `json:"calls_per_second"`
	// P50 and P99 are in microseconds, 0 where they are not measured.
	P50 float64 `json:"p50_us,omitempty"`
	P99 float64 `json:"p99_us,omitempty"`
	// CPU is user and system time, in microseconds a call.
	CPU float64 `json:"cpu_us_per_call"`
	// Server is CPU of the process that was started first: the origin's, or a broker's first server.
	Server float64 `json:"server_cpu_us_per_call"`
	// GC is the garbage collector's share of CPU, from 0 to 1.
	GC float64 `json:"gc_share,omitempty"`
	// Allocations counts objects a call, Bytes their bytes.
	Allocations float64 `json:"allocations_per_call,omitempty"`
	Bytes       float64 `json:"allocated_bytes_per_call,omitempty"`
	// Voluntary counts, a call, how often a thread gave its CPU up to wait, Involuntary how often it was taken away.
	Voluntary   float64 `json:"voluntary_switches_per_call,omitempty"`
	Involuntary float64 `json:"involuntary_switches_per_call,omitempty"`
	// Syscalls and Futexes are counted on demand: system calls a call, and those of them that wait for or wake a
	// thread.
	Syscalls float64 `json:"-"`
	Futexes  float64 `json:"-"`
	// Bulk is the calls a second that moved bulk beside the others.
	Bulk float64 `json:"bulk_calls_per_second,omitempty"`
	// Others is the share of the machine's CPUs that processes apart from the benchmark's used meanwhile, from 0
	// to 1; 0 where the system does not tell.
	Others float64 `json:"others_share,omitempty"`
}

// sampleOf puts together what a load came to and what all processes and the first used.
func sampleOf(res load.Result, used, first usage) Sample {
	calls := float64(max(res.Calls+res.Bulk, 1))
	s := Sample{
		Calls:       float64(res.Calls) / res.Elapsed.Seconds(),
		P50:         micros(res.P50),
		P99:         micros(res.P99),
		CPU:         micros(used.CPU) / calls,
		Server:      micros(first.CPU) / calls,
		Allocations: float64(used.Allocations) / calls,
		Bytes:       float64(used.Bytes) / calls,
		Voluntary:   float64(used.Voluntary) / calls,
		Involuntary: float64(used.Involuntary) / calls,
		Syscalls:    float64(used.Syscalls) / calls,
		Futexes:     float64(used.Futexes) / calls,
		Bulk:        float64(res.Bulk) / res.Elapsed.Seconds(),
	}
	if used.CPU > 0 {
		s.GC = min(float64(used.GC)/float64(used.CPU), 1)
	}
	return s
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
