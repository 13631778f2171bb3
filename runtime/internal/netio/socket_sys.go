//go:build unix && !(linux && (amd64 || arm64))

package netio

import "syscall"

func receiveNow(fd int, p []byte) (int, error) { return syscall.Read(fd, p) }

func sendNow(fd int, p []byte) (int, error) { return syscall.Write(fd, p) }
