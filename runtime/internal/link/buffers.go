package link

import (
	"math/bits"
	"sync"
)

// Buffer is a slice from a pool. Whoever holds it frees it, once, or leaves it to the collector.
type Buffer struct {
	B        []byte
	unpooled bool // B is of no pool
}

// WrapBuffer returns a Buffer of b, which Free leaves alone.
func WrapBuffer(b []byte) *Buffer { return &Buffer{B: b, unpooled: true} }

// Buffers have classes of sizes. Up to 1<<coarseBits each class is twice as long as the one before. Beyond that there are
// eight classes for each doubling, so that a message which is a little longer than a power of two does not take twice as
// much.
const (
	minBufferBits = 9  // 512 B
	coarseBits    = 15 // 32 KiB
	maxBufferBits = 21 // 2 MiB; longer ones are not kept
	stepBits      = 3

	coarseClasses = coarseBits - minBufferBits + 1
)

var bufferPools [coarseClasses + (maxBufferBits-coarseBits)<<stepBits]sync.Pool

// bufferClass returns the class of the buffers for n bytes, and how long they are. The class is -1 where they are not
// pooled.
func bufferClass(n int) (class, size int) {
	size2 := max(bits.Len(uint(max(n, 1)-1)), minBufferBits) // bits of the next power of two
	switch {
	case size2 <= coarseBits:
		return size2 - minBufferBits, 1 << size2
	case size2 > maxBufferBits:
		return -1, n
	}
	step := size2 - 1 - stepBits
	steps := (n + 1<<step - 1) >> step // from 1<<stepBits + 1 to twice 1<<stepBits
	return coarseClasses + (size2-coarseBits-2)<<stepBits + steps - 1, steps << step
}

// bufferSize is how long NewBuffer(n) is.
func bufferSize(n int) int {
	_, size := bufferClass(n)
	return size
}

// NewBuffer returns an empty buffer for n bytes or more.
func NewBuffer(n int) *Buffer {
	class, size := bufferClass(n)
	if class >= 0 {
		if b, ok := bufferPools[class].Get().(*Buffer); ok {
			return b
		}
	}
	return &Buffer{B: make([]byte, 0, size)}
}

// CopyBuffer returns a buffer with a copy of p.
func CopyBuffer(p []byte) *Buffer {
	b := NewBuffer(len(p))
	b.B = append(b.B, p...)
	return b
}

// Free gives the buffer back for others to use.
func (b *Buffer) Free() {
	class, size := bufferClass(cap(b.B))
	if b.unpooled || class < 0 || size != cap(b.B) {
		return
	}
	b.B = b.B[:0]
	bufferPools[class].Put(b)
}
