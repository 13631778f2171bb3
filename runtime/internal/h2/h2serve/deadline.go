package h2serve

import (
	"time"

	"golang.org/x/net/http2"
)

// deadline is a stream's deadline of reading or of writing. Once it has expired it stays so.
type deadline struct {
	timer   *time.Timer // nil: none is set
	expired bool
}

// setDeadline sets one of a stream's deadlines; the zero time is none.
func (st *stream) setDeadline(d *deadline, t time.Time) {
	st.c.mu.Lock()
	after := st.setDeadlineLocked(d, t)
	st.c.mu.Unlock()
	after()
}

// setDeadlineLocked returns what is to be called without the lock.
func (st *stream) setDeadlineLocked(d *deadline, t time.Time) (after func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if t.IsZero() || d.expired {
		return func() {}
	}
	wait := time.Until(t)
	if wait <= 0 {
		return st.expireLocked(d)
	}
	var timer *time.Timer
	timer = time.AfterFunc(wait, func() { st.expire(d, &timer) })
	d.timer = timer
	return func() {}
}

// expire ends what waits for a deadline, if it is still the one of that timer.
func (st *stream) expire(d *deadline, timer **time.Timer) {
	after := func() {}
	st.c.mu.Lock()
	if d.timer == *timer {
		after = st.expireLocked(d)
	}
	st.c.mu.Unlock()
	after()
}

// expireLocked ends what waits, and with a deadline of writing the stream, for half a response is none. It returns what
// is to be called without the lock.
func (st *stream) expireLocked(d *deadline) (after func()) {
	d.expired = true
	st.cond.Broadcast()
	st.c.cond.Broadcast()
	if d != &st.writeDeadline || st.closedLocked() {
		return func() {}
	}
	reset := st.c.resetStreamLocked(st, http2.ErrCodeInternal)
	return func() {
		reset()
		st.c.FlushNow()
	}
}

// stopTimersLocked ends the deadlines.
func (st *stream) stopTimersLocked() {
	for _, t := range []*time.Timer{st.readDeadline.timer, st.writeDeadline.timer, st.windowTimer} {
		if t != nil {
			t.Stop()
		}
	}
}
