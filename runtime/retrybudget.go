package rpcmesh

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// retryShare is how many of a node's calls of the last retrySpan may be repeated, and retryRate how
	// many more a second, so that those of a node that makes few are, too.
	retryShare = 0.2
	retryRate  = 10
	retrySpan  = 10 * time.Second
	// retryStride is how many calls go by between two looks at the clock.
	retryStride = 64
)

// retryBudget bounds a node's retries by its calls, as that of Finagle does: what fails for good costs no
// more than a share of the load again, however often each call might be tried. The zero value is ready.
type retryBudget struct {
	calls atomic.Uint64 // made so far

	mu      sync.Mutex
	counted uint64    // calls when it was looked at last
	at      time.Time // when that was
	left    float64   // retries
}

// call counts a call.
func (b *retryBudget) call() {
	if b.calls.Add(1)%retryStride == 0 && b.mu.TryLock() {
		b.advance(time.Now())
		b.mu.Unlock()
	}
}

// take takes a retry out, if one is left.
func (b *retryBudget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance(time.Now())
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// advance puts in what has been earned, and lets what was earned before go by and by. The caller holds
// b.mu.
func (b *retryBudget) advance(now time.Time) {
	calls := b.calls.Load()
	kept := math.Exp(-now.Sub(b.at).Seconds() / retrySpan.Seconds())
	b.left = b.left*kept + retryShare*float64(calls-b.counted) + retryRate*retrySpan.Seconds()*(1-kept)
	b.counted, b.at = calls, now
}
