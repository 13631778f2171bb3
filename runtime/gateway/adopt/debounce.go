package adopt

import (
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// debouncer passes on events of one kind at once, but then none for a growing while: a server may close its
// connections for reasons of its own, even each of them right away.
type debouncer struct {
	events, active <-chan struct{}  // active is nil during a pause
	resumeAt       <-chan time.Time // ends the pause
	delay          time.Duration
	cfg            *Config
}

func (a *Server) newDebouncer(c <-chan struct{}) *debouncer {
	return &debouncer{events: c, active: c, delay: a.cfg.RetryMin, cfg: &a.cfg}
}

// pause holds events back for a while.
func (n *debouncer) pause() {
	n.active, n.resumeAt = nil, time.After(n.delay)
	n.delay = min(duration.Times(n.delay, 2), n.cfg.ProbeInterval)
}

func (n *debouncer) resume() {
	n.active, n.resumeAt = n.events, nil
	if len(n.events) == 0 {
		n.delay = n.cfg.RetryMin
	}
}
