package adopt

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// TestSource: what an attempt was given another one is given again, also what the first was still waiting for.
func TestSource(t *testing.T) {
	r, w := io.Pipe()
	s := newSource(t.Context(), r)
	first := s.attempt()
	var reading sync.WaitGroup
	reading.Go(func() {
		b := make([]byte, 3)
		for err := error(nil); err == nil; {
			_, err = first.Read(b)
		}
	})
	_, _ = w.Write([]byte("hello"))
	_ = first.Close()
	second := s.attempt()
	reading.Go(func() {
		_, _ = w.Write([]byte(", world"))
		_ = w.Close()
	})
	s.release()
	got, err := io.ReadAll(iotest.OneByteReader(second))
	if string(got) != "hello, world" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	reading.Wait()
}

// TestSourceIsBounded: a long body is not kept, and comes through as it is.
func TestSourceIsBounded(t *testing.T) {
	long := strings.Repeat("0123456789", maxReplay)
	s := newSource(t.Context(), io.NopCloser(strings.NewReader(long)))
	got, err := io.ReadAll(s.attempt())
	if string(got) != long || err != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if s.repeatable() || cap(s.kept) > 2*maxReplay {
		t.Errorf("%d bytes are kept", cap(s.kept))
	}
}

// TestSourceEnds: by its call's context, which is no end of the body; and with its attempt, where that is the last.
func TestSourceEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	s := newSource(ctx, r)
	a := s.attempt()
	cancel()
	_ = w.Close()
	if _, err := a.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("a call that was given up ends with %v", err)
	}
	r, w = io.Pipe()
	s = newSource(t.Context(), r)
	a = s.attempt()
	s.release()
	_ = a.Close()
	if _, err := w.Write([]byte("more")); err == nil {
		t.Error("the sender does not learn that nobody reads any more")
	}
}

func BenchmarkSource(b *testing.B) {
	data := bytes.Repeat([]byte{1}, 32<<10)
	p := make([]byte, len(data))
	s := newSource(b.Context(), io.NopCloser(repeater(data)))
	a := s.attempt()
	s.release()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

type repeater []byte

func (r repeater) Read(p []byte) (int, error) { return copy(p, r), nil }
