//go:build !linux

package machine

import "fmt"

// Counters count this process's system calls.
type Counters struct{}

// Count refuses.
func Count() (*Counters, error) { return nil, fmt.Errorf("counting system calls: %w", ErrUnsupported) }

// Read returns what has been counted.
func (*Counters) Read() (Events, error) { return Events{}, ErrUnsupported }

// Close ends the counting.
func (*Counters) Close() error { return nil }
