package h2serve

import (
	"runtime"
	"time"
)

// Flush writes what there is to write, unless somebody is writing, who then takes it along. It may wait for
// the socket, and lets others go before whose answers are about to come.
func (c *Conn) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing || c.broken || len(c.out) == 0 {
		return
	}
	c.writing = true
	if len(c.state.streams) > 1 {
		c.yieldLocked()
	}
	c.writeAllLocked()
}

// FlushNow writes what goes without waiting, and leaves the rest to a goroutine. It is for those who may not
// wait.
func (c *Conn) FlushNow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing || c.broken || len(c.out) == 0 {
		return
	}
	c.writing = true
	for len(c.out) > 0 && !c.broken {
		b := c.takeOutputLocked()
		c.mu.Unlock()
		n, err := c.try(b)
		c.mu.Lock()
		switch {
		case err != nil:
			c.broken = true
		case n < len(b):
			c.wg.Go(func() { c.finishWrite(b, n) })
			return
		default:
			c.putBackLocked(b)
		}
	}
	c.writtenLocked()
}

// yieldLocked lets others add what they are about to write, for as long as they do. It unlocks meanwhile.
func (c *Conn) yieldLocked() {
	for range maxYields {
		had := len(c.out)
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		if len(c.out) == had {
			return
		}
	}
}

// finishWrite writes what FlushNow has left.
func (c *Conn) finishWrite(b []byte, from int) {
	err := c.write(b[from:])
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = c.broken || err != nil
	c.putBackLocked(b)
	c.writeAllLocked()
}

// writeAllLocked writes until there is nothing more, and lets go of writing. It unlocks while it writes.
func (c *Conn) writeAllLocked() {
	for len(c.out) > 0 && !c.broken {
		b := c.takeOutputLocked()
		c.mu.Unlock()
		err := c.write(b)
		c.mu.Lock()
		c.broken = c.broken || err != nil
		c.putBackLocked(b)
	}
	c.writtenLocked()
}

// takeOutputLocked takes what waits.
func (c *Conn) takeOutputLocked() []byte {
	b := c.out
	c.out, c.spare = c.spare[:0], nil
	c.controlBytes = 0
	return b
}

// putBackLocked keeps the memory of what has been written, and lets handlers go on.
func (c *Conn) putBackLocked(b []byte) {
	if cap(b) <= 2*maxOutput {
		c.spare = b[:0]
	}
	c.sendPendingLocked()
	c.cond.Broadcast()
}

// writtenLocked ends the writing.
func (c *Conn) writtenLocked() {
	c.writing = false
	if c.broken {
		c.out = nil
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // the reader ends the connection
	}
	c.cond.Broadcast()
}

// try returns how much of b the socket took. The caller writes.
func (c *Conn) try(b []byte) (int, error) {
	if c.raw == nil {
		return 0, nil
	}
	return c.raw.TryWrite(b)
}

// write writes b. The client has its time for each piece. The caller writes.
func (c *Conn) write(b []byte) error {
	n, err := c.try(b)
	if err != nil || n == len(b) {
		return err
	}
	for b = b[n:]; len(b) > 0 && err == nil; b = b[n:] {
		c.extendWriteDeadline()
		n, err = c.nc.Write(b[:min(len(b), writePiece)])
	}
	if c.raw != nil && err == nil {
		c.deadline = time.Time{}
		_ = c.nc.SetWriteDeadline(c.deadline) // which trying would find
	}
	return err
}

// extendWriteDeadline sets the deadline of a write. Each setting costs: it is set ahead.
func (c *Conn) extendWriteDeadline() {
	if now := time.Now(); c.deadline.Sub(now) < c.opts.WriteTimeout {
		c.deadline = now.Add(c.opts.WriteTimeout + c.opts.WriteTimeout/4) // short: no user sets it
		_ = c.nc.SetWriteDeadline(c.deadline)
	}
}
