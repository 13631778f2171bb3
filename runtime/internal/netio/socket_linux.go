//go:build linux && (amd64 || arm64)

package netio

import (
	"syscall"
	"unsafe"
)

// A system call that does not wait is made here without telling Go's scheduler. If told, that wakes its
// monitor for each burst of activity, which then looks every 20 µs whether a call takes long: for a link
// with a call now and then that is a fifth of the processor time, and a thread to be woken before the
// answer leaves. MSG_DONTWAIT holds whatever mode somebody has set the socket to.

func recvNonblocking(fd int, p []byte) (int, error) {
	return transferNonblocking(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

func sendNonblocking(fd int, p []byte) (int, error) {
	return transferNonblocking(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

func transferNonblocking(call uintptr, fd int, p []byte, flags uintptr) (int, error) {
	n, _, errno := syscall.RawSyscall6(call, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
