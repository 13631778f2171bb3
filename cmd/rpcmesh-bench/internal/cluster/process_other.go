//go:build !linux

package cluster

import "syscall"

// bound is the system's default: a child ends with its parent because its standard input does.
func bound() *syscall.SysProcAttr { return nil }
