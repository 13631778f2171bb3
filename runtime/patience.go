package rpcmesh

import (
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

const (
	// firstWait is how long something is waited for before the log says so, and lastWait how long, at most, until
	// it says so again.
	firstWait = 3 * time.Second
	lastWait  = 5 * time.Minute
)

// patience tells when the log is to say what is being waited for: after 3 s, and again after twice the time each.
// Its zero value waits for nothing. One goroutine uses it.
type patience struct {
	timer *time.Timer
	began time.Time
	pause time.Duration
}

// start begins a wait, unless one goes on.
func (p *patience) start() {
	if p.timer == nil {
		p.began, p.pause = time.Now(), firstWait
		p.timer = time.NewTimer(p.pause)
	}
}

// stop ends the wait.
func (p *patience) stop() {
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
}

// due yields when it is time to say something, after which again is to be called.
func (p *patience) due() <-chan time.Time {
	if p.timer == nil {
		return nil
	}
	return p.timer.C
}

// again sets the time of the next word.
func (p *patience) again() {
	p.pause = min(duration.Times(p.pause, 2), lastWait)
	p.timer.Reset(p.pause)
}

// waited is how long the wait has lasted, in whole seconds.
func (p *patience) waited() time.Duration { return time.Since(p.began).Round(time.Second) }
