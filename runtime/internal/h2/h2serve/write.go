package h2serve

import (
	"runtime"
	"time"
)

// Whoever finds output and nobody writing claims it: it is the writer until nextOutput returns nothing more. The lock is
// not held while it writes.

// Flush writes what there is to write, unless somebody is writing, who then takes it along. It may wait for
// the socket, and lets others go before whose answers are about to come.
func (c *Conn) Flush() {
	c.mu.Lock()
	if !c.canClaimLocked() {
		c.mu.Unlock()
		return
	}
	if len(c.state.streams) <= 1 {
		b := c.claimOutputLocked()
		c.mu.Unlock()
		c.writeAll(b)
		return
	}
	c.writing = true
	before := len(c.out)
	c.mu.Unlock()
	c.writeAll(c.gatherOutput(before))
}

// gatherOutput lets others add what they are about to write, for as long as they do, and returns it all. The caller
// is the writer; there were so many bytes before.
func (c *Conn) gatherOutput(before int) []byte {
	for i := 1; ; i++ {
		runtime.Gosched()
		c.mu.Lock()
		if len(c.out) == before || i == maxYields {
			b := c.takeOutputLocked()
			c.mu.Unlock()
			return b
		}
		before = len(c.out)
		c.mu.Unlock()
	}
}

// FlushNow writes what goes without waiting, and leaves the rest to a goroutine. It is for those who may not
// wait.
func (c *Conn) FlushNow() {
	for b := c.claimOutput(); b != nil; {
		n, err := c.tryWrite(b)
		if err == nil && n < len(b) {
			rest := b // b, captured, would cost each flush an allocation
			c.wg.Go(func() { c.finishWrite(rest, n) })
			return
		}
		b = c.nextOutput(b, err)
	}
}

// finishWrite writes what FlushNow has left.
func (c *Conn) finishWrite(b []byte, from int) {
	err := c.write(b[from:])
	c.writeAll(c.nextOutput(b, err))
}

// writeAll writes b, and then until there is nothing more. The caller is the writer, and ceases to be.
func (c *Conn) writeAll(b []byte) {
	for b != nil {
		b = c.nextOutput(b, c.write(b))
	}
}

func (c *Conn) canClaimLocked() bool { return !c.writing && !c.broken && len(c.out) > 0 }

// claimOutput makes the caller the writer, and returns what it is to write: nil where there is nothing, or somebody
// writes.
func (c *Conn) claimOutput() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.canClaimLocked() {
		return nil
	}
	return c.claimOutputLocked()
}

func (c *Conn) claimOutputLocked() []byte {
	c.writing = true
	return c.takeOutputLocked()
}

// takeOutputLocked takes what waits.
func (c *Conn) takeOutputLocked() []byte {
	b := c.out
	c.out = c.spare[:0]
	c.spare = nil
	c.controlBytes = 0
	return b
}

// nextOutput takes back the memory of what has been written, or could not be for err, lets handlers go on and returns
// what is to be written next. If that is nothing the caller is the writer no more.
func (c *Conn) nextOutput(written []byte, err error) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = c.broken || err != nil
	if cap(written) <= 2*maxOutput {
		c.spare = written[:0]
	}
	c.sendPendingLocked()
	c.cond.Broadcast()
	if len(c.out) > 0 && !c.broken {
		return c.takeOutputLocked()
	}
	c.writing = false
	if c.broken {
		c.out = nil
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // the reader ends the connection
	}
	return nil
}

// tryWrite returns how much of b the socket took. The caller is the writer.
func (c *Conn) tryWrite(b []byte) (int, error) {
	if c.raw == nil {
		return 0, nil
	}
	return c.raw.TryWrite(b)
}

// write writes b. The client has its time for each piece. The caller is the writer.
func (c *Conn) write(b []byte) error {
	n, err := c.tryWrite(b)
	if err != nil || n == len(b) {
		return err
	}
	for b = b[n:]; len(b) > 0 && err == nil; b = b[n:] {
		c.deadline.Extend(c.nc, c.opts.WriteTimeout)
		n, err = c.nc.Write(b[:min(len(b), writePiece)])
	}
	if c.raw != nil && err == nil {
		c.deadline.Clear(c.nc)
	}
	return err
}
