package h2serve

import (
	"context"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// stream is one request and its response. The connection's lock guards it, but for what is fixed.
type stream struct {
	c  *Conn
	id uint32

	closed               bool // nothing more comes or goes
	err                  error
	remoteEnd            bool  // the client has sent all
	localEnd             bool  // so has this end
	sendWindow           int64 // how much the client takes; may be negative
	maxRecvWindow        int   // how much the client may have under way
	recvWindow, consumed int   // how much it may still send, and what has been read since that was told
	contentLength        int64 // what content-length says of the body; -1: nothing
	received             int64 // of the body

	// Of a request that a BufferedHandler has or may get.
	request       Request
	buffered      BufferedHandler
	buffering     bool  // its body is being buffered
	bufferedBytes int   // how much memory that takes, for the reader
	lastReceived  int64 // what had been received when the reader last looked, who alone writes both
	responded     bool
	onCancel      func()
	heldResponse  *Response     // the answer, for the client to read others
	pending       *pendingWrite // the answer, for windows

	// Of one that the Handler has.
	handling   bool // it has not returned
	headSent   bool // the response's head has been put
	cancel     context.CancelFunc
	body       []byte // what has come, and is not read: from read
	bodyRead   int
	precounted int  // how much of it has been counted as read already
	discarding bool // the body is closed
	trailer    []hpack.HeaderField
	cond       sync.Cond // for those who read the body, or wait for a window

	readTimer, writeTimer     *time.Timer
	readExpired, writeExpired bool
	windowTimer               *time.Timer // while the response waits for a window
}

// newStreamLocked opens a stream.
func (c *Conn) newStreamLocked(id uint32) *stream {
	st := &stream{c: c, id: id, sendWindow: c.state.initialWindow, recvWindow: c.opts.StreamWindow, maxRecvWindow: c.opts.StreamWindow, contentLength: -1}
	st.cond.L = &c.mu
	st.request.st = st
	c.state.streams[id] = st
	c.state.open++
	return st
}

// closeStreamLocked ends a stream with err, and returns what is to be called for that without the lock.
func (c *Conn) closeStreamLocked(st *stream, err error) func() {
	st.err = err
	canceled, cancel := st.onCancel, st.cancel
	st.onCancel, st.heldResponse = nil, nil
	c.dropPendingLocked(st)
	c.removeStreamLocked(st)
	return func() {
		if canceled != nil {
			canceled()
		}
		if cancel != nil {
			cancel()
		}
	}
}

// removeStreamLocked ends a stream.
func (c *Conn) removeStreamLocked(st *stream) {
	if st.closed {
		return
	}
	st.closed = true
	if st.err == nil {
		st.err = errStream
	}
	delete(c.state.streams, st.id)
	c.state.progress = c.state.progress || st.localEnd || st.responded
	if !st.handling {
		c.streamClosedLocked(st)
	}
	c.connConsumedLocked(len(st.body) - st.bodyRead - st.precounted)
	st.body, st.bodyRead, st.precounted = nil, 0, 0
	st.cond.Broadcast()
	c.cond.Broadcast()
}

// resetStreamLocked ends a stream from this end, and returns what is to be called without the lock.
func (c *Conn) resetStreamLocked(st *stream, code http2.ErrCode) func() {
	c.sendResetLocked(st.id, code, st.recvWindow)
	return c.closeStreamLocked(st, errStream)
}

// recentReset is a stream that this end has reset.
type recentReset struct {
	id      uint32
	unacked int // how much the client may have sent before it knew
}

// sendResetLocked resets a stream of which that much more may have been sent.
func (c *Conn) sendResetLocked(id uint32, code http2.ErrCode, left int) {
	c.putResetLocked(id, code)
	s := &c.state
	s.recentResets[s.nextReset] = recentReset{id: id, unacked: left}
	s.nextReset = (s.nextReset + 1) % maxRecentResets
}

// recentResetLocked returns what is known of a stream that this end has reset lately, or nil.
func (c *Conn) recentResetLocked(id uint32) *recentReset {
	for i := range c.state.recentResets {
		if r := &c.state.recentResets[i]; r.id == id {
			return r
		}
	}
	return nil
}

// takeWindowLocked takes up to n bytes from the windows, as many as go in one frame, and returns how many.
func (c *Conn) takeWindowLocked(st *stream, n int) int {
	n = int(max(0, min(int64(n), int64(c.state.maxFrame), st.sendWindow, c.state.sendWindow)))
	st.sendWindow -= int64(n)
	c.state.sendWindow -= int64(n)
	c.state.progress = c.state.progress || n > 0
	return n
}

// send puts p as DATA. It waits for windows, and while too much waits to be written.
func (st *stream) send(p []byte) error {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer st.stopWindowTimerLocked()
	for {
		if err := st.sendErrLocked(); err != nil {
			return err
		}
		if len(c.out) >= maxOutput {
			c.waitOutputLocked()
			continue
		}
		n := c.takeWindowLocked(st, len(p))
		switch {
		case n == 0 && len(p) > 0 && len(c.out) > 0 && !c.writing:
			c.writing = true // the client must have what it has a window for
			c.writeAllLocked()
			continue
		case n == 0 && len(p) > 0:
			st.startWindowTimerLocked(len(p))
			st.cond.Wait()
			continue
		}
		c.putDataLocked(st.id, p[:n], false)
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// waitOutputLocked writes, or waits for who does. It unlocks while it waits.
func (c *Conn) waitOutputLocked() {
	if c.writing {
		c.cond.Wait()
		return
	}
	c.writing = true
	c.writeAllLocked()
}

// sendErrLocked says what keeps a handler from sending.
func (st *stream) sendErrLocked() error {
	switch {
	case st.writeExpired:
		return errTimeout
	case st.closed:
		return st.err
	case st.localEnd:
		return errStream
	}
	return nil
}

// sendHead puts headers of a handler's, with the end of the stream if they are the last.
func (st *stream) sendHead(fields []hpack.HeaderField, end bool) error {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.out) >= maxOutput && st.sendErrLocked() == nil {
		c.waitOutputLocked()
	}
	if err := st.sendErrLocked(); err != nil {
		return err
	}
	informational := fields[0].Name == ":status" && fields[0].Value < "2"
	if informational && st.headSent {
		return nil // one who reads may be late with 100 (Continue)
	}
	st.headSent = !informational
	c.putHeadersLocked(st.id, fields, end)
	if end {
		c.endLocalLocked(st)
	}
	return nil
}

// endLocalLocked notes that this end has sent all.
func (c *Conn) endLocalLocked(st *stream) {
	st.localEnd = true
	if st.remoteEnd {
		c.removeStreamLocked(st)
	}
}
