//go:build unix

package netio

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachSocket runs a test with the two ends of a TCP connection, and of one over a Unix domain socket.
func eachSocket(t *testing.T, test func(t *testing.T, near, far net.Conn)) {
	dir, err := os.MkdirTemp("", "netio") //nolint:usetesting // a test's own may be too long a name for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for network, addr := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(dir, "s")} {
		t.Run(network, func(t *testing.T) {
			l, err := net.Listen(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			near, err := net.Dial(network, l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer near.Close()
			far, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer far.Close()
			test(t, near, far)
		})
	}
}

func TestNewSocketOfNoSocket(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	for _, nc := range []net.Conn{near, tls.Client(near, nil), struct{ net.Conn }{near}} {
		if s := NewSocket(nc); s != nil {
			t.Errorf("%T is a socket", nc)
		}
	}
	eachSocket(t, func(t *testing.T, near, _ net.Conn) {
		if s := NewSocket(struct{ net.Conn }{near}); s != nil {
			t.Error("a connection is a socket that may do otherwise than its socket")
		}
		_ = near.Close()
		s := NewSocket(near)
		if s == nil {
			return
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read a closed socket: %v", err)
		}
		if _, err := s.TryWrite(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("wrote to a closed socket: %v", err)
		}
		if s.Unread() {
			t.Error("a closed socket can be read")
		}
	})
}

func TestSocketRead(t *testing.T) {
	eachSocket(t, func(t *testing.T, near, far net.Conn) {
		s := NewSocket(near)
		if _, err := far.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 2)
		if n, err := s.Read(p); n != 2 || err != nil || string(p) != "ab" {
			t.Errorf("read %q, %v", p[:n], err)
		}
		if n, err := s.Read(nil); n != 0 || err != nil {
			t.Errorf("read %d into nothing: %v", n, err)
		}
		if n, err := s.Read(p); n != 1 || err != nil || p[0] != 'c' {
			t.Errorf("read %q, %v", p[:n], err)
		}
		CloseWrite(far)
		for range 2 {
			if n, err := s.Read(p); n != 0 || err != io.EOF {
				t.Errorf("read %d at the end: %v", n, err)
			}
		}
	})
}

// A peer that closes with something unread resets the connection.
func TestSocketReset(t *testing.T) {
	eachSocket(t, func(t *testing.T, near, far net.Conn) {
		s := NewSocket(near)
		if _, err := s.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(far, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = far.Close()
		_, err := s.Read(make([]byte, 1))
		if _, ok := errors.AsType[*os.SyscallError](err); !ok || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: %v", err)
		}
	})
}

// fill writes to a socket that nobody reads until it takes no more, and returns what it took.
func fill(t *testing.T, s *Socket) (taken []byte) {
	t.Helper()
	p := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	for {
		n, err := s.TryWrite(p)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return taken
		}
		taken = append(taken, p[:n]...)
	}
}

func TestSocketTryWrite(t *testing.T) {
	eachSocket(t, func(t *testing.T, near, far net.Conn) {
		s := NewSocket(near)
		taken := fill(t, s)
		got := make([]byte, len(taken))
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, taken) {
			t.Fatalf("not what the socket took: %v", err)
		}
		if n, err := s.TryWrite([]byte("more")); n != 4 || err != nil {
			t.Errorf("an empty socket took %d of 4: %v", n, err)
		}
	})
}

// Write waits for room, and writes all.
func TestSocketWrite(t *testing.T) {
	eachSocket(t, func(t *testing.T, near, far net.Conn) {
		s := NewSocket(near)
		taken := fill(t, s)
		more := bytes.Repeat([]byte("fedcba9876543210"), 64<<10)
		var wg sync.WaitGroup
		wg.Go(func() {
			if n, err := s.Write(more); n != len(more) || err != nil {
				t.Errorf("wrote %d of %d: %v", n, len(more), err)
			}
		})
		defer wg.Wait()
		got := make([]byte, len(taken)+len(more))
		if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, append(taken, more...)) {
			t.Errorf("not what was written: %v", err)
		}
	})
}

func TestSocketDeadlines(t *testing.T) {
	eachSocket(t, func(t *testing.T, near, far net.Conn) {
		s := NewSocket(near)
		_ = near.SetDeadline(time.Unix(1, 0))
		if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read %d: %v", n, err)
		}
		for _, write := range []func([]byte) (int, error){s.Write, s.TryWrite} {
			if n, err := write(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("wrote %d: %v", n, err)
			}
		}
		_ = near.SetDeadline(time.Time{})
		if n, err := s.Write([]byte("a")); n != 1 || err != nil {
			t.Errorf("wrote %d: %v", n, err)
		}
		if n, err := far.Write([]byte("b")); n != 1 || err != nil {
			t.Fatal(err)
		}
		if n, err := s.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Errorf("read %d: %v", n, err)
		}
		taken := fill(t, s)
		_ = near.SetWriteDeadline(time.Now().Add(time.Millisecond))
		if n, err := s.Write(taken); n == len(taken) || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("a full socket took %d of %d: %v", n, len(taken), err)
		}
	})
}

// One who reads and one who writes are ended by Close, at whatever moment it comes.
func TestSocketClose(t *testing.T) {
	for range 20 {
		eachSocket(t, func(t *testing.T, near, _ net.Conn) {
			s := NewSocket(near)
			var wg sync.WaitGroup
			wg.Go(func() {
				if n, err := s.Read(make([]byte, 1)); n != 0 || !errors.Is(err, net.ErrClosed) {
					t.Errorf("read %d: %v", n, err)
				}
			})
			wg.Go(func() {
				err := error(nil)
				for err == nil {
					_, err = s.Write(make([]byte, 64<<10))
				}
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
			})
			_ = near.Close()
			wg.Wait()
		})
	}
}

func TestSocketUnread(t *testing.T) {
	eachSocket(t, func(t *testing.T, near, far net.Conn) {
		s := NewSocket(near)
		if s.Unread() {
			t.Error("nothing has come")
		}
		if _, err := far.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 1)
		if _, err := s.Read(p); err != nil { // so all of it has come
			t.Fatal(err)
		}
		if !s.Unread() {
			t.Error("something has come")
		}
		if n, err := s.Read(p); n != 1 || err != nil || p[0] != 'b' || s.Unread() {
			t.Errorf("read %q, %v", p[:n], err)
		}
		CloseWrite(far)
		if _, err := s.Read(p); err != io.EOF {
			t.Fatal(err)
		}
		if !s.Unread() {
			t.Error("the end has come")
		}
	})
}

// A transfer costs no allocation: there is one for each packet.
func TestSocketAllocates(t *testing.T) {
	eachSocket(t, func(t *testing.T, near, far net.Conn) {
		s := NewSocket(near)
		other := NewSocket(far)
		p := make([]byte, 100)
		allocs := testing.AllocsPerRun(100, func() {
			_, _ = s.TryWrite(p)
			_, _ = other.Read(p)
			_, _ = other.Write(p)
			_, _ = s.Read(p)
		})
		if allocs > 0 {
			t.Errorf("%v allocations", allocs)
		}
	})
}
