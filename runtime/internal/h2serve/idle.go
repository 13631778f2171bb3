package h2serve

import "time"

// idleTicks is in how many parts the time is counted for which nothing is asked. Requests note no times: each would
// cost one a look at the clock.
const idleTicks = 4

// idleness is how long nothing has been asked.
type idleness struct {
	timer *time.Timer
	last  uint32 // the highest stream there was
	quiet int    // ticks since
}

// watchIdle ends the connection once nothing has been asked for IdleTimeout, until the function that it returns is
// called.
func (c *Conn) watchIdle() (stop func()) {
	if c.opts.IdleTimeout < 0 {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idleness.timer = time.AfterFunc(c.opts.IdleTimeout/idleTicks, c.tick)
	return func() { c.idleness.timer.Stop() }
}

func (c *Conn) tick() {
	c.mu.Lock()
	i := &c.idleness
	switch {
	case c.state.open > 0:
		i.quiet = -1 // it may have been until now
	case c.state.last != i.last:
		i.quiet = 0
	default:
		i.quiet++
	}
	i.last = c.state.last
	over := i.quiet >= idleTicks
	if !over && c.state.err == nil {
		i.timer.Reset(c.opts.IdleTimeout / idleTicks)
	}
	c.mu.Unlock()
	if over {
		_ = c.fail(errIdle)
	}
}
