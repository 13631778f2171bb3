package rpcmesh

import (
	"hash/maphash"
	"net"
	"sync"
	"time"
)

// addressMonitor detects changes of the host's network addresses.
type addressMonitor struct {
	list func() ([]net.Addr, error) // nil: changes are not looked for

	mu        sync.Mutex
	checkedAt time.Time
	checksum  uint64
	changes   int
}

var addressSeed = maphash.MakeSeed()

// version returns a number that changes whenever the addresses do.
func (w *addressMonitor) version() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if w.list == nil || !w.checkedAt.IsZero() && now.Sub(w.checkedAt) < addressInterval/2 {
		return w.changes
	}
	first := w.checkedAt.IsZero()
	w.checkedAt = now
	all, err := w.list()
	if err != nil {
		return w.changes
	}
	var sum uint64 // independent of their order
	for _, a := range all {
		sum ^= maphash.String(addressSeed, a.String())
	}
	if sum != w.checksum && !first {
		w.changes++
	}
	w.checksum = sum
	return w.changes
}
