package netio

import (
	"errors"
	"io"
	"slices"
)

const (
	// minBuffer is the length of the first buffer. It grows as the peer fills it: who has only connected
	// takes little memory.
	minBuffer = 4 << 10
	// MaxBuffer is how long an Input's buffer gets by itself, in bytes.
	MaxBuffer = 128 << 10
)

// ErrLimit is how Read fails at [Input.Limit].
var ErrLimit = errors.New("limit of the input reached")

// Input buffers what has been read from a connection. One goroutine uses it. What Wait has asked for stays in the buffer if
// reading fails, so that reading can go on after a deadline.
type Input struct {
	src        io.Reader
	beforeRead func() // called before src is read

	buf    []byte
	r, w   int
	filled bool // the last read has filled buf

	// Limit is how many bytes Read may still hand out while it is not negative.
	Limit int
}

// NewInput returns an input of head, which has been read already, and then src. idle is called before src is
// read, which may block.
func NewInput(src io.Reader, head []byte, idle func()) Input {
	in := Input{src: src, beforeRead: idle, buf: make([]byte, max(minBuffer, len(head))), Limit: -1}
	in.w = copy(in.buf, head)
	return in
}

// Buffered returns what has been read ahead.
func (in *Input) Buffered() []byte { return in.buf[in.r:in.w] }

// Size returns how long the buffer is: what is at most that long can be waited for without a longer one.
func (in *Input) Size() int { return len(in.buf) }

// Wait blocks until n bytes are buffered.
func (in *Input) Wait(n int) error {
	for in.w-in.r < n {
		in.makeRoom(n)
		in.beforeRead()
		m, err := in.src.Read(in.buf[in.w:])
		in.w += m
		in.filled = in.w == len(in.buf)
		if err != nil && in.w-in.r < n {
			if err == io.EOF && in.w > in.r {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// makeRoom makes room for n bytes, those that are buffered among them.
func (in *Input) makeRoom(n int) {
	size := len(in.buf)
	if in.filled {
		size = min(2*size, MaxBuffer)
	}
	size = max(size, n)
	switch {
	case size > len(in.buf):
		buf := make([]byte, size)
		in.w = copy(buf, in.Buffered())
		in.r = 0
		in.buf = buf
	case in.r == in.w:
		in.r, in.w = 0, 0
	case size-in.r < n:
		in.w = copy(in.buf, in.Buffered())
		in.r = 0
	}
}

// Next hands out the next n bytes, which Wait has buffered, until the buffer is read into again.
func (in *Input) Next(n int) []byte {
	b := in.buf[in.r : in.r+n : in.r+n]
	in.r += n
	return b
}

// Detach leaves what Next has returned to its holder: from now on another buffer is read into.
func (in *Input) Detach() { in.buf = slices.Clone(in.buf) }

// Read reads what is buffered, then the socket: a long p without the detour over the buffer.
func (in *Input) Read(p []byte) (int, error) {
	if in.Limit >= 0 && len(p) > in.Limit {
		return 0, ErrLimit
	}
	if in.r == in.w {
		if in.Limit < 0 && len(p) >= len(in.buf)/2 {
			in.beforeRead()
			return in.src.Read(p)
		}
		if err := in.Wait(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	if in.Limit >= 0 {
		in.Limit -= n
	}
	return n, nil
}

// Discard drops up to n bytes, as many as one read of the socket yields, and returns how many.
func (in *Input) Discard(n int) (int, error) {
	if err := in.Wait(1); err != nil {
		return 0, err
	}
	n = min(n, in.w-in.r)
	in.r += n
	return n, nil
}
