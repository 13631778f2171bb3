package h2serve

import "time"

// idleTicks is into how many parts IdleTimeout is divided. A tick compares what there was at the one before: requests
// need not read the clock.
const idleTicks = 4

// idleTimer counts for how long there has been no request.
type idleTimer struct {
	timer      *time.Timer
	lastOpened uint32 // the highest stream there was
	ticks      int    // ticks since
}

// watchIdle ends the connection once there has been no request for IdleTimeout, until the function that it returns is
// called.
func (c *Conn) watchIdle() (stop func()) {
	if c.opts.IdleTimeout < 0 {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle.timer = time.AfterFunc(c.opts.IdleTimeout/idleTicks, c.checkIdle)
	return func() { c.idle.timer.Stop() }
}

func (c *Conn) checkIdle() {
	c.mu.Lock()
	i := &c.idle
	switch {
	case c.state.open > 0:
		i.ticks = -1 // it may have been until now
	case c.state.lastOpened != i.lastOpened:
		i.ticks = 0
	default:
		i.ticks++
	}
	i.lastOpened = c.state.lastOpened
	over := i.ticks >= idleTicks
	if !over && c.state.err == nil {
		i.timer.Reset(c.opts.IdleTimeout / idleTicks)
	}
	c.mu.Unlock()
	if over {
		_ = c.fail(errIdle)
	}
}
