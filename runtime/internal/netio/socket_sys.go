//go:build unix && !(linux && (amd64 || arm64))

package netio

import "syscall"

func recvNonblocking(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func sendNonblocking(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
