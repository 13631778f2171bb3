package rpcmesh

import (
	"context"
	"hash/maphash"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

const (
	// Links to one host are dialled ahead of their time so many times in a row, and then once a redialInterval.
	redialBurst    = 3
	redialInterval = time.Second
	// addressInterval is how often it is looked at most whether the host's addresses have changed.
	addressInterval = time.Second
)

// redial is when a link is dialled again: after a pause that doubles with each failure, or ahead of time where a
// call wants the link, or the network seems to have come back.
type redial struct {
	link    *Link
	pause   time.Duration
	limiter *redialLimiter
}

// reset makes the next pause the first.
func (r *redial) reset() { r.pause = r.link.node.cfg.RedialMin }

// wait waits until it is time to dial again, or ctx ends.
func (r *redial) wait(ctx context.Context) {
	n := r.link.node
	pause := r.pause - rand.N(r.pause/2+1)
	r.pause = min(duration.Times(r.pause, 2), n.cfg.RedialMax)
	over := time.NewTimer(pause)
	defer over.Stop()
	look := time.NewTicker(addressInterval)
	defer look.Stop()
	seen := n.addresses.version()
	select {
	case <-r.link.redialNow: // of before: that dial is done
	default:
	}
	for hurried := false; ; {
		ahead := false
		select {
		case <-ctx.Done():
			return
		case <-over.C:
			return
		case <-r.link.redialNow:
			ahead = true
		case <-look.C:
			if now := n.addresses.version(); now != seen {
				seen, ahead = now, true
			}
		}
		if ahead && !hurried && r.limiter.allow(time.Now()) {
			// Others want the same host for the same reason.
			over.Reset(rand.N(n.cfg.RedialMin/2 + 1))
			hurried = true
		}
	}
}

// redialSoon has the link dialled ahead of its time if it is down, unless the other end has refused it.
func (l *Link) redialSoon() {
	l.mu.Lock()
	refused := l.refused
	l.mu.Unlock()
	if refused {
		return
	}
	select {
	case l.redialNow <- struct{}{}:
	default:
	}
}

// redialOthers is want for all links but l, which has come up again: so may they.
func (n *Node) redialOthers(l *Link) {
	n.callMu.Lock()
	defer n.callMu.Unlock()
	for other := range n.links {
		if other != l {
			other.redialSoon()
		}
	}
}

// redialLimiter bounds how often a host is dialled ahead of time.
type redialLimiter struct {
	users int // links; the node's callMu guards it

	mu   sync.Mutex
	next time.Time // when one is free whatever was before
}

func (p *redialLimiter) allow(now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	if p.next.Sub(now) > (redialBurst-1)*redialInterval {
		return false
	}
	p.next = p.next.Add(redialInterval)
	return true
}

// acquireLimiterLocked returns the pace of a host for one more link. The caller holds callMu.
func (n *Node) acquireLimiterLocked(host string) *redialLimiter {
	p := n.redialLimiters[host]
	if p == nil {
		p = new(redialLimiter)
		n.redialLimiters[host] = p
	}
	p.users++
	return p
}

// releaseLimiterLocked is for a link that is done with the pace of its host. The caller holds callMu.
func (n *Node) releaseLimiterLocked(host string, p *redialLimiter) {
	p.users--
	if p.users == 0 {
		delete(n.redialLimiters, host)
	}
}

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
