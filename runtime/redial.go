package rpcmesh

import (
	"context"
	"math/rand/v2"
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
func (r *redial) reset() { r.pause = r.link.linker.cfg.RedialMin }

// wait waits until it is time to dial again, or ctx ends.
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
			if now := lk.links.addresses.version(); now != seen {
				seen, ahead = now, true
			}
		}
		if ahead && !hurried && r.limiter.allow(time.Now()) {
			// Others want the same host for the same reason.
			over.Reset(rand.N(lk.cfg.RedialMin/2 + 1))
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
func (ls *linkSet) redialOthers(l *Link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for other := range ls.dialled {
		if other != l {
			other.redialSoon()
		}
	}
}

// redialLimiter bounds how often a host is dialled ahead of time.
type redialLimiter struct {
	users int // links; the linkSet's lock guards it

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

// acquireLimiterLocked returns the pace of a host for one more link.
func (ls *linkSet) acquireLimiterLocked(host string) *redialLimiter {
	p := ls.redialLimiters[host]
	if p == nil {
		p = new(redialLimiter)
		ls.redialLimiters[host] = p
	}
	p.users++
	return p
}

// releaseLimiterLocked is for a link that is done with the pace of its host.
func (ls *linkSet) releaseLimiterLocked(host string, p *redialLimiter) {
	p.users--
	if p.users == 0 {
		delete(ls.redialLimiters, host)
	}
}
