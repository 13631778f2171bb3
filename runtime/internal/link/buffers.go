package link

import (
	"math/bits"
	"sync"
)

// Buffer is a slice from a pool. Whoever holds it frees it, once, or leaves it to the collector.
type Buffer struct{ B []byte }

const (
	minBufferBits = 9  // 512 B
	maxBufferBits = 21 // 2 MiB; longer ones are not kept
)

var bufferPools [maxBufferBits - minBufferBits + 1]sync.Pool

// bufferSize is how long NewBuffer(n) is.
func bufferSize(n int) int {
	size := max(bits.Len(uint(max(n, 1)-1)), minBufferBits)
	if size > maxBufferBits {
		return n
	}
	return 1 << size
}

// NewBuffer returns an empty buffer for n bytes or more.
func NewBuffer(n int) *Buffer {
	size := max(bits.Len(uint(max(n, 1)-1)), minBufferBits)
	if size > maxBufferBits {
		return &Buffer{B: make([]byte, 0, n)}
	}
	if b, ok := bufferPools[size-minBufferBits].Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, 1<<size)}
}

// Free gives the buffer back for others to use.
func (b *Buffer) Free() {
	size := bits.Len(uint(cap(b.B) - 1))
	if cap(b.B) != 1<<size || size < minBufferBits || size > maxBufferBits {
		return
	}
	b.B = b.B[:0]
	bufferPools[size-minBufferBits].Put(b)
}
