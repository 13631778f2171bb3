//go:build !linux

package machine

import "fmt"

// CanPin tells that processes can be bound to CPUs here.
const CanPin = false

// CPUs are those that this process may run on.
func CPUs() ([]int, error) {
	return nil, fmt.Errorf("which CPUs a process may use: %w", ErrUnsupported)
}

// OnCPUs runs start if cpus is empty, and refuses otherwise.
func OnCPUs(cpus []int, start func() error) error {
	if len(cpus) > 0 {
		return fmt.Errorf("binding processes to CPUs: %w", ErrUnsupported)
	}
	return start()
}
