// Package linktest provides connections in memory, for tests of what runs over a link.
package linktest

import (
	"errors"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// DefaultBuffer is how many bytes each direction of a Pipe holds before Send blocks.
const DefaultBuffer = 256 << 10

// ErrCut is the error at both ends of a pipe that has been cut.
var ErrCut = errors.New("linktest: the connection was cut")

var (
	errClosed       = errors.New("linktest: the connection was closed by this end")
	errLimitReached = errors.New("linktest: over")
)

// Conn is one end of a pipe.
type Conn struct {
	in, out *direction
	binding []byte
}

var _ link.Conn = (*Conn)(nil)

// Pipe returns two ends that are connected.
func Pipe() (a, b *Conn) { return PipeSize(DefaultBuffer) }

// PipeSize is Pipe with directions that hold size bytes, or one packet, before Send blocks.
func PipeSize(size int) (a, b *Conn) {
	ab, ba := newDirection(size), newDirection(size)
	return &Conn{in: ba, out: ab}, &Conn{in: ab, out: ba}
}

// Send implements link.Conn.
func (c *Conn) Send(p []byte) error {
	// As a carrier would, use the head room.
	clear(p[:link.HeadRoom])
	return c.cutAtLimit(c.out.send(p[link.HeadRoom:]))
}

// cutAtLimit cuts the connection if err says that it has carried what CutAfter allows.
func (c *Conn) cutAtLimit(err error) error {
	if errors.Is(err, errLimitReached) {
		c.Cut()
		return ErrCut
	}
	return err
}

// NonblockingConn is a Conn that can also send without waiting, and knows what has come.
type NonblockingConn struct{ *Conn }

// Buffered reports whether the next Receive returns without waiting.
func (c NonblockingConn) Buffered() (ready bool) {
	d := c.in
	d.update(func() { ready = d.aborted == nil && len(d.packets) > 0 && !d.paused && d.rate == 0 })
	return ready
}

// TrySend sends a packet if that needs no waiting, and reports whether it has.
func (c NonblockingConn) TrySend(p []byte) (bool, error) {
	clear(p[:link.HeadRoom])
	ok, err := c.out.trySend(p[link.HeadRoom:])
	return ok, c.cutAtLimit(err)
}

// Receive implements link.Conn.
func (c *Conn) Receive() ([]byte, error) { return c.in.receive() }

// Close implements link.Conn. What has been sent before arrives.
func (c *Conn) Close(err error) {
	told := io.EOF
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		told = ce.WithRemote()
	}
	c.out.close(told)
	c.in.abort(errClosed)
}

// Binding implements link.Conn.
func (c *Conn) Binding() ([]byte, error) { return c.binding, nil }

// SetBinding sets what Binding returns at this end.
func (c *Conn) SetBinding(b []byte) { c.binding = b }

// Cut breaks the connection at once, at both ends, as a reset does. What was in flight is lost.
func (c *Conn) Cut() {
	c.in.abort(ErrCut)
	c.out.abort(ErrCut)
}

// CutAfter cuts the connection when this end has sent n more packets.
func (c *Conn) CutAfter(n int) {
	c.out.update(func() { c.out.limited, c.out.remaining = true, n })
}

// Silence drops all that either end sends from now on, as a broken path does.
func (c *Conn) Silence() {
	c.in.silence()
	c.out.silence()
}

// BreakSend makes this end's Send fail, and nothing else.
func (c *Conn) BreakSend() { c.out.breakSend(ErrCut) }

// Pause holds back all that this end has not received, until Resume. Senders block as the buffer fills.
func (c *Conn) Pause() { c.in.pause(true) }

// Resume ends a Pause.
func (c *Conn) Resume() { c.in.pause(false) }

// Throttle makes Receive at this end take its time: so many bytes a second.
func (c *Conn) Throttle(rate int) { c.in.update(func() { c.in.rate = rate }) }

// Buffered is how many bytes wait for this end to receive them.
func (c *Conn) Buffered() (n int) {
	c.in.update(func() { n = c.in.bytes })
	return n
}

// Closed reports whether Receive finds an end once what is buffered has been received.
func (c *Conn) Closed() (closed bool) {
	c.in.update(func() { closed = c.in.closed != nil || c.in.aborted != nil })
	return closed
}

// direction is what one end sends and the other receives.
type direction struct {
	size int

	mu        sync.Mutex
	changed   sync.Cond
	packets   [][]byte
	spare     [][]byte
	last      []byte // returned by receive
	bytes     int
	closed    error // for the receiver, once it has received all
	broken    error // for the sender
	aborted   error // for both, at once
	silent    bool
	paused    bool
	rate      int
	limited   bool // to remaining more packets
	remaining int
}

func newDirection(size int) *direction {
	d := &direction{size: size}
	d.changed.L = &d.mu
	return d
}

func (d *direction) send(p []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.fullLocked(p) {
		d.changed.Wait()
	}
	return d.putLocked(p)
}

func (d *direction) trySend(p []byte) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fullLocked(p) {
		return false, nil
	}
	err := d.putLocked(p)
	return err == nil, err
}

// fullLocked reports whether a packet has to wait.
func (d *direction) fullLocked(p []byte) bool {
	return d.aborted == nil && d.closed == nil && !d.silent && d.bytes > 0 && d.bytes+len(p) > d.size
}

// putLocked adds a packet.
func (d *direction) putLocked(p []byte) error {
	switch {
	case d.silent:
		return nil
	case d.aborted != nil:
		return d.aborted
	case d.broken != nil:
		return d.broken
	case d.closed != nil:
		return errClosed
	case d.limited && d.remaining == 0:
		return errLimitReached
	}
	d.remaining--
	var buf []byte
	if n := len(d.spare); n > 0 {
		buf, d.spare = d.spare[n-1], d.spare[:n-1]
	}
	d.packets = append(d.packets, append(buf[:0], p...))
	d.bytes += len(p)
	d.changed.Broadcast()
	return nil
}

func (d *direction) receive() ([]byte, error) {
	p, err := d.next()
	rate := d.rate
	if rate > 0 {
		time.Sleep(time.Duration(len(p)) * time.Second / time.Duration(rate)) // fake time
	}
	return p, err
}

// next waits for a packet and takes it.
func (d *direction) next() ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.last != nil {
		d.spare = append(d.spare, d.last)
		d.last = nil
	}
	for d.aborted == nil && (d.paused || len(d.packets) == 0 && d.closed == nil) {
		d.changed.Wait()
	}
	if d.aborted != nil {
		return nil, d.aborted
	}
	if len(d.packets) == 0 {
		return nil, d.closed
	}
	d.last = d.packets[0]
	d.packets = append(d.packets[:0], d.packets[1:]...)
	d.bytes -= len(d.last)
	d.changed.Broadcast()
	return d.last, nil
}

func (d *direction) update(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.changed.Broadcast()
}

func (d *direction) close(err error) {
	d.update(func() {
		if d.closed == nil && !d.silent {
			d.closed = err
		}
	})
}

func (d *direction) abort(err error) {
	d.update(func() {
		if d.aborted == nil {
			d.aborted = err
		}
	})
}

func (d *direction) breakSend(err error) { d.update(func() { d.broken = err }) }

func (d *direction) silence() { d.update(func() { d.silent = true; d.packets = nil; d.bytes = 0 }) }

func (d *direction) pause(on bool) { d.update(func() { d.paused = on }) }
