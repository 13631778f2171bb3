package h2serve

import (
	"bytes"
	"slices"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// verdict is what remains to be done with a DATA frame without the lock.
type verdict uint8

const (
	frameDone   verdict = iota
	frameIdle           // it did nothing for a request
	frameBuffer         // its data belong to a request that is being buffered
	frameReset          // its stream is to be reset
)

// data takes a DATA frame.
func (c *Conn) data(f *http2.DataFrame) error {
	c.mu.Lock()
	st := c.state.streams[f.StreamID]
	v, code, err := c.dataLocked(st, f)
	c.mu.Unlock()
	switch {
	case err != nil:
		return err
	case v == frameReset:
		return c.streamError(f.StreamID, code)
	case v == frameBuffer:
		return c.bufferMore(st, f)
	case v == frameIdle:
		return c.countIdleFrame()
	}
	return nil
}

// dataLocked counts a DATA frame and keeps its data for the Handler.
func (c *Conn) dataLocked(st *stream, f *http2.DataFrame) (verdict, http2.ErrCode, error) {
	n := int(f.Length)
	p := f.Data()
	s := &c.state
	if !s.inflow.Take(n) {
		return 0, 0, h2core.ConnErrorf(http2.ErrCodeFlowControl, "DATA beyond the connection's window")
	}
	if st == nil || !st.state.CanReceive() || !st.inflow.Take(n) {
		return c.strayDataLocked(st, f.StreamID, n)
	}
	if !st.length.Add(len(p), f.StreamEnded()) {
		c.connConsumedLocked(n)
		return frameReset, http2.ErrCodeProtocol, nil
	}
	if f.StreamEnded() {
		c.endRemoteLocked(st)
	}
	s.progress = s.progress || len(p) > 0
	if c.reading.buffering[st.id] != nil {
		c.consumedLocked(st, n)
		return frameBuffer, 0, nil
	}
	c.consumedLocked(st, n-len(p))
	if st.bodyState == bodyDiscarded {
		c.consumedLocked(st, len(p))
	} else {
		st.keepLocked(p)
	}
	if st.closedLocked() {
		c.removeStreamLocked(st)
	}
	st.cond.Broadcast()
	if len(p) == 0 && !f.StreamEnded() {
		return frameIdle, 0, nil
	}
	return frameDone, 0, nil
}

// strayDataLocked counts a DATA frame that its stream does not take: that is closed, has ended, or has no window.
func (c *Conn) strayDataLocked(st *stream, id uint32, n int) (verdict, http2.ErrCode, error) {
	c.connConsumedLocked(n)
	if st == nil {
		if err := c.checkIdleStreamLocked(id); err != nil {
			return 0, 0, err
		}
	}
	switch {
	case n > 0 && c.state.resets.TakeData(id, n):
		return frameDone, 0, nil
	case st != nil && st.state.CanReceive():
		return frameReset, http2.ErrCodeFlowControl, nil
	case st == nil && c.state.resets.Has(id):
		return frameIdle, 0, nil
	}
	return frameReset, http2.ErrCodeStreamClosed, nil
}

// keepLocked keeps a piece of the body until it is read.
func (st *stream) keepLocked(p []byte) {
	if len(st.body)+len(p) > cap(st.body) && 2*st.bodyRead >= len(st.body) { // or moving would cost too much
		st.body = st.body[:copy(st.body, st.body[st.bodyRead:])]
		st.bodyRead = 0
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

// consumedLocked counts n bytes of a stream as read, unless they have been counted, and lets the client send as many
// again, many at a time.
func (c *Conn) consumedLocked(st *stream, n int) {
	counted := min(n, st.precounted)
	st.precounted -= counted
	n -= counted
	if st.state.CanReceive() {
		c.putWindowUpdateLocked(st.id, st.inflow.Consume(n))
	}
	c.connConsumedLocked(n)
}

// connConsumedLocked is consumedLocked for the connection's window.
func (c *Conn) connConsumedLocked(n int) {
	if c.state.err == nil {
		c.putWindowUpdateLocked(0, c.state.inflow.Consume(n))
	}
}

// bufferMore takes a piece of the body of a request that a BufferedHandler wants.
func (c *Conn) bufferMore(st *stream, f *http2.DataFrame) error {
	r := &c.reading
	p := f.Data()
	if len(st.body)+len(p) > MaxBufferedBody || r.bufferedBytes+len(p) > maxBuffering {
		c.serveBuffered(st, p)
		return nil
	}
	if !f.StreamEnded() {
		had := cap(st.body)
		st.body = appendDoubling(c.makeRoom(st, p), p)
		st.bufferedBytes += cap(st.body) - had
		r.bufferedBytes += cap(st.body) - had
		return c.countIdleFrameIf(len(p) == 0)
	}
	st.request.Owned = len(st.body) > 0
	if st.request.Owned {
		p = append(st.body, p...)
	}
	c.handleBuffered(st, p)
	return nil
}

// makeRoom returns what has been buffered of a body, of which p comes next: with room for all of it, where the
// BufferedHandler knows by its beginning how long it will be, and there may be as much.
func (c *Conn) makeRoom(st *stream, p []byte) []byte {
	if st.body != nil || len(p) == 0 {
		return st.body
	}
	n := st.buffered.Length(&st.request, p)
	if n <= len(p) || n > MaxBufferedBody || n > maxBuffering-c.reading.bufferedBytes {
		return nil
	}
	return make([]byte, 0, n)
}

func (c *Conn) countIdleFrameIf(idle bool) error {
	if idle {
		return c.countIdleFrame()
	}
	return nil
}

// handleBuffered gives a request to the BufferedHandler.
func (c *Conn) handleBuffered(st *stream, body []byte) {
	r := &c.reading
	c.mu.Lock()
	over := st.closedLocked()
	st.body = nil
	c.mu.Unlock()
	c.stopBuffering(st)
	if over {
		return
	}
	st.request.Body = body
	if !st.buffered.Handle(&st.request) {
		c.serveBuffered(st, body)
		return
	}
	r.sinceFlush++
	if r.sinceFlush >= maxBeforeFlush {
		c.flushBuffered()
	}
}

// serveBuffered leaves a request to the Handler, with what has come of its body, of which piece is the last.
func (c *Conn) serveBuffered(st *stream, piece []byte) {
	c.stopBuffering(st)
	c.mu.Lock()
	st.body = bytes.Join([][]byte{st.body, piece}, nil)
	st.precounted = len(st.body)
	over := st.closedLocked()
	c.mu.Unlock()
	if !over {
		c.serve(st)
	}
}

// stopBuffering ends the buffering of a stream, if its body is being buffered.
func (c *Conn) stopBuffering(st *stream) {
	r := &c.reading
	if _, ok := r.buffering[st.id]; ok {
		delete(r.buffering, st.id)
		r.bufferedBytes -= st.bufferedBytes
	}
}

// serveSlow leaves to the Handler what has not come whole in time, and does not come quickly.
func (c *Conn) serveSlow() {
	for _, st := range c.reading.buffering {
		if st.length.Received()-st.lastReceived < minBufferRate {
			c.serveBuffered(st, nil)
		}
		st.lastReceived = st.length.Received()
	}
}
