package rpcmeshtest

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// connection is two ends and a stream of bytes each way.
type connection struct {
	limit  int               // bytes that a stream buffers
	forget func(*connection) // called once, when both ends are closed
	ends   [2]*end           // the one that dialled first

	mu      sync.Mutex
	held    bool // nothing arrives
	broken  bool // by a reset
	delay   time.Duration
	streams [2]stream
}

// stream is one direction: the in of one end and the out of the other.
type stream struct {
	moved   sync.Cond // signalled when the stream or a deadline changes
	buf     bytes.Buffer
	arrived int  // how many bytes of buf have arrived
	fin     bool // no more arrives
	due     []arrival
}

// arrival is something sent that arrives later: bytes, or the end of the stream.
type arrival struct {
	at    time.Time
	bytes int
	fin   bool
}

func newConnection(limit int, forget func(*connection)) *connection {
	c := &connection{limit: limit, forget: forget}
	for i := range c.streams {
		c.streams[i].moved.L = &c.mu
	}
	return c
}

func (c *connection) path() path {
	return pathOf(c.ends[0].local.host(), c.ends[1].local.host())
}

func (c *connection) setHeld(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = on
	c.wakeLocked()
}

func (c *connection) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	c.wakeLocked()
}

// setDelay changes the delay of what is written from now on.
func (c *connection) setDelay(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.delay = d
}

// sendLocked delivers a to s after the delay, and after all that was sent before.
func (c *connection) sendLocked(s *stream, a arrival) {
	waiting := len(s.due)
	if c.delay == 0 && waiting == 0 {
		c.deliverLocked(s, a)
		return
	}
	a.at = time.Now().Add(c.delay)
	if waiting > 0 && a.at.Before(s.due[waiting-1].at) {
		a.at = s.due[waiting-1].at
	}
	s.due = append(s.due, a)
	if waiting == 0 {
		c.scheduleLocked(s)
	}
}

// scheduleLocked schedules the delivery of the first arrival that is due at s.
func (c *connection) scheduleLocked(s *stream) {
	time.AfterFunc(time.Until(s.due[0].at), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		now := time.Now()
		for len(s.due) > 0 && !s.due[0].at.After(now) {
			c.deliverLocked(s, s.due[0])
			s.due = s.due[1:]
		}
		if len(s.due) > 0 {
			c.scheduleLocked(s)
		}
	})
}

// deliverLocked makes a readable.
func (c *connection) deliverLocked(s *stream, a arrival) {
	s.arrived += a.bytes
	if a.fin {
		s.fin = true
		c.wakeLocked()
		return
	}
	s.moved.Broadcast()
}

// wakeLocked wakes all readers and writers.
func (c *connection) wakeLocked() {
	for i := range c.streams {
		c.streams[i].moved.Broadcast()
	}
}

func (c *connection) openEnds() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var open []string
	for _, e := range c.ends {
		if !e.closed {
			open = append(open, fmt.Sprintf("%s to %s", e.local, e.remote))
		}
	}
	return open
}

// end is one end of a connection: a net.Conn.
type end struct {
	conn          *connection
	local, remote addr
	in, out       *stream

	// Under c.mu:
	closed             bool
	readable, writable deadline
}

var _ net.Conn = (*end)(nil)

func (e *end) LocalAddr() net.Addr  { return e.local }
func (e *end) RemoteAddr() net.Addr { return e.remote }

func (e *end) Read(p []byte) (int, error) {
	e.conn.mu.Lock()
	defer e.conn.mu.Unlock()
	for {
		if err := e.failureLocked(&e.readable); err != nil {
			return 0, e.wrap("read", err)
		}
		switch {
		case len(p) == 0:
			return 0, nil
		case e.conn.held:
		case e.in.arrived > 0:
			e.in.moved.Broadcast()
			n, err := e.in.buf.Read(p[:min(len(p), e.in.arrived)])
			e.in.arrived -= n
			return n, err
		case e.in.fin:
			return 0, io.EOF
		}
		e.in.moved.Wait()
	}
}

func (e *end) Write(p []byte) (int, error) {
	e.conn.mu.Lock()
	defer e.conn.mu.Unlock()
	written := 0
	for {
		err := e.failureLocked(&e.writable)
		if err == nil && e.in.fin && !e.conn.held {
			err = syscall.EPIPE
		}
		if err != nil {
			return written, e.wrap("write", err)
		}
		if room := e.conn.limit - e.out.buf.Len(); room > 0 {
			n, _ := e.out.buf.Write(p[written:min(written+room, len(p))])
			written += n
			e.conn.sendLocked(e.out, arrival{bytes: n})
		}
		if written == len(p) {
			return written, nil
		}
		e.out.moved.Wait()
	}
}

// failureLocked is why e cannot be used, nil if it can.
func (e *end) failureLocked(d *deadline) error {
	switch {
	case e.closed:
		return net.ErrClosed
	case e.conn.broken && !e.conn.held:
		return syscall.ECONNRESET
	case d.passed():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (e *end) wrap(op string, err error) error {
	return &net.OpError{Op: op, Net: e.local.Network(), Source: e.local, Addr: e.remote, Err: err}
}

func (e *end) peer() *end {
	if e.conn.ends[0] == e {
		return e.conn.ends[1]
	}
	return e.conn.ends[0]
}

// Close lets the other end read what was written before.
func (e *end) Close() error {
	e.conn.mu.Lock()
	if e.closed {
		e.conn.mu.Unlock()
		return nil
	}
	e.closed = true
	e.conn.sendLocked(e.out, arrival{fin: true})
	e.readable.stop()
	e.writable.stop()
	e.conn.wakeLocked()
	last := e.peer().closed
	e.conn.mu.Unlock()
	if last {
		e.conn.forget(e.conn)
	}
	return nil
}

func (e *end) SetDeadline(t time.Time) error {
	if err := e.SetReadDeadline(t); err != nil {
		return err
	}
	return e.SetWriteDeadline(t)
}

func (e *end) SetReadDeadline(t time.Time) error { return e.setDeadline(&e.readable, t, e.in) }

func (e *end) SetWriteDeadline(t time.Time) error { return e.setDeadline(&e.writable, t, e.out) }

func (e *end) setDeadline(d *deadline, t time.Time, s *stream) error {
	e.conn.mu.Lock()
	defer e.conn.mu.Unlock()
	if e.closed {
		return e.wrap("set", net.ErrClosed)
	}
	d.setLocked(t, s)
	return nil
}

// deadline is a time after which reading or writing fails.
type deadline struct {
	at    time.Time // zero: none
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// setLocked replaces the deadline. It wakes those who wait on s now, and when the deadline passes.
func (d *deadline) setLocked(t time.Time, s *stream) {
	d.stop()
	d.at = t
	s.moved.Broadcast()
	// No timer for a time that has passed: Go 1.26's race detector can crash where two of a bubble's
	// timers fire as they are made.
	if left := time.Until(t); !t.IsZero() && left > 0 {
		d.timer = time.AfterFunc(left, func() {
			s.moved.L.Lock()
			defer s.moved.L.Unlock()
			s.moved.Broadcast()
		})
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
