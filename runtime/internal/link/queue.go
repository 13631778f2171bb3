package link

import (
	"math/bits"
	"slices"
	"unsafe"
)

// queue holds records of bytes in the order in which they came: the messages that a call has received, or the frames
// that wait at a relay. A record may be added in pieces. The bytes lie in one pooled buffer, which an empty queue gives
// back. The zero value is an empty queue.
type queue struct {
	buf        *Buffer
	readOffset int // where the first record begins in buf
	partial    int // how many bytes at the end of buf belong to a record that is not whole

	records []record
	first   int // the first record in records
	inline  [2]record
	// announced is how long the peer says that the record will be which is not whole; 0 where it does not.
	announced int

	borrowed    bool    // the last record that pop returned lies in buf
	borrowedOld *Buffer // or in here
}

// longRecord is the size from which a record that is not whole is given no more than its length again to grow by.
const longRecord = 256 << 10

type record struct {
	size int
	cost int
	last bool
}

// bytes is how many bytes wait, with those of a record that is not whole.
func (q *queue) bytes() int {
	if q.buf == nil {
		return 0
	}
	return len(q.buf.B) - q.readOffset
}

// memory is how much memory the queue holds, with what pop has returned.
func (q *queue) memory() int {
	n := 0
	if q.buf != nil {
		n = cap(q.buf.B)
	}
	if q.borrowedOld != nil {
		n += cap(q.borrowedOld.B)
	}
	if c := cap(q.records); c > len(q.inline) {
		n += c * int(unsafe.Sizeof(record{}))
	}
	return n
}

// empty reports whether no whole record waits.
func (q *queue) empty() bool { return q.first == len(q.records) }

// append adds p to the record at the end. Where memory is ample, the buffer is made as long as the record is announced
// to be, or longer than is needed now: two pieces are seldom all, and each time all is copied.
func (q *queue) append(p []byte, more, ample bool) {
	if q.buf == nil || len(q.buf.B)+len(p) > cap(q.buf.B) {
		q.grow(q.capacityFor(len(p), more, ample))
	}
	q.buf.B = append(q.buf.B, p...)
	q.partial += len(p)
}

// capacityFor is how long append makes the buffer for what waits and n bytes more.
func (q *queue) capacityFor(n int, more, ample bool) int {
	whole := q.announcedSize(n)
	n += q.bytes()
	switch {
	case !more:
		return n
	case whole > 0 && ample:
		return whole
	case whole > 0:
		return min(tightCapacity(n), whole)
	case ample && n <= longRecord:
		return 4 * n
	case ample:
		return 2 * n
	}
	return tightCapacity(n)
}

// announcedSize is the announced length of the record that n bytes more belong to, if it has one that can be true, and
// is all that the queue is to hold; otherwise 0.
func (q *queue) announcedSize(n int) int {
	if q.bytes() > q.partial || q.announced < q.partial+n {
		return 0
	}
	return q.announced
}

// tightCapacity is the capacity for a record of n bytes that goes on, where memory is short: for a quarter more, rounded
// up to a power of two, so that it is not moved too often.
func tightCapacity(n int) int {
	n += n / 4
	if size := bits.Len(uint(max(n, 1) - 1)); size <= maxBufferBits {
		return 1 << size
	}
	return n
}

// memoryWith is what memory will return once n bytes more have been added, where memory is short.
func (q *queue) memoryWith(n int, more bool) int {
	have := q.memory()
	if q.buf != nil {
		if len(q.buf.B)+n <= cap(q.buf.B) {
			return have
		}
		have -= cap(q.buf.B)
	}
	return have + bufferSize(q.capacityFor(n, more, false))
}

// grow moves what has not been read into another buffer with room for n bytes.
func (q *queue) grow(n int) {
	old := q.buf
	q.buf = NewBuffer(n)
	if old == nil {
		return
	}
	q.buf.B = append(q.buf.B, old.B[q.readOffset:]...)
	q.readOffset = 0
	if q.borrowed {
		q.borrowed, q.borrowedOld = false, old
		return
	}
	old.Free()
}

// endRecord ends the record at the end.
func (q *queue) endRecord(cost int, last bool) {
	if q.records == nil {
		q.records = q.inline[:0]
	}
	if len(q.records) == cap(q.records) && q.first > 0 {
		q.records = q.records[:copy(q.records, q.records[q.first:])]
		q.first = 0
	}
	q.records = append(q.records, record{size: q.partial, cost: cost, last: last})
	q.partial, q.announced = 0, 0
}

// peek returns the first record without taking it.
func (q *queue) peek() (p []byte, r record) {
	r = q.records[q.first]
	if r.size > 0 {
		p = q.buf.B[q.readOffset : q.readOffset+r.size]
	}
	return p, r
}

// pop takes the first record. Its bytes are valid until release.
func (q *queue) pop() (p []byte, r record) {
	p, r = q.peek()
	q.first++
	if q.empty() {
		q.records, q.first = q.records[:0], 0
	}
	q.readOffset += r.size
	q.borrowed = r.size > 0
	return slices.Clip(p), r
}

// popBuffer takes the first record into a buffer of its own, which is the queue's where there is nothing else in that.
func (q *queue) popBuffer() *Buffer {
	p, r := q.pop()
	if q.buf != nil && q.readOffset == r.size && q.empty() && q.partial == 0 {
		b := q.buf
		b.B = b.B[:r.size]
		q.buf, q.readOffset = nil, 0
		q.borrowed = false
		return b
	}
	b := NewBuffer(r.size)
	b.B = append(b.B, p...)
	q.release()
	return b
}

// release ends the use of what pop returned.
func (q *queue) release() {
	q.borrowed = false
	if q.borrowedOld != nil {
		q.borrowedOld.Free()
		q.borrowedOld = nil
	}
	if q.empty() && q.partial == 0 && q.buf != nil {
		q.buf.Free()
		q.buf, q.readOffset = nil, 0
	}
}

// discard empties the queue. What pop has returned stays valid.
func (q *queue) discard() {
	kept := q.borrowedOld
	switch {
	case q.borrowed:
		kept = q.buf
	case q.buf != nil:
		q.buf.Free()
	}
	*q = queue{borrowedOld: kept}
}
