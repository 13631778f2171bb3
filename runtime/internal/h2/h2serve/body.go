package h2serve

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/http2"
)

var errTimeout = fmt.Errorf("h2serve: %w", os.ErrDeadlineExceeded)

// body is the body of a request as its handler reads it.
type body struct {
	st      *stream
	expects bool // 100 (Continue), once
	trailer http.Header
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	st := b.st
	c := st.c
	if b.expects {
		b.expects = false
		if err := st.sendHead([]field{{Name: ":status", Value: "100"}}, false); err == nil {
			c.Flush()
		}
	}
	c.mu.Lock()
	for !st.readableLocked() && len(p) > 0 {
		st.cond.Wait()
	}
	n, err := 0, error(nil)
	switch {
	case len(p) == 0:
	case st.discarding:
		err = errClosed
	case st.readExpired:
		err = errTimeout
	case st.bodyRead < len(st.body):
		n = copy(p, st.body[st.bodyRead:])
		st.bodyRead += n
		if st.bodyRead == len(st.body) {
			st.body, st.bodyRead = st.body[:0], 0
		}
		c.consumedLocked(st, n)
	case st.remoteEnd:
		err = io.EOF
		b.takeTrailerLocked()
	default:
		err = st.err
	}
	said := len(c.out) > 0
	c.mu.Unlock()
	if said && n > 0 {
		c.FlushNow()
	}
	return n, err
}

// takeTrailerLocked lets the handler have the trailers that were announced. It may not look at them before.
func (b *body) takeTrailerLocked() {
	for _, f := range b.st.trailer {
		key := canonical(f.Name)
		if _, announced := b.trailer[key]; announced {
			b.trailer.Add(key, f.Value)
		}
	}
	b.st.trailer = nil
}

// readableLocked reports whether a Read need not wait.
func (st *stream) readableLocked() bool {
	return st.bodyRead < len(st.body) || st.remoteEnd || st.closed || st.discarding || st.readExpired
}

// Close implements io.Closer: what still comes is dropped.
func (b *body) Close() error {
	st := b.st
	st.c.mu.Lock()
	st.discardBodyLocked()
	st.c.mu.Unlock()
	return nil
}

// discardBodyLocked drops what has come of the body, and what comes.
func (st *stream) discardBodyLocked() {
	if st.discarding {
		return
	}
	st.discarding = true
	n := len(st.body) - st.bodyRead
	st.body, st.bodyRead = nil, 0
	st.c.consumedLocked(st, n)
	st.cond.Broadcast()
}

// setDeadline sets one of a stream's deadlines; the zero time is none. One that has passed stays so.
func (st *stream) setDeadline(timer **time.Timer, late *bool, t time.Time) {
	c := st.c
	c.mu.Lock()
	if *timer != nil {
		(*timer).Stop()
		*timer = nil
	}
	after := func() {}
	switch wait := time.Until(t); {
	case t.IsZero(), *late:
	case wait <= 0:
		after = st.expireLocked(late)
	default:
		var own *time.Timer
		own = time.AfterFunc(wait, func() {
			c.mu.Lock()
			after := func() {}
			if *timer == own {
				after = st.expireLocked(late)
			}
			c.mu.Unlock()
			after()
		})
		*timer = own
	}
	c.mu.Unlock()
	after()
}

// stopTimersLocked ends the deadlines.
func (st *stream) stopTimersLocked() {
	for _, t := range []*time.Timer{st.readTimer, st.writeTimer, st.windowTimer} {
		if t != nil {
			t.Stop()
		}
	}
}

// expireLocked ends what waits, and with a deadline of writing the stream, for half a response is none. It returns what
// is to be called without the lock.
func (st *stream) expireLocked(late *bool) func() {
	*late = true
	st.cond.Broadcast()
	st.c.cond.Broadcast()
	if late != &st.writeExpired || st.closed {
		return func() {}
	}
	after := st.c.resetStreamLocked(st, http2.ErrCodeInternal)
	return func() {
		after()
		st.c.FlushNow()
	}
}
