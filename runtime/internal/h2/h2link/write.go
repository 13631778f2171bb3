package h2link

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

const frameHeaderSize = 9

// writer belongs to whoever has the socket: state.busy.
type writer struct {
	remainder []byte    // what TrySend could not write
	deadline  time.Time // the socket's, where it outlasts a write
}

// controlQueue holds control frames until somebody who has the socket writes them.
type controlQueue struct {
	buf, spare     []byte
	hasSettingsAck bool // an acknowledgement of SETTINGS is among what waits
}

// Write is for the Framer, which writes a frame at once.
func (q *controlQueue) Write(p []byte) (int, error) {
	q.buf = append(q.buf, p...)
	return len(p), nil
}

// takeAll returns what waits, until the next take.
func (q *controlQueue) takeAll() []byte {
	b := q.buf
	q.buf, q.spare = q.spare[:0], b
	q.hasSettingsAck = false
	return b
}

// appendTo appends what waits to a frame that is about to be written, where the frame's slice has room.
func (q *controlQueue) appendTo(frame []byte) []byte {
	if cap(frame)-len(frame) < len(q.buf) {
		return frame
	}
	frame = append(frame, q.buf...)
	q.buf = q.buf[:0]
	q.hasSettingsAck = false
	return frame
}

// Send sends p[HeadRoom:] as one message and writes over p[:HeadRoom] and what capacity p has behind
// its end; it keeps nothing of p. It
// blocks while the peer grants no window or does not read, for Options.WriteTimeout for each 64 KiB
// begun; then it fails, and with it the connection. A packet that fits into one frame of the peer's
// (16 KiB at least, 1 MiB from another Conn) leaves in one write. Of several calls at a time one
// waits for the other.
func (c *Conn) Send(p []byte) error {
	if err := putPrefix(p, 0); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	for s.sending && s.err == nil {
		c.cond.Wait()
	}
	if s.err != nil {
		return s.err
	}
	s.sending = true
	err := c.sendFramesLocked(p)
	s.sending = false
	c.cond.Broadcast()
	return err
}

// sendFramesLocked sends p, whose prefix is in place, in as many DATA frames as it takes. c.mu is held,
// but not while it writes or waits.
func (c *Conn) sendFramesLocked(p []byte) error {
	s := &c.state
	patience := c.writeTimeout(len(p))
	var stall *time.Timer
	for off := prefixOffset; off < len(p); {
		c.flushSettingsAckLocked()
		n := 0
		if s.err == nil && !s.busy {
			n = c.takeWindowLocked(len(p) - off)
			if n == 0 && stall == nil {
				stall = time.AfterFunc(patience, c.windowTimeout)
				defer stall.Stop() //nolint:revive // once: it is nil but here
			}
		}
		if s.err != nil {
			s.partialMessage = off > prefixOffset
			return s.err
		}
		if n == 0 {
			c.cond.Wait()
			continue
		}
		s.busy = true
		s.flight.pingIfDue(s.framer)
		frame := p[off-frameHeaderSize : off+n]
		if off+n == len(p) { // otherwise there is data behind it
			frame = s.control.appendTo(frame)
		}
		c.mu.Unlock()
		err := c.writeData(frame, n, false, patience)
		c.mu.Lock()
		c.releaseLocked()
		if err != nil {
			return err
		}
		off += n
	}
	return nil
}

// flushSettingsAckLocked writes the acknowledgement of the peer's SETTINGS, if one waits: until it has that, the peer may
// hold what is sent to the old ones.
func (c *Conn) flushSettingsAckLocked() {
	if s := &c.state; s.control.hasSettingsAck && !s.busy && s.err == nil {
		s.busy = true
		c.releaseLocked()
	}
}

// TrySend is Send for one who may not wait, a reader above all. It reports whether the packet has
// been sent: if what it takes is not at hand (the socket, room in it, the windows, a frame that is
// long enough) nothing has happened. Where the socket takes the packet in part, the Conn keeps and
// writes the rest. Over what is no socket, and has no write that does not block, it never sends.
func (c *Conn) TrySend(p []byte) (bool, error) {
	if err := putPrefix(p, 0); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.err != nil {
		return false, s.err
	}
	size := len(p) - prefixOffset
	if c.raw == nil && c.tlsSocket == nil || s.busy || s.sending || s.control.hasSettingsAck || int64(size) > c.windowLocked() {
		return false, nil
	}
	c.takeWindowLocked(size)
	s.busy = true
	s.flight.pingIfDue(s.framer)
	frame := s.control.appendTo(p[prefixOffset-frameHeaderSize:])
	c.mu.Unlock()
	putDataHeader(frame, size, false, s.streamID)
	n, err := c.tryWrite(frame)
	if n > 0 && n < len(frame) {
		c.writing.remainder = append(c.writing.remainder[:0], frame[n:]...)
	}
	c.mu.Lock()
	switch {
	case err != nil:
		c.releaseLocked()
		return false, err
	case n == 0:
		s.streamSendWindow += int64(size)
		s.connSendWindow += int64(size)
		s.flight.undo(size)
		c.updateCongestedLocked()
		_, _ = s.control.Write(frame[frameHeaderSize+size:]) // never fails
		c.handOverLocked(nil)
		return false, nil
	case n < len(frame):
		c.handOverLocked(c.writing.remainder)
	default:
		c.handOverLocked(nil)
	}
	return true, nil
}

// windowLocked returns how long a DATA frame may be now; less than 1 where none may be sent.
func (c *Conn) windowLocked() int64 {
	s := &c.state
	return min(int64(s.maxFrame), s.streamSendWindow, s.connSendWindow, s.flight.allowance())
}

// takeWindowLocked takes up to n bytes from the windows and returns how many. c.mu is held.
func (c *Conn) takeWindowLocked(n int) int {
	s := &c.state
	n = int(max(0, min(int64(n), c.windowLocked())))
	if n > 0 {
		s.streamSendWindow -= int64(n)
		s.connSendWindow -= int64(n)
		s.flight.sentBytes += uint64(n)
		s.flight.notifySent()
		c.updateCongestedLocked()
		s.progress = true
	}
	return n
}

// releaseLocked gives the socket back, after the control frames that wait. c.mu is held, but not while
// it writes.
func (c *Conn) releaseLocked() {
	s := &c.state
	s.flight.pingIfDue(s.framer)
	for len(s.control.buf) > 0 && !s.writeBroken {
		b := s.control.takeAll()
		c.mu.Unlock()
		_ = c.write(b, c.opts.WriteTimeout)
		c.mu.Lock()
	}
	s.busy = false
	c.cond.Broadcast()
}

// handOverLocked writes rest and gives the socket back as release does, but leaves what does not go at
// once to a goroutine. c.mu is held, but not while it writes.
func (c *Conn) handOverLocked(rest []byte) {
	s := &c.state
	s.flight.pingIfDue(s.framer)
	for {
		if len(rest) == 0 {
			rest = s.control.takeAll()
		}
		if len(rest) == 0 && !c.tlsPending() || s.writeBroken {
			s.busy = false
			c.cond.Broadcast()
			return
		}
		c.mu.Unlock()
		n, _ := c.tryWrite(rest)
		c.mu.Lock()
		if rest = rest[n:]; (len(rest) > 0 || c.tlsPending()) && !s.writeBroken {
			left := rest // captured in rest's place, which would cost each call an allocation
			c.wg.Go(func() { c.finishWrite(left) })
			return
		}
	}
}

// finishWrite writes rest and gives the socket back.
func (c *Conn) finishWrite(rest []byte) {
	_ = c.write(rest, c.opts.WriteTimeout)
	c.mu.Lock()
	c.releaseLocked()
	c.mu.Unlock()
}

// flush sees to it that the control frames which the reader has queued are written. It does not
// block.
func (c *Conn) flush() {
	if !c.reading.controlQueued {
		return
	}
	c.reading.controlQueued = false
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := &c.state; !s.busy && s.err == nil {
		s.busy = true
		c.handOverLocked(nil)
	}
}

// queue queues a control frame of the reader's.
func (c *Conn) queue(write func(*http2.Framer) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queueLocked(write)
}

func (c *Conn) queueLocked(write func(*http2.Framer) error) error {
	s := &c.state
	if s.closed {
		return nil
	}
	if len(s.control.buf) > maxControl {
		return connErrorf(http2.ErrCodeEnhanceYourCalm, "control frames are asked for faster than read")
	}
	c.reading.controlQueued = true
	return write(s.framer)
}

// writeData writes a DATA frame of n bytes, and what follows it. Its header goes over what stands at its beginning and
// has been sent, which is put back. The caller has the socket.
func (c *Conn) writeData(frame []byte, n int, end bool, patience time.Duration) error {
	var sent [frameHeaderSize]byte
	copy(sent[:], frame)
	putDataHeader(frame, n, end, c.state.streamID)
	err := c.write(frame, patience)
	copy(frame, sent[:])
	return err
}

// tlsPending reports whether a tryWrite has left something of what it took. The caller has the socket.
func (c *Conn) tlsPending() bool { return c.tlsSocket != nil && c.tlsSocket.hasPending.Load() }

// tryWrite writes as much of p as goes without blocking. Over TLS it takes all or nothing, and may owe some of it
// to the socket. The caller has the socket.
func (c *Conn) tryWrite(p []byte) (n int, err error) {
	switch {
	case c.raw != nil:
		n, err = c.raw.TryWrite(p)
	case c.tlsSocket != nil && !c.tlsPending():
		c.setWriteDeadline(c.opts.WriteTimeout)
		c.tlsSocket.nonblocking.Store(true)
		n, err = c.nc.Write(p)
		c.tlsSocket.nonblocking.Store(false)
	}
	if err != nil {
		err = c.writeFailed(err)
	}
	return n, err
}

// write writes p. The caller has the socket.
func (c *Conn) write(p []byte, patience time.Duration) error {
	switch {
	case len(p) == 0 && !c.tlsPending():
		return nil
	case c.raw != nil:
		n, err := c.tryWrite(p)
		if p = p[n:]; err != nil || len(p) == 0 {
			return err
		}
		_ = c.nc.SetWriteDeadline(time.Now().Add(patience))
		defer func() { _ = c.nc.SetWriteDeadline(time.Time{}) }()
	default:
		c.setWriteDeadline(patience)
	}
	if c.tlsPending() {
		if err := c.tlsSocket.flush(); err != nil {
			return c.writeFailed(err)
		}
	}
	if len(p) == 0 {
		return nil
	}
	if _, err := c.nc.Write(p); err != nil {
		return c.writeFailed(err)
	}
	return nil
}

// setWriteDeadline lets writes take patience. Each setting of it costs: it is set ahead, and not cleared, since
// a link writes often.
func (c *Conn) setWriteDeadline(patience time.Duration) {
	if now := time.Now(); c.writing.deadline.Sub(now) < patience {
		c.writing.deadline = now.Add(patience + patience/4) // short: no user sets it
		_ = c.nc.SetWriteDeadline(c.writing.deadline)
	}
}

func (c *Conn) writeFailed(err error) error {
	c.mu.Lock()
	c.state.writeBroken = true
	c.mu.Unlock()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = connect.NewError(connect.CodeUnavailable, "the peer has not read for too long").WithCause(err)
	case c.client && c.Stage() < ResponseReceived:
		return c.callerError(err) // who reads finds out why, and has until the deadline of the start
	}
	return c.fail(err)
}

// windowTimeout ends a connection whose peer has granted no window for too long.
func (c *Conn) windowTimeout() {
	const reason = "no window was granted for too long"
	_ = c.failWith(connect.NewError(connect.CodeUnavailable, "to the peer "+reason),
		&connError{code: http2.ErrCodeFlowControl, reason: reason})
}

func (c *Conn) writeTimeout(n int) time.Duration {
	return c.opts.WriteTimeout * time.Duration(1+n>>16) // short: no user sets it, and n is that of a packet
}

func putDataHeader(p []byte, n int, end bool, stream uint32) {
	binary.BigEndian.PutUint32(p, uint32(n)<<8|uint32(http2.FrameData))
	p[4] = 0
	if end {
		p[4] = byte(http2.FlagDataEndStream)
	}
	binary.BigEndian.PutUint32(p[5:], stream)
}
