package h2serve

import (
	"fmt"
	"io"
	"net/http"
	"os"
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
	case st.bodyState == bodyDiscarded:
		err = errClosed
	case st.readDeadline.expired:
		err = errTimeout
	case st.bodyRead < len(st.body):
		n = copy(p, st.body[st.bodyRead:])
		st.bodyRead += n
		if st.bodyRead == len(st.body) {
			st.body = st.body[:0]
			st.bodyRead = 0
		}
		c.consumedLocked(st, n)
	case st.bodyState == bodyComplete:
		err = io.EOF
		b.takeTrailerLocked()
	default:
		err = st.err
	}
	hasOutput := len(c.out) > 0
	c.mu.Unlock()
	if hasOutput && n > 0 {
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
	return st.bodyRead < len(st.body) || st.bodyState != bodyReceiving || st.closedLocked() || st.readDeadline.expired
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
	if st.bodyState == bodyDiscarded {
		return
	}
	st.bodyState = bodyDiscarded
	n := len(st.body) - st.bodyRead
	st.body = nil
	st.bodyRead = 0
	st.c.consumedLocked(st, n)
	st.cond.Broadcast()
}
