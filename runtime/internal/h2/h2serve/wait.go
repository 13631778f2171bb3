package h2serve

import (
	"slices"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// pendingWrite is the rest of a response, which waits for windows. Nobody waits with it.
type pendingWrite struct {
	data    []byte
	trailer []hpack.HeaderField // empty: the last DATA ends the stream
}

func (c *Conn) queuePendingLocked(st *stream, w pendingWrite) {
	st.pending = &w
	c.pending = append(c.pending, st)
	st.startWindowTimerLocked(len(w.data))
}

// dropPendingLocked gives up what waits of a stream, if something does. Its place goes at once: a client could take new
// ones for ever.
func (c *Conn) dropPendingLocked(st *stream) {
	if st.pending != nil {
		st.pending = nil
		i := slices.Index(c.pending, st)
		c.pending = slices.Delete(c.pending, i, i+1)
	}
}

// sendPendingLocked puts what waits for windows, a frame of each stream in turn, while there is room.
func (c *Conn) sendPendingLocked() {
	c.respondHeldLocked()
	for stuck := 0; stuck < len(c.pending) && len(c.out) < bulkThreshold && c.state.sendWindow > 0; {
		st := c.pending[0]
		copy(c.pending, c.pending[1:])
		c.pending[len(c.pending)-1] = st
		w := st.pending
		n := c.takeWindowLocked(st, len(w.data))
		stuck++
		if n > 0 {
			stuck = 0
			c.putDataLocked(st.id, w.data[:n], n == len(w.data) && len(w.trailer) == 0)
			w.data = w.data[n:]
		}
		if len(w.data) == 0 {
			c.pending = c.pending[:len(c.pending)-1]
			c.endPendingLocked(st)
		}
	}
}

// endPendingLocked ends a stream whose response has gone.
func (c *Conn) endPendingLocked(st *stream) {
	trailer := st.pending.trailer
	st.pending = nil
	st.stopWindowTimerLocked()
	if len(trailer) > 0 {
		c.putHeadersLocked(st.id, trailer, true)
	}
	c.endLocalLocked(st)
	if !st.closed && !st.handling {
		c.resetStreamLocked(st, http2.ErrCodeNo) // see returned
	}
}

// sendLast puts the rest of a handler's response, of one frame at most, and the end of the stream behind it. What there
// are no windows for waits without the handler.
func (st *stream) sendLast(p []byte, trailer []hpack.HeaderField) error {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) >= maxOutput && st.sendErrLocked() == nil {
		c.waitOutputLocked()
	}
	if err := st.sendErrLocked(); err != nil {
		return err
	}
	n := c.takeWindowLocked(st, len(p))
	whole := n == len(p)
	if n > 0 || whole && len(trailer) == 0 {
		c.putDataLocked(st.id, p[:n], whole && len(trailer) == 0)
	}
	if !whole {
		c.queuePendingLocked(st, pendingWrite{data: p[n:], trailer: trailer})
		return nil
	}
	if len(trailer) > 0 {
		c.putHeadersLocked(st.id, trailer, true)
	}
	c.endLocalLocked(st)
	return nil
}

// startWindowTimerLocked begins the time that the client has to grant windows for n bytes, unless it has begun.
func (st *stream) startWindowTimerLocked(n int) {
	if st.windowTimer != nil {
		return
	}
	var own *time.Timer
	own = time.AfterFunc(st.c.opts.WindowTimeout*time.Duration(1+n>>16), func() { st.windowTimeout(&own) }) // short: no user sets it, and n is that of a message
	st.windowTimer = own
}

func (st *stream) stopWindowTimerLocked() {
	if st.windowTimer != nil {
		st.windowTimer.Stop()
		st.windowTimer = nil
	}
}

// windowTimeout resets a stream for which no windows were granted in time, if it is that time which has passed.
func (st *stream) windowTimeout(own **time.Timer) {
	c := st.c
	after := func() {}
	c.mu.Lock()
	if st.windowTimer == *own && !st.closed {
		c.sendResetLocked(st.id, http2.ErrCodeCancel, st.recvWindow)
		after = c.closeStreamLocked(st, errTimeout)
	}
	c.mu.Unlock()
	after()
	c.FlushNow()
}
