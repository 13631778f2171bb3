package netio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/iotest"
	"time"
	"unsafe"
)

// script is a source whose reads are given one by one.
type script struct {
	reads []any // []byte or error
	calls int
}

func (s *script) Read(p []byte) (int, error) {
	s.calls++
	if len(s.reads) == 0 {
		return 0, io.EOF
	}
	switch next := s.reads[0].(type) {
	case error:
		s.reads = s.reads[1:]
		return 0, next
	case []byte:
		n := copy(p, next)
		s.reads[0] = next[n:]
		if n == len(next) {
			s.reads = s.reads[1:]
		}
		return n, nil
	}
	panic("neither bytes nor an error")
}

func newInput(src io.Reader, head string) *Input {
	in := NewInput(src, []byte(head), func() {})
	return &in
}

// want fails the test unless the next bytes are these.
func want(t *testing.T, in *Input, s string) {
	t.Helper()
	if err := in.Wait(len(s)); err != nil {
		t.Fatal(err)
	}
	if got := in.Next(len(s)); string(got) != s {
		t.Fatalf("got %q, want %q", got, s)
	}
}

func TestInputReadsTheHeadFirst(t *testing.T) {
	src := &script{reads: []any{[]byte("c"), []byte("de")}}
	in := newInput(src, "ab")
	want(t, in, "ab")
	if src.calls > 0 {
		t.Error("read the source for what was there")
	}
	want(t, in, "cde")
}

func TestInputEnds(t *testing.T) {
	in := newInput(&script{reads: []any{[]byte("abc")}}, "")
	if err := in.Wait(4); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("within what was waited for: %v", err)
	}
	want(t, in, "abc")
	if err := in.Wait(1); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	if n, err := in.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read %d at the end: %v", n, err)
	}
	if n, err := in.Discard(1); n != 0 || err != io.EOF {
		t.Errorf("discarded %d at the end: %v", n, err)
	}
}

// What has come is not lost when reading is interrupted, be it by an error that comes with data.
func TestInputGoesOnAfterAnError(t *testing.T) {
	in := newInput(&script{reads: []any{[]byte("ab"), os.ErrDeadlineExceeded, []byte("cd")}}, "")
	if err := in.Wait(4); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	if got := in.Buffered(); string(got) != "ab" {
		t.Errorf("%q is buffered", got)
	}
	want(t, in, "abcd")
	in = newInput(iotest.DataErrReader(bytes.NewReader([]byte("ab"))), "")
	want(t, in, "ab")
}

// full is a source that fills whatever is read into.
type full struct{}

func (full) Read(p []byte) (int, error) { return len(p), nil }

// The buffer grows each time that the peer has filled it, to MaxBuffer, and for what is waited for.
func TestInputGrowsAsItIsFilled(t *testing.T) {
	in := newInput(full{}, "")
	for want := in.Size(); want <= MaxBuffer; want *= 2 {
		if err := in.Wait(1); err != nil || in.Size() != want {
			t.Fatalf("the buffer has %d bytes, want %d: %v", in.Size(), want, err)
		}
		in.Next(len(in.Buffered()))
	}
	if err := in.Wait(1); err != nil || in.Size() != MaxBuffer {
		t.Errorf("the buffer has grown to %d bytes: %v", in.Size(), err)
	}
	if err := in.Wait(2 * MaxBuffer); err != nil || in.Size() != 2*MaxBuffer {
		t.Errorf("waited for %d bytes in a buffer of %d: %v", 2*MaxBuffer, in.Size(), err)
	}
}

// thousands is a source of a thousand bytes a read.
type thousands struct{}

func (thousands) Read(p []byte) (int, error) { return min(len(p), 1000), nil }

// Reads that do not fill the buffer leave it as it is, also where what is buffered has to be moved.
func TestInputReusesItsBuffer(t *testing.T) {
	in := newInput(thousands{}, "")
	buffer := unsafe.SliceData(in.buf)
	allocs := testing.AllocsPerRun(100, func() {
		for _, n := range []int{1700, 1700, 1600} { // before the last one, 600 bytes are moved
			_ = in.Wait(n)
			in.Next(n)
		}
	})
	if allocs > 0 || unsafe.SliceData(in.buf) != buffer {
		t.Errorf("%v allocations, a buffer of %d bytes", allocs, in.Size())
	}
}

func TestInputDetach(t *testing.T) {
	in := newInput(&script{reads: []any{[]byte("first"), []byte("other")}}, "")
	if err := in.Wait(5); err != nil {
		t.Fatal(err)
	}
	got := in.Next(5)
	in.Detach()
	want(t, in, "other")
	if string(got) != "first" {
		t.Errorf("what was handed out has become %q", got)
	}
	if got := append(got, "!"...); string(got) != "first!" {
		t.Errorf("got %q", got)
	}
}

// A long Read goes past the buffer, a short one does not: what follows is read ahead.
func TestInputRead(t *testing.T) {
	src := &script{reads: []any{bytes.Repeat([]byte("a"), 3000), []byte("bcd")}}
	in := newInput(src, "h")
	p := make([]byte, 3000)
	if n, err := in.Read(p); n != 1 || err != nil || p[0] != 'h' {
		t.Fatalf("read %q, %v", p[:n], err)
	}
	if n, err := in.Read(p); n != 3000 || err != nil || len(in.Buffered()) > 0 {
		t.Fatalf("read %d, %v, and buffered %q", n, err, in.Buffered())
	}
	if n, err := in.Read(p[:2]); n != 2 || err != nil || string(in.Buffered()) != "d" {
		t.Errorf("read %d, %v, and buffered %q", n, err, in.Buffered())
	}
}

func TestInputLimit(t *testing.T) {
	in := newInput(bytes.NewReader(make([]byte, 9000)), "")
	in.Limit = 5000
	if _, err := io.ReadFull(in, make([]byte, 3000)); err != nil {
		t.Fatal(err)
	}
	if n, err := in.Read(make([]byte, 2001)); n != 0 || !errors.Is(err, ErrLimit) {
		t.Errorf("read %d beyond the limit: %v", n, err)
	}
	if _, err := io.ReadFull(in, make([]byte, 2000)); err != nil || in.Limit != 0 {
		t.Errorf("up to the limit, %d are left of it: %v", in.Limit, err)
	}
	in.Limit = -1
	if n, err := io.ReadFull(in, make([]byte, 4000)); err != nil {
		t.Errorf("read %d without a limit: %v", n, err)
	}
}

// Before the source is read, which may block, and only then, the owner is told.
func TestInputTellsBeforeItReads(t *testing.T) {
	told := 0
	src := &script{reads: []any{[]byte("ab"), []byte("cd"), make([]byte, 4000)}}
	in := NewInput(src, []byte("h"), func() { told++ })
	check := func(n int, err error) {
		t.Helper()
		if err != nil || told != src.calls || told != n {
			t.Errorf("told %d times of %d reads, want %d: %v", told, src.calls, n, err)
		}
	}
	check(0, in.Wait(1))
	check(1, in.Wait(3))
	n, err := in.Discard(100)
	check(1, err)
	if n != 3 {
		t.Errorf("discarded %d of 3", n)
	}
	n, err = in.Discard(100)
	check(2, err)
	if n != 2 {
		t.Errorf("discarded %d of 2", n)
	}
	_, err = in.Read(make([]byte, 4000))
	check(3, err)
}

// However a connection delivers its bytes, and however they are asked for, they come whole and in order.
func TestInputInAnyPieces(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 0))
	for range 200 {
		all := make([]byte, r.IntN(40<<10))
		for i := range all {
			all[i] = byte(r.Uint32())
		}
		head := r.IntN(min(len(all), 200) + 1)
		src := &script{}
		for rest := all[head:]; len(rest) > 0; {
			n := min(len(rest), 1+r.IntN(1<<r.IntN(14)))
			src.reads = append(src.reads, rest[:n])
			if rest = rest[n:]; r.IntN(4) == 0 {
				src.reads = append(src.reads, os.ErrDeadlineExceeded)
			}
		}
		in := newInput(src, string(all[:head]))
		got, err := consume(r, in)
		if !bytes.Equal(got, all) || err != io.EOF {
			t.Fatalf("seed %d: got %d bytes of %d, %v", seed, len(got), len(all), err)
		}
	}
}

// consume takes all from in, in one way after another, and goes on after deadlines.
func consume(r *rand.Rand, in *Input) (got []byte, err error) {
	for {
		n := r.IntN(1 << r.IntN(14))
		switch r.IntN(3) {
		case 0:
			if err = in.Wait(n); err == nil {
				got = append(got, in.Next(n)...)
			} else if errors.Is(err, io.ErrUnexpectedEOF) {
				got = append(got, in.Next(len(in.Buffered()))...)
			}
		case 1:
			p := make([]byte, n+1)
			n, err = in.Read(p)
			got = append(got, p[:n]...)
		case 2:
			ahead := bytes.Clone(in.Buffered())
			if n, err = in.Discard(min(len(ahead), n)); len(ahead) > 0 {
				got = append(got, ahead[:n]...)
			}
		}
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return got, err
		}
	}
}
