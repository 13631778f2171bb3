package rpcmesh

import "sync/atomic"

// pendingCount is a call's entry in the count of calls under way to one origin, which [PolicyLeastPending] goes by. The zero
// value counts nowhere. Its owner's lock guards it.
type pendingCount struct{ counter *atomic.Int64 }

// move has the call counted by counter in the place of the last one; by none where it is nil.
func (p *pendingCount) move(counter *atomic.Int64) {
	if p.counter != nil {
		p.counter.Add(-1)
	}
	p.counter = counter
	if counter != nil {
		counter.Add(1)
	}
}
