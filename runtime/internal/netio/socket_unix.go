//go:build unix

package netio

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Socket reads a socket of the system, and writes to it without waiting for room. One
// goroutine may read while another writes.
type Socket struct {
	conn syscall.RawConn
	in   transfer
	out  transfer
}

// transfer is one direction of a socket.
type transfer struct {
	op          func(fd int, p []byte) (int, error)
	nonblocking bool // do not wait

	step func(fd uintptr) bool // made once: a closure a transfer would be an allocation a transfer
	p    []byte
	n    int
	err  error
}

// NewSocket returns nil where nc is not itself a socket of the system.
func NewSocket(nc net.Conn) *Socket {
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
	s := &Socket{conn: conn}
	s.in.init(recvNonblocking)
	s.out.init(sendNonblocking)
	return s
}

func (t *transfer) init(op func(int, []byte) (int, error)) {
	t.op = op
	t.step = func(fd uintptr) bool {
		for {
			t.n, t.err = t.op(int(fd), t.p)
			if !errors.Is(t.err, syscall.EINTR) {
				return t.nonblocking || !errors.Is(t.err, syscall.EAGAIN)
			}
		}
	}
}

// run makes one transfer of p by wait, which is a RawConn's Read or Write.
func (t *transfer) run(p []byte, name string, wait func(func(uintptr) bool) error) (int, error) {
	t.p = p
	err := wait(t.step)
	t.p = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(t.err, syscall.EAGAIN):
		return 0, nil
	case t.err != nil:
		return 0, os.NewSyscallError(name, t.err)
	}
	return max(t.n, 0), nil
}

// Read is io.Reader's.
func (s *Socket) Read(p []byte) (int, error) {
	n, err := s.in.run(p, "recv", s.conn.Read)
	if err == nil && n == 0 && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

// TryWrite returns how much of p the socket took.
func (s *Socket) TryWrite(p []byte) (int, error) {
	s.out.nonblocking = true
	return s.out.run(p, "send", s.conn.Write)
}

// Unread reports whether there is something to read, be it the end. It does not wait; any goroutine may ask.
func (s *Socket) Unread() bool {
	var n int
	var err error
	failed := s.conn.Control(func(fd uintptr) {
		n, _, err = syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK) // Go's sockets do not block
	})
	return failed == nil && n >= 0 && err == nil
}

// Write writes p whole, and waits for room as long as the connection's deadline allows.
func (s *Socket) Write(p []byte) (int, error) {
	s.out.nonblocking = false
	for done := 0; ; {
		n, err := s.out.run(p[done:], "send", s.conn.Write)
		done += n
		if err != nil || done == len(p) {
			return done, err
		}
	}
}
