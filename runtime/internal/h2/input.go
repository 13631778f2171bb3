package h2

import (
	"errors"
	"io"
	"slices"
)

// The buffer grows as the peer fills it: who has only connected takes little memory.
const (
	firstBuffer = 4 << 10
	maxBuffer   = 128 << 10
)

var errHeaderBlock = errors.New("header block too long")

// input buffers what has been read from the socket. What wait has asked for stays in the buffer if
// reading fails, so that reading can go on after a deadline.
type input struct {
	src  io.Reader
	idle func() // called before src is read

	buf  []byte
	r, w int
	full bool // the last read has filled buf

	// limit is how many bytes Read may still hand out while it is not negative.
	limit int
}

func newInput(src io.Reader, head []byte, idle func()) input {
	in := input{src: src, idle: idle, buf: make([]byte, max(firstBuffer, len(head))), limit: -1}
	in.w = copy(in.buf, head)
	return in
}

func (in *input) buffered() []byte { return in.buf[in.r:in.w] }

// wait blocks until n bytes are buffered.
func (in *input) wait(n int) error {
	for in.w-in.r < n {
		in.makeRoom(n)
		in.idle()
		m, err := in.src.Read(in.buf[in.w:])
		in.w += m
		in.full = in.w == len(in.buf)
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
func (in *input) makeRoom(n int) {
	size := len(in.buf)
	if in.full {
		size = min(2*size, maxBuffer)
	}
	switch size = max(size, n); {
	case size > len(in.buf):
		buf := make([]byte, size)
		in.buf, in.r, in.w = buf, 0, copy(buf, in.buffered())
	case in.r == in.w:
		in.r, in.w = 0, 0
	case size-in.r < n:
		in.r, in.w = 0, copy(in.buf, in.buffered())
	}
}

// next hands out the next n bytes, which wait has buffered, until the buffer is read into again.
func (in *input) next(n int) []byte {
	b := in.buf[in.r : in.r+n : in.r+n]
	in.r += n
	return b
}

// detach leaves what next has handed out to whoever has it: from now on another buffer is read into.
func (in *input) detach() { in.buf = slices.Clone(in.buf) }

// Read reads what is buffered, then the socket: a long p without the detour over the buffer.
func (in *input) Read(p []byte) (int, error) {
	if in.limit >= 0 && len(p) > in.limit {
		return 0, errHeaderBlock
	}
	if in.r == in.w {
		if in.limit < 0 && len(p) >= len(in.buf)/2 {
			in.idle()
			return in.src.Read(p)
		}
		if err := in.wait(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.r:in.w])
	in.r += n
	if in.limit >= 0 {
		in.limit -= n
	}
	return n, nil
}

// discard drops up to n bytes, as many as one read of the socket yields, and returns how many.
func (in *input) discard(n int) (int, error) {
	if err := in.wait(1); err != nil {
		return 0, err
	}
	n = min(n, in.w-in.r)
	in.r += n
	return n, nil
}
