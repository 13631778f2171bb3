//go:build unix

package h2

import (
	"errors"
	"net"
	"syscall"
)

// rawWriter writes to a socket without waiting for room in it.
type rawWriter struct {
	conn syscall.RawConn
	once func(fd uintptr) bool // made once: a closure a write would be an allocation a write

	p   []byte
	n   int
	err error
}

// newRawWriter returns nil where nc is not itself a socket of the system.
func newRawWriter(nc net.Conn) *rawWriter {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return nil
	}
	conn, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &rawWriter{conn: conn}
	w.once = func(fd uintptr) bool {
		w.n, w.err = syscall.Write(int(fd), w.p)
		for errors.Is(w.err, syscall.EINTR) {
			w.n, w.err = syscall.Write(int(fd), w.p)
		}
		return true
	}
	return w
}

// write returns how much of p the socket took.
func (w *rawWriter) write(p []byte) (int, error) {
	w.p = p
	err := w.conn.Write(w.once)
	w.p = nil
	if err != nil {
		return 0, err
	}
	if errors.Is(w.err, syscall.EAGAIN) {
		return 0, nil
	}
	return max(w.n, 0), w.err
}
