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

	over      bool // nothing more comes or goes
	err       error
	remoteEnd bool  // the client has sent all
	localEnd  bool  // so has this end
	out       int64 // how much the client takes; may be negative
	window    int   // how much the client may have under way
	in, eaten int   // how much it may still send, and what has been read since that was told
	length    int64 // what content-length says of the body; -1: nothing
	received  int64 // of the body

	// Of a request that a Whole has or may get.
	request   Request
	whole     Whole
	gathering bool // its body is being gathered
	gathered  int  // how much of it was, for the reader
	answered  bool
	onCancel  func()
	held      *Response // the answer, for the client to read others
	waiting   *waiting  // the answer, for windows

	// Of one that the Handler has.
	handling bool // it has not returned
	headed   bool // the response's head has been put
	cancel   context.CancelFunc
	body     []byte // what has come, and is not read: from read
	read     int
	prepaid  int  // how much of it has been counted as read already
	deaf     bool // the body is closed
	trailer  []hpack.HeaderField
	cond     sync.Cond // for those who read the body, or wait for a window

	readTimer, writeTimer *time.Timer
	readLate, writeLate   bool
	stall                 *time.Timer // while the response waits for a window
}

// newStream opens a stream. c.mu is held.
func (c *Conn) newStream(id uint32) *stream {
	st := &stream{c: c, id: id, out: c.state.firstWindow, in: c.opts.StreamWindow, window: c.opts.StreamWindow, length: -1}
	st.cond.L = &c.mu
	st.request.st = st
	c.state.streams[id] = st
	c.state.open++
	return st
}

// endWith ends a stream with err, and returns what is to be called for that without the lock. c.mu is held.
func (c *Conn) endWith(st *stream, err error) func() {
	st.err = err
	canceled, cancel := st.onCancel, st.cancel
	st.onCancel, st.held = nil, nil
	c.unwaitLocked(st)
	c.forget(st)
	return func() {
		if canceled != nil {
			canceled()
		}
		if cancel != nil {
			cancel()
		}
	}
}

// forget ends a stream. c.mu is held.
func (c *Conn) forget(st *stream) {
	if st.over {
		return
	}
	st.over = true
	if st.err == nil {
		st.err = errStream
	}
	delete(c.state.streams, st.id)
	c.state.progress = c.state.progress || st.localEnd || st.answered
	if !st.handling {
		c.closedLocked(st)
	}
	c.eatenOfConn(len(st.body) - st.read - st.prepaid)
	st.body, st.read, st.prepaid = nil, 0, 0
	st.cond.Broadcast()
	c.cond.Broadcast()
}

// reset ends a stream from this end, and returns what is to be called without the lock. c.mu is held.
func (c *Conn) reset(st *stream, code http2.ErrCode) func() {
	c.refuse(st.id, code, st.in)
	return c.endWith(st, errStream)
}

// reset is a stream that this end has reset.
type reset struct {
	id   uint32
	left int // how much the client may have sent before it knew
}

// refuse resets a stream of which that much more may have been sent. c.mu is held.
func (c *Conn) refuse(id uint32, code http2.ErrCode, left int) {
	c.putReset(id, code)
	s := &c.state
	s.resets[s.next] = reset{id: id, left: left}
	s.next = (s.next + 1) % forgotten
}

// wasReset returns what is known of a stream that this end has reset lately, or nil. c.mu is held.
func (c *Conn) wasReset(id uint32) *reset {
	for i := range c.state.resets {
		if r := &c.state.resets[i]; r.id == id {
			return r
		}
	}
	return nil
}

// room takes up to n bytes from the windows, as many as go in one frame, and returns how many. c.mu is held.
func (c *Conn) room(st *stream, n int) int {
	n = int(max(0, min(int64(n), int64(c.state.maxFrame), st.out, c.state.window)))
	st.out -= int64(n)
	c.state.window -= int64(n)
	c.state.progress = c.state.progress || n > 0
	return n
}

// send puts p as DATA. It waits for windows, and while too much waits to be written.
func (st *stream) send(p []byte) error {
	c := st.c
	c.mu.Lock()
	defer c.mu.Unlock()
	defer st.unstallLocked()
	for {
		if err := st.maySend(); err != nil {
			return err
		}
		if len(c.out) >= maxOutput {
			c.waitForRoom()
			continue
		}
		n := c.room(st, len(p))
		switch {
		case n == 0 && len(p) > 0 && len(c.out) > 0 && !c.writing:
			c.writing = true // the client must have what it has a window for
			c.writeAll()
			continue
		case n == 0 && len(p) > 0:
			st.stallLocked(len(p))
			st.cond.Wait()
			continue
		}
		c.putData(st.id, p[:n], false)
		if p = p[n:]; len(p) == 0 {
			return nil
		}
	}
}

// waitForRoom writes, or waits for who does. c.mu is held, but not while it waits.
func (c *Conn) waitForRoom() {
	if c.writing {
		c.cond.Wait()
		return
	}
	c.writing = true
	c.writeAll()
}

// maySend says what keeps a handler from sending. c.mu is held.
func (st *stream) maySend() error {
	switch {
	case st.writeLate:
		return errTimeout
	case st.over:
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
	for len(c.out) >= maxOutput && st.maySend() == nil {
		c.waitForRoom()
	}
	if err := st.maySend(); err != nil {
		return err
	}
	informational := fields[0].Name == ":status" && fields[0].Value < "2"
	if informational && st.headed {
		return nil // one who reads may be late with 100 (Continue)
	}
	st.headed = !informational
	c.putHeaders(st.id, fields, end)
	if end {
		c.endLocal(st)
	}
	return nil
}

// endLocal notes that this end has sent all. c.mu is held.
func (c *Conn) endLocal(st *stream) {
	st.localEnd = true
	if st.remoteEnd {
		c.forget(st)
	}
}
