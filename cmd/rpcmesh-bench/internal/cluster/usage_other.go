//go:build !unix

package cluster

// kernelUsageNow is not measured here.
func kernelUsageNow() kernelUsage { return kernelUsage{} }
