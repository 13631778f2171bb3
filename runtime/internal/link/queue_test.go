package link

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

func TestBufferClasses(t *testing.T) {
	last, lastSize := -1, 0
	for n := range 1<<maxBufferBits + 2 {
		class, size := bufferClass(n)
		if n > 1<<maxBufferBits {
			if class != -1 || size != n {
				t.Fatalf("%d bytes: class %d of %d bytes", n, class, size)
			}
			continue
		}
		if size < n || n > 1<<coarseBits && size-n > n/8 || class < last || class > last+1 {
			t.Fatalf("%d bytes: class %d of %d bytes, after class %d of %d", n, class, size, last, lastSize)
		}
		last, lastSize = class, size
		if again, same := bufferClass(size); again != class || same != size {
			t.Fatalf("%d bytes: class %d of %d bytes, which are of class %d of %d", n, class, size, again, same)
		}
	}
	if last != len(bufferPools)-1 {
		t.Errorf("the last class is %d of %d", last, len(bufferPools))
	}
}

func TestWrappedBufferIsLeftAlone(t *testing.T) {
	b := WrapBuffer(make([]byte, 1<<minBufferBits)) // as long as one of a pool
	b.Free()
	if len(b.B) != 1<<minBufferBits {
		t.Error("it was put into a pool")
	}
}

// TestQueueGrowsOnce has a message come of which it is said how long it is: with ample memory its bytes are
// put into one buffer of about that length, and are not moved again.
func TestQueueGrowsOnce(t *testing.T) {
	for _, size := range []int{64<<10 + 4, 300 << 10, 1<<20 + 4, 4<<20 + 4} {
		var q queue
		msg := make([]byte, size)
		q.announced = size
		var first *Buffer
		for rest := msg; len(rest) > 0; {
			piece := rest[:min(len(rest), frame.MaxData)]
			rest = rest[len(piece):]
			q.append(piece, len(rest) > 0, true)
			if first == nil {
				first = q.buf
			}
		}
		q.endRecord(1, true)
		if q.buf != first || cap(q.buf.B) > size+size/8 {
			t.Errorf("%d bytes lie in a buffer of %d, the first: %v", size, cap(q.buf.B), q.buf == first)
		}
		q.discard()
	}
}

// TestQueueProgram puts random records into a queue and takes them out again, as they come or as pieces, of what it
// is said to be the length, rightly or not.
func TestQueueProgram(t *testing.T) {
	for range 100 {
		seed := rand.Uint64()
		runQueue(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func runQueue(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	var q queue
	var want [][]byte
	var open, lent, copied []byte
	for range 100 {
		switch r.IntN(4) {
		case 0, 1:
			p := bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(1+r.IntN(60_000)))
			more, ample := r.IntN(3) > 0, r.IntN(2) == 0
			if len(open) == 0 && more {
				q.announced = r.IntN(2) * r.IntN(500_000)
			}
			need := q.memoryWith(len(p), more) // but for what is lent
			q.append(p, more, ample)
			if had := q.memory(); !ample && !q.borrowed && q.borrowedOld == nil && had > need {
				t.Fatalf("%d bytes are held, after it was said that %d were needed", had, need)
			}
			if open = append(open, p...); !more {
				q.endRecord(7, false)
				want, open = append(want, open), nil
			}
		case 2:
			q.release()
			if lent = nil; len(want) == 0 {
				continue
			}
			p, rec := q.pop()
			if !bytes.Equal(p, want[0]) || rec.cost != 7 {
				t.Fatalf("took a record of %d bytes, not of %d", len(p), len(want[0]))
			}
			want, lent, copied = want[1:], p, bytes.Clone(p)
		case 3:
			if lent = nil; len(want) == 0 {
				continue
			}
			q.release()
			b := q.popBuffer()
			if !bytes.Equal(b.B, want[0]) {
				t.Fatalf("took a record of %d bytes, not of %d", len(b.B), len(want[0]))
			}
			want = want[1:]
			b.Free()
		}
		if lent != nil && !bytes.Equal(lent, copied) {
			t.Fatal("what was lent has changed")
		}
		if got := q.bytes(); got != total(want)+len(open) {
			t.Fatalf("%d bytes wait, not %d", got, total(want)+len(open))
		}
	}
}

func total(all [][]byte) (n int) {
	for _, p := range all {
		n += len(p)
	}
	return n
}
