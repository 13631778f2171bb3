package rpcmesh

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

const (
	// A host is redialled early redialBurst times in a row, and then once per redialInterval.
	redialBurst    = 3
	redialInterval = time.Second
	// addressInterval is the interval at which the host's addresses are checked for changes.
	addressInterval = time.Second
)

// redial decides when a link is dialled again: after a pause that doubles with each failure, or earlier where a call
// needs the link or the network seems to be back.
type redial struct {
	link    *Link
	pause   time.Duration
	limiter *redialLimiter
}

// reset sets the pause to the shortest.
func (r *redial) reset() { r.pause = r.link.linker.cfg.RedialMin }

// wait waits until it is time to redial, or until ctx ends.
func (r *redial) wait(ctx context.Context) {
	lk := r.link.linker
	pause := r.pause - rand.N(r.pause/2+1)
	r.pause = min(duration.Times(r.pause, 2), lk.cfg.RedialMax)
	over := time.NewTimer(pause)
	defer over.Stop()
	look := time.NewTicker(addressInterval)
	defer look.Stop()
	seen := lk.links.addresses.version()
	select {
	case <-r.link.redialNow: // an outdated request
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
			if now := lk.links.addresses.version(); now != seen {
				seen, ahead = now, true
			}
		}
		if ahead && !hurried && r.limiter.allow(time.Now()) {
			// Spread the redials of all who lost the host at once.
			over.Reset(rand.N(lk.cfg.RedialMin/2 + 1))
			hurried = true
		}
	}
}

// redialSoon asks for an early redial of the link if it is down, unless the other end has refused it.
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

// redialOthers asks for an early redial of all links but l: l is back, so they may be, too.
func (ls *linkSet) redialOthers(l *Link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for other := range ls.dialled {
		if other != l {
			other.redialSoon()
		}
	}
}

// redialLimiter limits early redials of a host (a token bucket).
type redialLimiter struct {
	users int // links; the linkSet's lock guards it

	mu   sync.Mutex
	next time.Time // when the next token is available without any left over
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

// acquireLimiterLocked returns the limiter of a host for one more link.
func (ls *linkSet) acquireLimiterLocked(host string) *redialLimiter {
	p := ls.redialLimiters[host]
	if p == nil {
		p = new(redialLimiter)
		ls.redialLimiters[host] = p
	}
	p.users++
	return p
}

// releaseLimiterLocked releases the limiter of a host for one link.
func (ls *linkSet) releaseLimiterLocked(host string, p *redialLimiter) {
	p.users--
	if p.users == 0 {
		delete(ls.redialLimiters, host)
	}
}
