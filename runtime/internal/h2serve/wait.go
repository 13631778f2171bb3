package h2serve

import (
	"slices"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// waiting is the rest of a response, which waits for windows. Nobody waits with it.
type waiting struct {
	data    []byte
	trailer []hpack.HeaderField // empty: the last DATA ends the stream
}

func (c *Conn) waitLocked(st *stream, w waiting) {
	st.waiting = &w
	c.waiters = append(c.waiters, st)
	st.stallLocked(len(w.data))
}

// unwaitLocked gives up what waits of a stream, if something does. Its place goes at once: a client could take new
// ones for ever.
func (c *Conn) unwaitLocked(st *stream) {
	if st.waiting != nil {
		st.waiting = nil
		i := slices.Index(c.waiters, st)
		c.waiters = slices.Delete(c.waiters, i, i+1)
	}
}

// pump puts what waits for windows, a frame of each stream in turn, while there is room. c.mu is held.
func (c *Conn) pump() {
	c.release()
	for stuck := 0; stuck < len(c.waiters) && len(c.out) < bulkMark && c.state.window > 0; {
		st := c.waiters[0]
		copy(c.waiters, c.waiters[1:])
		c.waiters[len(c.waiters)-1] = st
		w := st.waiting
		n := c.room(st, len(w.data))
		if stuck++; n > 0 {
			stuck = 0
			c.putData(st.id, w.data[:n], n == len(w.data) && len(w.trailer) == 0)
			w.data = w.data[n:]
		}
		if len(w.data) == 0 {
			c.waiters = c.waiters[:len(c.waiters)-1]
			c.endWaitingLocked(st)
		}
	}
}

// endWaitingLocked ends a stream whose response has gone.
func (c *Conn) endWaitingLocked(st *stream) {
	trailer := st.waiting.trailer
	st.waiting = nil
	st.unstallLocked()
	if len(trailer) > 0 {
		c.putHeaders(st.id, trailer, true)
	}
	c.endLocal(st)
	if !st.over && !st.handling {
		c.reset(st, http2.ErrCodeNo) // see returned
	}
}

// last puts the rest of a handler's response, of one frame at most, and the end of the stream behind it. What there
// are no windows for waits without the handler.
func (st *stream) last(p []byte, trailer []hpack.HeaderField) error {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) >= maxOutput && st.maySend() == nil {
		c.waitForRoom()
	}
	if err := st.maySend(); err != nil {
		return err
	}
	n := c.room(st, len(p))
	whole := n == len(p)
	if n > 0 || whole && len(trailer) == 0 {
		c.putData(st.id, p[:n], whole && len(trailer) == 0)
	}
	if !whole {
		c.waitLocked(st, waiting{data: p[n:], trailer: trailer})
		return nil
	}
	if len(trailer) > 0 {
		c.putHeaders(st.id, trailer, true)
	}
	c.endLocal(st)
	return nil
}

// stallLocked begins the time that the client has to grant windows for n bytes, unless it has begun.
func (st *stream) stallLocked(n int) {
	if st.stall != nil {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(st.c.opts.WindowTimeout*time.Duration(1+n>>16), func() { st.stalled(&own) }) // short: no user sets it, and n is that of a message
	st.stall = own
}

func (st *stream) unstallLocked() {
	if st.stall != nil {
		st.stall.Stop()
		st.stall = nil
	}
}

// stalled resets a stream for which no windows were granted in time, if it is that time which has passed.
func (st *stream) stalled(own **time.Timer) {
	c := st.c
	after := func() {}
	c.mu.Lock()
	if st.stall == *own && !st.over {
		c.refuse(st.id, http2.ErrCodeCancel, st.in)
		after = c.endWith(st, errTimeout)
	}
	c.mu.Unlock()
	after()
	c.FlushNow()
}
