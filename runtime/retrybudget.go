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

// retryBudget limits a node's retries to a share of its calls, as Finagle's RetryBudget does: permanent failures cost
// only that share of additional load, however often each call could be retried. The zero value is ready to use.
type retryBudget struct {
	calls atomic.Uint64 // made so far

	mu           sync.Mutex
	countedCalls uint64    // calls when it was looked at last
	advancedAt   time.Time // when that was
	balance      float64   // retries
}

// deposit counts a call.
func (b *retryBudget) deposit() {
	if b.calls.Add(1)%retryStride == 0 && b.mu.TryLock() {
		b.advanceLocked(time.Now())
		b.mu.Unlock()
	}
}

// tryWithdraw takes one retry from the balance, if there is one.
func (b *retryBudget) tryWithdraw() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advanceLocked(time.Now())
	if b.balance < 1 {
		return false
	}
	b.balance--
	return true
}

// advanceLocked adds what has been earned since the last time, and lets the earlier balance decay.
func (b *retryBudget) advanceLocked(now time.Time) {
	calls := b.calls.Load()
	kept := math.Exp(-now.Sub(b.advancedAt).Seconds() / retrySpan.Seconds())
	b.balance = b.balance*kept + retryShare*float64(calls-b.countedCalls) + retryRate*retrySpan.Seconds()*(1-kept)
	b.countedCalls, b.advancedAt = calls, now
}
