// Package duration calculates with durations that peers, callers and configurations give, which may be of any
// length: where the result is too long for a time.Duration it is the longest one, and does not wrap around.
package duration

import (
	"math"
	"time"
)

const (
	longest  = time.Duration(math.MaxInt64)
	shortest = time.Duration(math.MinInt64)
)

// Add returns a + b, or what is nearest to it.
func Add(a, b time.Duration) time.Duration {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return longest
	case a < 0 && b < 0 && sum >= 0:
		return shortest
	}
	return sum
}

// Times returns d * n, or what is nearest to it.
func Times(d time.Duration, n int64) time.Duration {
	if d == 0 || n == 0 {
		return 0
	}
	product := d * time.Duration(n)
	if product/time.Duration(n) == d && (product < 0) == ((d < 0) != (n < 0)) {
		return product
	}
	if (d < 0) != (n < 0) {
		return shortest
	}
	return longest
}
