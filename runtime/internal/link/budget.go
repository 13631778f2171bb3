package link

import (
	"sync"
	"sync/atomic"
)

// Budget bounds what the sessions of one node hold together for calls; see Limits.Memory.
//
// A session may hold half of what is then left to the others, at most: so the next one still finds room when several
// hold all that they may.
type Budget struct {
	limit      int64
	held       atomic.Int64 // in shares
	hasWaiters atomic.Bool  // waiting is not empty

	mu       sync.Mutex
	waiting  map[*Session]struct{} // those with calls that wait for memory
	exceeder *Session              // the one session of which a call may exceed the budget
}

// NewBudget returns a budget of so many bytes; 0 is the default, 256 MiB.
func NewBudget(bytes int) *Budget {
	return &Budget{limit: int64(orDefault(bytes, defaultNodeMemory)), waiting: make(map[*Session]struct{})}
}

// Held is how many bytes the sessions hold, less up to 32 KiB for each.
func (b *Budget) Held() int { return int(b.held.Load()) }

// sessionShare: a session may hold one in so many parts of what is left.
const sessionShare = 2

// shareBits: sessions count here in shares of 32 KiB, so that most calls touch only the count of their own session.
const shareBits = 15

// wholeShares is how much of so many used bytes a Budget counts.
func wholeShares(used int64) int64 { return used >> shareBits << shareBits }

// add counts n bytes, which may be negative.
func (b *Budget) add(n int64) {
	b.held.Add(n)
	if n >= 0 || !b.hasWaiters.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.waiting {
		s.wakeKeepalive()
	}
}

// fits reports whether a session that holds used bytes may hold n more, in one of so many equal parts of the budget.
func (b *Budget) fits(parts, used, n int64) bool {
	return sessionShare*(used+n) <= b.limit/parts-b.held.Load()
}

// claimExcess lets s exceed the budget, and reports that, if no other session does.
func (b *Budget) claimExcess(s *Session) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exceeder == nil {
		b.exceeder = s
	}
	return b.exceeder == s
}

// releaseExcess ends what claimExcess has begun.
func (b *Budget) releaseExcess(s *Session) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.exceeder != s {
		return
	}
	b.exceeder = nil
	for s := range b.waiting {
		s.wakeKeepalive()
	}
}

// setWaiting notes whether s has calls that wait for memory.
func (b *Budget) setWaiting(s *Session, waits bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if waits {
		b.waiting[s] = struct{}{}
	} else {
		delete(b.waiting, s)
	}
	b.hasWaiters.Store(len(b.waiting) > 0)
}
