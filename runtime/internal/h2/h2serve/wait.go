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
	rest    []byte              // goes after data
	trailer []hpack.HeaderField // empty: the last DATA ends the stream
}

func (c *Conn) queuePendingLocked(st *stream, w pendingWrite) {
	st.pending = &w
	c.pending = append(c.pending, st)
	st.startWindowTimerLocked(len(w.data) + len(w.rest))
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
	for stuck := 0; stuck < len(c.pending) && len(c.out) < bulkThreshold && c.state.outflow.Available() > 0; {
		st := c.pending[0]
		copy(c.pending, c.pending[1:])
		c.pending[len(c.pending)-1] = st
		w := st.pending
		n := c.takeWindowLocked(st, len(w.data))
		stuck++
		if n > 0 {
			stuck = 0
			c.putDataLocked(st.id, w.data[:n], n == len(w.data) && len(w.rest) == 0 && len(w.trailer) == 0)
			w.data = w.data[n:]
		}
		if len(w.data) == 0 {
			w.data = w.rest
			w.rest = nil
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
	if !st.closedLocked() && st.serving != handling {
		c.resetStreamLocked(st, http2.ErrCodeNo) // see returned
	}
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
	if st.windowTimer == *own && !st.closedLocked() {
		c.sendResetLocked(st.id, http2.ErrCodeCancel, st.inflow.Available())
		after = c.closeStreamLocked(st, errTimeout)
	}
	c.mu.Unlock()
	after()
	c.FlushNow()
}
