package link

import (
	"math/bits"
	"sync"
)

// buffer is a slice from a pool. Whoever holds it frees it, once, or leaves it to the collector.
type buffer struct{ b []byte }

const (
	minBufferBits = 9  // 512 B
	maxBufferBits = 21 // 2 MiB; longer ones are not kept
)

var bufferPools [maxBufferBits - minBufferBits + 1]sync.Pool

// newBuffer returns an empty buffer for n bytes or more.
func newBuffer(n int) *buffer {
	size := max(bits.Len(uint(max(n, 1)-1)), minBufferBits)
	if size > maxBufferBits {
		return &buffer{b: make([]byte, 0, n)}
	}
	if b, ok := bufferPools[size-minBufferBits].Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 1<<size)}
}

func (b *buffer) free() {
	size := bits.Len(uint(cap(b.b) - 1))
	if cap(b.b) != 1<<size || size < minBufferBits || size > maxBufferBits {
		return
	}
	b.b = b.b[:0]
	bufferPools[size-minBufferBits].Put(b)
}
