package h2core

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestInflow(t *testing.T) {
	f := NewInflow(100)
	if f.Take(101) || f.Available() != 100 || !f.Take(100) || f.Take(1) || !f.Take(0) {
		t.Errorf("the window has %d left", f.Available())
	}
	if n := f.Consume(0); n != 0 {
		t.Errorf("a WINDOW_UPDATE of %d for nothing", n)
	}
	if n := f.Consume(49); n != 0 {
		t.Errorf("a WINDOW_UPDATE of %d, for less than half", n)
	}
	if n := f.Consume(1); n != 50 || f.Available() != 50 {
		t.Errorf("a WINDOW_UPDATE of %d for half, %d available", n, f.Available())
	}
	if n := f.Grow(120); n != 20 || f.Available() != 70 {
		t.Errorf("a WINDOW_UPDATE of %d for 20 more, %d available", n, f.Available())
	}
	if n := f.Grow(60); n != 0 || f.Available() != 70 {
		t.Errorf("a WINDOW_UPDATE of %d for less, %d available", n, f.Available())
	}
	if n := f.Consume(59); n != 0 {
		t.Errorf("a WINDOW_UPDATE of %d, for less than half of what it has grown to", n)
	}
}

// Until it has acknowledged the SETTINGS, the peer may send by the initial window.
func TestInflowBeforeTheAcknowledgement(t *testing.T) {
	f := NewUnackedInflow(1000)
	if !f.Take(1500) || f.Available() != InitialWindow-1500 {
		t.Errorf("%d are available", f.Available())
	}
	f.Acked()
	if f.Available() != -500 || f.Take(1) {
		t.Errorf("%d are available once it is acknowledged", f.Available())
	}
	if n := f.Consume(1500); n != 1500 || f.Available() != 1000 {
		t.Errorf("a WINDOW_UPDATE of %d, %d available", n, f.Available())
	}
	f = NewUnackedInflow(100_000)
	f.Acked()
	if f.Available() != 100_000 {
		t.Errorf("%d of a larger one are available", f.Available())
	}
}

// A peer that sends whenever it may never stalls, and has no more than the window under way.
func TestInflowNeverStalls(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	for range 100 {
		size := 1 + r.IntN(1000)
		in, out, conn := NewInflow(size), NewOutflow(int64(size)), NewOutflow(MaxWindow)
		for held := 0; held < 10_000; {
			n := TakeOutflow(1+r.IntN(size), &out, &conn)
			if !in.Take(n) {
				t.Fatalf("seed %d: %d bytes of the window of %d were refused", seed, n, size)
			}
			held += n
			for rest := n; rest > 0; {
				part := 1 + r.IntN(rest)
				rest -= part
				if increment := in.Consume(part); increment > 0 && !out.Add(int64(increment)) || out.Available() > int64(size) {
					t.Fatalf("seed %d: a window of %d has grown to %d", seed, size, out.Available())
				}
			}
			if out.Available() <= 0 {
				t.Fatalf("seed %d: a window of %d has stalled", seed, size)
			}
		}
	}
}

func TestOutflow(t *testing.T) {
	stream, conn := NewOutflow(10), NewOutflow(15)
	if n := TakeOutflow(20, &stream, &conn); n != 10 || stream.Available() != 0 || conn.Available() != 5 {
		t.Errorf("took %d", n)
	}
	if n := TakeOutflow(1, &stream, &conn); n != 0 || conn.Available() != 5 {
		t.Errorf("took %d of nothing", n)
	}
	if !stream.Add(-20) || stream.Available() != -20 || TakeOutflow(1, &stream, &conn) != 0 {
		t.Errorf("%d are available below 0", stream.Available())
	}
	if !stream.Add(20+MaxWindow) || stream.Add(1) {
		t.Error("the window's bound is another")
	}
	if n := TakeOutflow(20, &stream, &conn); n != 5 {
		t.Errorf("took %d beyond the connection's window", n)
	}
}
