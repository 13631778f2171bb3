package rpcmesh

import (
	"hash/maphash"
	"net"
	"sync"
	"time"
)

// addressMonitor tells when the host's addresses have changed.
type addressMonitor struct {
	list func() ([]net.Addr, error) // nil: links do not go by them

	mu        sync.Mutex
	checkedAt time.Time
	checksum  uint64
	changes   int
}

var addressSeed = maphash.MakeSeed()

// version returns a number that is another one once they have.
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
	var sum uint64 // in whatever order they come
	for _, a := range all {
		sum ^= maphash.String(addressSeed, a.String())
	}
	if sum != w.checksum && !first {
		w.changes++
	}
	w.checksum = sum
	return w.changes
}
