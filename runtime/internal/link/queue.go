package link

import (
	"math/bits"
	"slices"
	"unsafe"
)

// queue holds records of bytes in the order they came: the messages that a call has received, or the
// frames that wait at a relay. A record may be added in pieces. The bytes lie in one pooled buffer,
// which an empty queue gives back. The zero value is an empty queue.
type queue struct {
	buf  *Buffer
	read int // where the first record begins in buf
	open int // how many bytes at the end of buf belong to a record that is not whole

	records []record
	first   int // the first record in records
	few     [2]record
	// expected is how long the record will be that is not whole, as is said; 0 where it is not.
	expected int

	lent bool    // the last record that next returned lies in buf
	kept *Buffer // or in here
}

// longRecord is from where a record that is not whole gets no more than its length again to grow by.
const longRecord = 256 << 10

type record struct {
	size int
	cost int
	last bool
}

// bytes is how much waits, with what there is of a record that is not whole.
func (q *queue) bytes() int {
	if q.buf == nil {
		return 0
	}
	return len(q.buf.B) - q.read
}

// memory is how much memory the queue holds, with what next has returned.
func (q *queue) memory() int {
	n := 0
	if q.buf != nil {
		n = cap(q.buf.B)
	}
	if q.kept != nil {
		n += cap(q.kept.B)
	}
	if c := cap(q.records); c > len(q.few) {
		n += c * int(unsafe.Sizeof(record{}))
	}
	return n
}

// empty reports whether no whole record waits.
func (q *queue) empty() bool { return q.first == len(q.records) }

// extend adds p to the record at the end. Where there is ample memory for what is to come, it takes what a record
// that goes on is said to need, or more than it needs: two pieces are seldom all, and each time all is copied.
func (q *queue) extend(p []byte, more, ample bool) {
	if q.buf == nil || len(q.buf.B)+len(p) > cap(q.buf.B) {
		q.grow(q.room(len(p), more, ample))
	}
	q.buf.B = append(q.buf.B, p...)
	q.open += len(p)
}

// room is how much memory extend takes for what waits and n bytes more.
func (q *queue) room(n int, more, ample bool) int {
	whole := q.whole(n)
	n += q.bytes()
	switch {
	case !more:
		return n
	case whole > 0 && ample:
		return whole
	case whole > 0:
		return min(inShort(n), whole)
	case ample && n <= longRecord:
		return 4 * n
	case ample:
		return 2 * n
	}
	return inShort(n)
}

// whole is how long the record will be that n bytes more belong to, where that is said, can be, and is all that the
// queue is to hold; otherwise 0.
func (q *queue) whole(n int) int {
	if q.bytes() > q.open || q.expected < q.open+n {
		return 0
	}
	return q.expected
}

// inShort is the room for a record of n bytes that goes on, where memory is short: for a quarter more, and as much
// as makes it a power of two, so that it is not moved too often.
func inShort(n int) int {
	n += n / 4
	if size := bits.Len(uint(max(n, 1) - 1)); size <= maxBufferBits {
		return 1 << size
	}
	return n
}

// needs is what memory will be once n bytes more have been added, where memory is short.
func (q *queue) needs(n int, more bool) int {
	have := q.memory()
	if q.buf != nil {
		if len(q.buf.B)+n <= cap(q.buf.B) {
			return have
		}
		have -= cap(q.buf.B)
	}
	return have + bufferSize(q.room(n, more, false))
}

// grow moves what has not been read into another buffer with room for n bytes.
func (q *queue) grow(n int) {
	old := q.buf
	q.buf = NewBuffer(n)
	if old == nil {
		return
	}
	q.buf.B = append(q.buf.B, old.B[q.read:]...)
	q.read = 0
	if q.lent {
		q.lent, q.kept = false, old
		return
	}
	old.Free()
}

// seal ends the record at the end.
func (q *queue) seal(cost int, last bool) {
	if q.records == nil {
		q.records = q.few[:0]
	}
	if len(q.records) == cap(q.records) && q.first > 0 {
		q.records = q.records[:copy(q.records, q.records[q.first:])]
		q.first = 0
	}
	q.records = append(q.records, record{size: q.open, cost: cost, last: last})
	q.open, q.expected = 0, 0
}

// front returns the first record without taking it.
func (q *queue) front() (p []byte, r record) {
	r = q.records[q.first]
	if r.size > 0 {
		p = q.buf.B[q.read : q.read+r.size]
	}
	return p, r
}

// next takes the first record. Its bytes are valid until release.
func (q *queue) next() (p []byte, r record) {
	p, r = q.front()
	q.first++
	if q.empty() {
		q.records, q.first = q.records[:0], 0
	}
	q.read += r.size
	q.lent = r.size > 0
	return slices.Clip(p), r
}

// take takes the first record into a buffer of its own, which is the queue's where nothing else is in it.
func (q *queue) take() *Buffer {
	p, r := q.next()
	if q.buf != nil && q.read == r.size && q.empty() && q.open == 0 {
		b := q.buf
		b.B = b.B[:r.size]
		q.buf, q.read, q.lent = nil, 0, false
		return b
	}
	b := NewBuffer(r.size)
	b.B = append(b.B, p...)
	q.release()
	return b
}

// release ends the use of what next returned.
func (q *queue) release() {
	q.lent = false
	if q.kept != nil {
		q.kept.Free()
		q.kept = nil
	}
	if q.empty() && q.open == 0 && q.buf != nil {
		q.buf.Free()
		q.buf, q.read = nil, 0
	}
}

// drop empties the queue. What next has returned stays valid.
func (q *queue) drop() {
	kept := q.kept
	switch {
	case q.lent:
		kept = q.buf
	case q.buf != nil:
		q.buf.Free()
	}
	*q = queue{kept: kept}
}
