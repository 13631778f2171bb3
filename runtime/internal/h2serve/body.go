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
	for !st.readable() && len(p) > 0 {
		st.cond.Wait()
	}
	n, err := 0, error(nil)
	switch {
	case len(p) == 0:
	case st.deaf:
		err = errClosed
	case st.readLate:
		err = errTimeout
	case st.read < len(st.body):
		n = copy(p, st.body[st.read:])
		if st.read += n; st.read == len(st.body) {
			st.body, st.read = st.body[:0], 0
		}
		c.eaten(st, n)
	case st.remoteEnd:
		err = io.EOF
		b.takeTrailer()
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

// takeTrailer lets the handler have the trailers that were announced. It may not look at them before. c.mu is held.
func (b *body) takeTrailer() {
	for _, f := range b.st.trailer {
		key := canonical(f.Name)
		if _, announced := b.trailer[key]; announced {
			b.trailer.Add(key, f.Value)
		}
	}
	b.st.trailer = nil
}

// readable reports whether a Read need not wait. c.mu is held.
func (st *stream) readable() bool {
	return st.read < len(st.body) || st.remoteEnd || st.over || st.deaf || st.readLate
}

// Close implements io.Closer: what still comes is dropped.
func (b *body) Close() error {
	st := b.st
	st.c.mu.Lock()
	st.silence()
	st.c.mu.Unlock()
	return nil
}

// silence drops what has come of the body, and what comes. c.mu is held.
func (st *stream) silence() {
	if st.deaf {
		return
	}
	st.deaf = true
	n := len(st.body) - st.read
	st.body, st.read = nil, 0
	st.c.eaten(st, n)
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
		after = st.expire(late)
	default:
		var own *time.Timer
		own = time.AfterFunc(wait, func() {
			c.mu.Lock()
			after := func() {}
			if *timer == own {
				after = st.expire(late)
			}
			c.mu.Unlock()
			after()
		})
		*timer = own
	}
	c.mu.Unlock()
	after()
}

// stopTimers ends the deadlines. c.mu is held.
func (st *stream) stopTimers() {
	for _, t := range []*time.Timer{st.readTimer, st.writeTimer, st.stall} {
		if t != nil {
			t.Stop()
		}
	}
}

// expire ends what waits, and with a deadline of writing the stream, for half a response is none. It returns what
// is to be called without the lock. c.mu is held.
func (st *stream) expire(late *bool) func() {
	*late = true
	st.cond.Broadcast()
	st.c.cond.Broadcast()
	if late != &st.writeLate || st.over {
		return func() {}
	}
	after := st.c.reset(st, http2.ErrCodeInternal)
	return func() {
		after()
		st.c.FlushNow()
	}
}
