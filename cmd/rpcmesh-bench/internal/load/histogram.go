package load

import (
	"math/bits"
	"sync"
	"time"
)

const (
	// subBits gives each power of two of nanoseconds 64 buckets: a width below 1.6 % of the value.
	subBits    = 6
	subBuckets = 1 << subBits
	// buckets reach to 2^37 ns, over two minutes.
	buckets = (37 - subBits + 1) * subBuckets
)

// histogram counts durations, a caller's or a few callers'. They are merged at the end.
type histogram struct {
	mu     sync.Mutex // held by record
	counts [buckets]uint32
	total  int64
}

func (h *histogram) record(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[min(bucketOf(uint64(max(d, 0))), buckets-1)]++
	h.total++
}

func (h *histogram) merge(other *histogram) {
	for i, n := range &other.counts {
		h.counts[i] += n
	}
	h.total += other.total
}

// quantile returns the duration that a share q of those recorded do not exceed, in between the bounds
// of its bucket. It is 0 where nothing was recorded.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := q * float64(h.total)
	var below float64
	for i, n := range &h.counts {
		if n == 0 || below+float64(n) < rank {
			below += float64(n)
			continue
		}
		low, high := boundsOf(i)
		return time.Duration(float64(low) + (rank-below)/float64(n)*float64(high-low))
	}
	low, _ := boundsOf(buckets - 1)
	return time.Duration(low)
}

// bucketOf: values below 64 have a bucket each; above, the highest 7 bits choose it.
func bucketOf(v uint64) int {
	if v < subBuckets {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - subBuckets
}

func boundsOf(bucket int) (low, high uint64) {
	if bucket < subBuckets {
		return uint64(bucket), uint64(bucket) + 1
	}
	shift := bucket>>subBits - 1
	low = uint64(bucket-shift<<subBits) << shift
	return low, low + 1<<shift
}
