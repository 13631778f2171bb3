package h2serve

import (
	"golang.org/x/net/http2/hpack"
)

// What a handler sends is put into the output. Where too much waits there, or the windows have no room for more, the
// handler writes the output first, unless somebody does: the functions with the lock return it for that.

// send puts p as DATA. It waits for windows, and while too much waits to be written.
func (st *stream) send(p []byte) error {
	for {
		rest, output, err := st.putBody(p)
		if err != nil || output == nil {
			return err
		}
		st.c.writeAll(output)
		p = rest
	}
}

// putBody puts p as there are windows for it. With output it returns what is left of p for when that is written.
func (st *stream) putBody(p []byte) (rest, output []byte, err error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		output, err = st.awaitOutputLocked()
		if err != nil {
			st.stopWindowTimerLocked()
		}
		if output != nil || err != nil {
			return p, output, err
		}
		n := c.takeWindowLocked(st, len(p))
		switch {
		case n == 0 && len(p) > 0 && c.canClaimLocked():
			return p, c.claimOutputLocked(), nil // the client must have what it has a window for
		case n == 0 && len(p) > 0:
			st.startWindowTimerLocked(len(p))
			st.cond.Wait()
			continue
		}
		c.putDataLocked(st.id, p[:n], false)
		if p = p[n:]; len(p) == 0 {
			st.stopWindowTimerLocked()
			return nil, nil, nil
		}
	}
}

// awaitOutputLocked waits while too much waits to be written and the stream can send. It returns output that is to be
// written before, where nobody else does that, or what keeps the handler from sending.
func (st *stream) awaitOutputLocked() (output []byte, err error) {
	c := st.c
	for len(c.out) >= maxOutput && !c.broken && st.sendErrLocked() == nil {
		if !c.writing {
			return c.claimOutputLocked(), nil
		}
		c.cond.Wait()
	}
	return nil, st.sendErrLocked()
}

// sendHead puts headers of a handler's, with the end of the stream if they are the last.
func (st *stream) sendHead(fields []hpack.HeaderField, end bool) error {
	for {
		output, err := st.putHead(fields, end)
		if output == nil {
			return err
		}
		st.c.writeAll(output)
	}
}

// putHead is sendHead, unless it returns output that is to be written before.
func (st *stream) putHead(fields []hpack.HeaderField, end bool) (output []byte, err error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	output, err = st.awaitOutputLocked()
	if output != nil || err != nil {
		return output, err
	}
	informational := fields[0].Name == ":status" && fields[0].Value < "2"
	if informational && st.headSent {
		return nil, nil // one who reads may be late with 100 (Continue)
	}
	st.headSent = !informational
	c.putHeadersLocked(st.id, fields, end)
	if end {
		c.endLocalLocked(st)
	}
	return nil, nil
}

// sendLast puts the rest of a handler's response, of one frame at most, and the end of the stream behind it. What there
// are no windows for waits without the handler.
func (st *stream) sendLast(p []byte, trailer []hpack.HeaderField) error {
	for {
		output, err := st.putLast(p, trailer)
		if output == nil {
			return err
		}
		st.c.writeAll(output)
	}
}

// putLast is sendLast, unless it returns output that is to be written before.
func (st *stream) putLast(p []byte, trailer []hpack.HeaderField) (output []byte, err error) {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	output, err = st.awaitOutputLocked()
	if output != nil || err != nil {
		return output, err
	}
	n := c.takeWindowLocked(st, len(p))
	complete := n == len(p)
	if n > 0 || complete && len(trailer) == 0 {
		c.putDataLocked(st.id, p[:n], complete && len(trailer) == 0)
	}
	if !complete {
		c.queuePendingLocked(st, pendingWrite{data: p[n:], trailer: trailer})
		return nil, nil
	}
	if len(trailer) > 0 {
		c.putHeadersLocked(st.id, trailer, true)
	}
	c.endLocalLocked(st)
	return nil, nil
}
