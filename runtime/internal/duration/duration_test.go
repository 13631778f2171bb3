package duration_test

import (
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// nearest returns the int64 that is nearest to n.
func nearest(n *big.Int) int64 {
	switch {
	case n.IsInt64():
		return n.Int64()
	case n.Sign() < 0:
		return math.MinInt64
	default:
		return math.MaxInt64
	}
}

// FuzzDuration compares with numbers of any length.
func FuzzDuration(f *testing.F) {
	edges := []int64{math.MinInt64, math.MinInt64 + 1, math.MinInt64 / 2, -2, -1, 0, 1, 2, 3, int64(time.Second), 1 << 32, math.MaxInt64 / 2, math.MaxInt64 - 1, math.MaxInt64}
	for _, a := range edges {
		for _, b := range edges {
			f.Add(a, b)
		}
	}
	f.Fuzz(func(t *testing.T, a, b int64) {
		x, y := big.NewInt(a), big.NewInt(b)
		if got, want := int64(duration.Add(time.Duration(a), time.Duration(b))), nearest(new(big.Int).Add(x, y)); got != want {
			t.Errorf("%d + %d = %d, want %d", a, b, got, want)
		}
		if got, want := int64(duration.Times(time.Duration(a), b)), nearest(new(big.Int).Mul(x, y)); got != want {
			t.Errorf("%d * %d = %d, want %d", a, b, got, want)
		}
	})
}
