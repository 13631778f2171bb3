package h2serve

import (
	"bytes"
	"slices"

	"golang.org/x/net/http2"
)

// data takes a DATA frame.
func (c *Conn) data(f *http2.DataFrame) error {
	n, p := int(f.Length), f.Data()
	c.mu.Lock()
	s := &c.state
	st := s.streams[f.StreamID]
	if n > s.in {
		c.mu.Unlock()
		return breachf(http2.ErrCodeFlowControl, "DATA beyond the connection's window")
	}
	s.in -= n
	if st == nil || st.remoteEnd || n > st.in {
		return c.strayData(st, f.StreamID, n)
	}
	st.in -= n
	st.received += int64(len(p))
	if st.length >= 0 && (st.received > st.length || f.StreamEnded() && st.received != st.length) {
		c.eatenOfConn(n)
		c.mu.Unlock()
		return c.streamError(st.id, http2.ErrCodeProtocol)
	}
	st.remoteEnd = f.StreamEnded()
	s.progress = s.progress || len(p) > 0
	if st.gathering {
		c.eaten(st, n)
		c.mu.Unlock()
		return c.gatherMore(st, p)
	}
	c.eaten(st, n-len(p))
	if st.deaf {
		c.eaten(st, len(p))
	} else {
		st.keep(p)
	}
	ended := st.remoteEnd
	if ended && st.localEnd {
		c.forget(st)
	}
	st.cond.Broadcast()
	c.mu.Unlock()
	if len(p) == 0 && !ended {
		return c.useless()
	}
	return nil
}

// strayData takes a DATA frame that its stream does not: that is over, has ended, or has no window. c.mu is
// held, and released.
func (c *Conn) strayData(st *stream, id uint32, n int) error {
	c.eatenOfConn(n)
	var err error
	if st == nil {
		err = c.unless(id)
	}
	was := c.wasReset(id)
	known := was != nil && 0 < n && n <= was.left
	if known {
		was.left -= n
	}
	c.mu.Unlock()
	switch {
	case err != nil || known:
		return err
	case st != nil && !st.remoteEnd:
		return c.streamError(id, http2.ErrCodeFlowControl)
	case st == nil && was != nil:
		return c.useless()
	}
	return c.streamError(id, http2.ErrCodeStreamClosed)
}

// keep keeps a piece of the body until it is read. c.mu is held.
func (st *stream) keep(p []byte) {
	if len(st.body)+len(p) > cap(st.body) && 2*st.read >= len(st.body) { // or moving would cost too much
		st.body = st.body[:copy(st.body, st.body[st.read:])]
		st.read = 0
	}
	st.body = appendDoubling(st.body, p)
}

// appendDoubling is append for what grows long piece by piece: each byte is moved once, not four times.
func appendDoubling(b, p []byte) []byte {
	if len(b)+len(p) > cap(b) {
		b = slices.Grow(b, max(len(p), len(b)))
	}
	return append(b, p...)
}

// eaten counts n bytes of a stream as read, unless they have been counted, and lets the client send as many
// again, many at a time. c.mu is held.
func (c *Conn) eaten(st *stream, n int) {
	paid := min(n, st.prepaid)
	st.prepaid -= paid
	n -= paid
	st.eaten += n
	if !st.remoteEnd && !st.over && 2*st.eaten >= st.window {
		c.putWindow(st.id, st.eaten)
		st.in, st.eaten = st.in+st.eaten, 0
	}
	c.eatenOfConn(n)
}

// eatenOfConn is eaten for the connection's window. c.mu is held.
func (c *Conn) eatenOfConn(n int) {
	s := &c.state
	s.eaten += n
	if 2*s.eaten >= c.opts.ConnWindow && s.err == nil {
		c.putWindow(0, s.eaten)
		s.in, s.eaten = s.in+s.eaten, 0
	}
}

// gatherMore takes a piece of the body of a request that a Whole wants.
func (c *Conn) gatherMore(st *stream, p []byte) error {
	r := &c.reading
	if len(st.body)+len(p) > MaxWholeBody || r.gathered+len(p) > maxGathered {
		c.leave(st, p)
		return nil
	}
	if !st.remoteEnd {
		st.body = appendDoubling(st.body, p)
		st.gathered += len(p)
		r.gathered += len(p)
		return c.uselessIf(len(p) == 0)
	}
	if len(st.body) > 0 {
		p = append(st.body, p...)
	}
	c.handle(st, p)
	return nil
}

func (c *Conn) uselessIf(useless bool) error {
	if useless {
		return c.useless()
	}
	return nil
}

// handle gives a request to the Whole.
func (c *Conn) handle(st *stream, body []byte) {
	r := &c.reading
	c.mu.Lock()
	over := st.over
	st.gathering, st.body = false, nil
	c.mu.Unlock()
	c.ungather(st)
	if over {
		return
	}
	st.request.Body = body
	if !st.whole.Handle(&st.request) {
		c.leave(st, body)
		return
	}
	if r.handled++; r.handled >= maxHandled {
		c.flushWholes()
	}
}

// leave leaves a request to the Handler, with what has come of its body, of which piece is the last.
func (c *Conn) leave(st *stream, piece []byte) {
	c.ungather(st)
	c.mu.Lock()
	st.gathering = false
	st.body = bytes.Join([][]byte{st.body, piece}, nil)
	st.prepaid = len(st.body)
	over := st.over
	c.mu.Unlock()
	if !over {
		c.serve(st)
	}
}

// ungather ends the gathering of a stream, if its body is being gathered.
func (c *Conn) ungather(st *stream) {
	r := &c.reading
	if _, ok := r.gathering[st.id]; ok {
		delete(r.gathering, st.id)
		r.gathered -= st.gathered
	}
}

// gathered leaves to the Handler what has not come whole in time.
func (c *Conn) gathered() {
	for _, st := range c.reading.gathering {
		c.leave(st, nil)
	}
}
