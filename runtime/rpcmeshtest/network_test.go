package rpcmeshtest

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

// TestConn holds the connections to what net.Conn promises.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (a, b net.Conn, stop func(), err error) {
		n := NewNetwork()
		a, b, err = pair(n)
		return a, b, func() { a.Close(); b.Close() }, err
	})
}

func pair(n *Network) (a, b net.Conn, err error) {
	l, err := n.Listen("b")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if a, err = n.Dialer("a")(context.Background(), "tcp", "b:80"); err != nil {
		return nil, nil, err
	}
	b, err = l.Accept()
	return a, b, err
}

func mustPair(t *testing.T, n *Network) (a, b net.Conn) {
	t.Helper()
	a, b, err := pair(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func TestDialWhereNobodyListens(t *testing.T) {
	n := NewNetwork()
	if _, err := n.Dialer("a")(t.Context(), "tcp", "b:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("got %v, want it refused", err)
	}
}

func TestListenTwice(t *testing.T) {
	n := NewNetwork()
	l, err := n.Listen("b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("b"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("got %v, want the address in use", err)
	}
	l.Close()
	again, err := n.Listen("b")
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

func TestBufferIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		n.SetBuffer(10)
		a, b := mustPair(t, n)
		a.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		written, err := a.Write(make([]byte, 25))
		if written != 10 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("wrote %d bytes, %v; want 10 and to time out", written, err)
		}
		if _, err := io.ReadFull(b, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCloseLetsTheRestBeRead(t *testing.T) {
	a, b := mustPair(t, NewNetwork())
	io.WriteString(a, "the rest")
	a.Close()
	if got, err := io.ReadAll(b); string(got) != "the rest" || err != nil {
		t.Fatalf("read %q, %v", got, err)
	}
	if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("writing to a closed end: %v", err)
	}
}

func TestReset(t *testing.T) {
	n := NewNetwork()
	a, b := mustPair(t, n)
	io.WriteString(a, "lost")
	n.Reset("b", "a")
	for _, end := range []net.Conn{a, b} {
		if _, err := end.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v: got %v, want a reset", end.LocalAddr(), err)
		}
	}
	mustPair(t, n) // new ones can be made
}

func TestCut(t *testing.T) {
	n := NewNetwork()
	a, _ := mustPair(t, n)
	n.Cut("a", "b")
	if _, err := a.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if _, _, err := pair(n); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want it refused", err)
	}
	n.Heal("a", "b")
	mustPair(t, n)
}

func TestRefuse(t *testing.T) {
	n := NewNetwork()
	a, b := mustPair(t, n)
	n.Refuse("b")
	if _, _, err := pair(n); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want it refused", err)
	}
	io.WriteString(a, "still open")
	if got := read(t, b, 10); got != "still open" {
		t.Errorf("read %q", got)
	}
	n.Admit("b")
	mustPair(t, n)
}

func read(t *testing.T, conn net.Conn, size int) string {
	t.Helper()
	p := make([]byte, size)
	if _, err := io.ReadFull(conn, p); err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// TestSilence: nothing arrives, not even the end, until the path is healed; then all does, in order.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := mustPair(t, n)
		io.WriteString(a, "before ")
		if got := read(t, b, 7); got != "before " {
			t.Fatalf("read %q", got)
		}
		n.Silence("a", "b")
		io.WriteString(a, "meanwhile")
		a.Close()
		b.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("got %v, want nothing to arrive", err)
		}
		b.SetReadDeadline(time.Time{})
		n.Heal("a", "b")
		if got, err := io.ReadAll(b); string(got) != "meanwhile" || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
	})
}

func TestDiallingIntoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		l, err := n.Listen("b")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		n.Silence("a", "b")
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.Dialer("a")(ctx, "tcp", "b:80"); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v, want no answer", err)
		}
		time.AfterFunc(time.Hour, func() { n.Heal("a", "b") })
		conn, err := n.Dialer("a")(t.Context(), "tcp", "b:80")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	})
}

func TestLeftOpenNamesTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := mustPair(t, n)
		a.Close()
		open := n.leftOpen(time.Minute)
		if len(open) != 1 || !strings.HasPrefix(open[0], "b:0 to a:") {
			t.Errorf("got %q, want b's end", open)
		}
		b.Close()
		if open := n.leftOpen(time.Minute); open != nil {
			t.Errorf("got %q, want none", open)
		}
	})
}

// TestDelay: bytes and the end of a connection arrive in their order, so much later, and a writer learns of
// the end no sooner.
func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork()
		a, b := mustPair(t, n)
		n.Delay("b", "a", time.Second)
		begin := time.Now()
		write := func(text string) {
			if _, err := io.WriteString(a, text); err != nil {
				t.Error(err)
			}
		}
		read := func(want string, after time.Duration) {
			t.Helper()
			got := make([]byte, 10)
			k, err := b.Read(got)
			if string(got[:k]) != want || want == "" && !errors.Is(err, io.EOF) || time.Since(begin) != after {
				t.Errorf("read %q, %v after %v; want %q after %v", got[:k], err, time.Since(begin), want, after)
			}
		}
		write("one")
		time.Sleep(300 * time.Millisecond) // fake time
		write("two")
		n.Delay("a", "b", 100*time.Millisecond) // does not overtake
		write("three")
		_ = a.Close()
		read("one", time.Second)
		read("twothree", 1300*time.Millisecond)
		read("", 1300*time.Millisecond)
		if _, err := io.WriteString(b, "four"); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after the end: %v", err)
		}

		c, d := mustPair(t, n)
		_ = d.Close()
		if _, err := io.WriteString(c, "not known yet"); err != nil {
			t.Error(err)
		}
		time.Sleep(101 * time.Millisecond) // fake time
		if _, err := io.WriteString(c, "known"); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write after the end has arrived: %v", err)
		}
	})
}
