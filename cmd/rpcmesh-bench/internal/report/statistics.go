package report

import (
	"slices"

	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/internal/cluster"
)

// metric is one figure of a sample.
type metric struct {
	name string
	of   func(*cluster.Sample) *float64
}

var (
	callsPerSecond = metric{"calls/s", func(s *cluster.Sample) *float64 { return &s.Calls }}
	p50            = metric{"p50 µs", func(s *cluster.Sample) *float64 { return &s.P50 }}
	p99            = metric{"p99 µs", func(s *cluster.Sample) *float64 { return &s.P99 }}
	cpuPerCall     = metric{"CPU µs/call", func(s *cluster.Sample) *float64 { return &s.CPU }}
	allocations    = metric{"allocs/call", func(s *cluster.Sample) *float64 { return &s.Allocations }}
	bulkPerSecond  = metric{"bulk calls/s", func(s *cluster.Sample) *float64 { return &s.Bulk }}
	serverCPU      = metric{"server's CPU µs/call", func(s *cluster.Sample) *float64 { return &s.Server }}
	allocatedBytes = metric{"B/call", func(s *cluster.Sample) *float64 { return &s.Bytes }}
	gcShare        = metric{"GC", func(s *cluster.Sample) *float64 { return &s.GC }}
	voluntary      = metric{"waits/call", func(s *cluster.Sample) *float64 { return &s.Voluntary }}
	involuntary    = metric{"preemptions/call", func(s *cluster.Sample) *float64 { return &s.Involuntary }}
	others         = metric{"others", func(s *cluster.Sample) *float64 { return &s.Others }}

	metrics = []metric{
		callsPerSecond, p50, p99, cpuPerCall, allocations, bulkPerSecond,
		serverCPU, allocatedBytes, gcShare, voluntary, involuntary, others,
	}
)

// median takes each metric's on its own.
func median(samples []cluster.Sample) cluster.Sample {
	var m cluster.Sample
	for _, metric := range metrics {
		*metric.of(&m) = medianOf(values(samples, metric))
	}
	return m
}

func values(samples []cluster.Sample, m metric) []float64 {
	all := make([]float64, len(samples))
	for i := range samples {
		all[i] = *m.of(&samples[i])
	}
	return all
}

// medianOf is the middle value, or the mean of the two in the middle; 0 of none.
func medianOf(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// spread is how far apart the lowest and the highest value are, as a share of the median; 0 where that
// is 0.
func spread(all []float64) float64 {
	return ratio(slices.Max(all)-slices.Min(all), medianOf(all))
}

// ratio is 0 where it cannot be told.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
