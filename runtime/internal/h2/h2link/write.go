package h2link

import (
	"errors"
	"os"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// writer belongs to the goroutine that has the socket: state.socket.
type writer struct {
	remainder []byte // what TrySend could not write
	deadline  netio.WriteDeadline
}

// controlQueue holds control frames until somebody who has the socket writes them.
type controlQueue struct {
	buf, spare     []byte
	hasSettingsAck bool // an acknowledgement of SETTINGS is among what waits
}

// takeAll returns what waits, until the next take.
func (q *controlQueue) takeAll() []byte {
	b := q.buf
	q.buf = q.spare[:0]
	q.spare = b
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
	m := outMessage{p: p, off: prefixOffset, timeout: c.writeTimeout(len(p))}
	defer m.stopTimer()
	for m.off < len(p) {
		frame, n, err := c.takeFrame(&m)
		if err != nil {
			return err
		}
		if n > 0 {
			err = c.writeData(frame, n, false, m.timeout)
		}
		m.off += n
		c.releaseSocket(err != nil || m.off == len(p))
		if err != nil {
			return err
		}
	}
	return nil
}

// outMessage is a message that Send sends, in one DATA frame or more.
type outMessage struct {
	p       []byte
	off     int // how much of p has been sent
	turn    bool
	timeout time.Duration
	timer   *time.Timer // while there is no window; nil: it has not been needed
}

func (m *outMessage) stopTimer() {
	if m.timer != nil {
		m.timer.Stop()
	}
}

// takeFrame waits until some of m can be sent, and takes the socket and the windows for it. The frame has n bytes of
// m, and perhaps control frames behind them. Where n is 0, the control frames that wait are to be written first, by
// releaseSocket.
func (c *Conn) takeFrame(m *outMessage) (frame []byte, n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	for !m.turn && s.message == messageSending && s.err == nil {
		c.cond.Wait()
	}
	if s.err == nil {
		m.turn = true
		s.message = messageSending
	}
	for s.err == nil {
		if s.socket == socketFree {
			if s.control.hasSettingsAck { // until it has that, the peer may hold what is sent to its old settings
				s.socket = socketBusy
				return nil, 0, nil
			}
			if n := c.takeWindowLocked(len(m.p) - m.off); n > 0 {
				return c.frameLocked(m, n), n, nil
			}
			if m.timer == nil {
				m.timer = time.AfterFunc(m.timeout, c.windowTimeout)
			}
		}
		c.cond.Wait()
	}
	c.endMessageLocked(m)
	return nil, 0, s.err
}

// frameLocked takes the socket for the next n bytes of m, and returns the frame that is to be written.
func (c *Conn) frameLocked(m *outMessage, n int) []byte {
	s := &c.state
	s.socket = socketBusy
	s.flight.pingIfDue(&s.control)
	frame := m.p[m.off-h2core.FrameHeaderSize : m.off+n]
	if m.off+n == len(m.p) { // otherwise there is data behind it
		frame = s.control.appendTo(frame)
	}
	return frame
}

// endMessageLocked ends the turn of a message that cannot be sent, or not to its end.
func (c *Conn) endMessageLocked(m *outMessage) {
	if !m.turn {
		return
	}
	c.state.message = noMessage
	if m.off > prefixOffset {
		c.state.message = messageCut
	}
	c.cond.Broadcast()
}

// TrySend is Send for one who may not wait, a reader above all. It reports whether the packet has
// been sent: if what it takes is not at hand (the socket, room in it, the windows, a frame that is
// long enough) nothing has happened. Where the socket takes the packet in part, the Conn keeps and
// writes the rest. Over what is no socket, and has no write that does not block, it never sends.
func (c *Conn) TrySend(p []byte) (bool, error) {
	if err := putPrefix(p, 0); err != nil {
		return false, err
	}
	frame, err := c.tryTakeFrame(p)
	if frame == nil {
		return false, err
	}
	size := len(p) - prefixOffset
	h2core.PutFrameHeader(frame, size, http2.FrameData, 0, c.state.streamID)
	n, err := c.tryWrite(frame)
	switch {
	case err != nil:
		c.releaseSocket(false)
		return false, err
	case n == 0:
		c.undoFrame(size, frame[h2core.FrameHeaderSize+size:])
		c.handOver(nil)
		return false, nil
	case n < len(frame):
		c.writing.remainder = append(c.writing.remainder[:0], frame[n:]...)
		c.handOver(c.writing.remainder)
	default:
		c.handOver(nil)
	}
	return true, nil
}

// tryTakeFrame takes the socket and the windows for p, and returns the frame that is to be written, nil where that
// would have to wait.
func (c *Conn) tryTakeFrame(p []byte) (frame []byte, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.err != nil {
		return nil, s.err
	}
	size := len(p) - prefixOffset
	if c.raw == nil && c.tlsSocket == nil || s.socket != socketFree || s.message == messageSending ||
		s.control.hasSettingsAck || int64(size) > c.windowLocked() {
		return nil, nil
	}
	c.takeWindowLocked(size)
	s.socket = socketBusy
	s.flight.pingIfDue(&s.control)
	return s.control.appendTo(p[prefixOffset-h2core.FrameHeaderSize:]), nil
}

// undoFrame gives the windows back that were taken for a frame of which nothing was written, nor of the control frames
// behind it.
func (c *Conn) undoFrame(size int, control []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	s.streamOutflow.Add(int64(size))
	s.connOutflow.Add(int64(size))
	s.flight.undo(size)
	c.updateCongestedLocked()
	s.control.buf = append(s.control.buf, control...)
}

// windowLocked returns how long a DATA frame may be now; less than 1 where none may be sent.
func (c *Conn) windowLocked() int64 {
	s := &c.state
	return min(c.maxDataLocked(), s.streamOutflow.Available(), s.connOutflow.Available())
}

// maxDataLocked returns how long a DATA frame may be for all that is not a window.
func (c *Conn) maxDataLocked() int64 {
	return min(int64(c.state.peer.MaxFrame), maxFrame, c.state.flight.allowance())
}

// takeWindowLocked takes up to n bytes from the windows and returns how many.
func (c *Conn) takeWindowLocked(n int) int {
	s := &c.state
	n = h2core.TakeOutflow(int(min(int64(n), c.maxDataLocked())), &s.streamOutflow, &s.connOutflow)
	if n > 0 {
		s.flight.sentBytes += uint64(n)
		s.flight.notifySent()
		c.updateCongestedLocked()
	}
	return n
}

// releaseSocket writes the control frames that wait, and gives the socket back; with endMessage the turn to send as well.
func (c *Conn) releaseSocket(endMessage bool) {
	for b := c.nextControl(endMessage); b != nil; b = c.nextControl(endMessage) {
		_ = c.write(b, c.opts.WriteTimeout)
	}
}

// nextControl takes the control frames that wait. If there are none, it gives the socket back and returns nil.
func (c *Conn) nextControl(endMessage bool) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	s.flight.pingIfDue(&s.control)
	if len(s.control.buf) > 0 && s.writeErr == nil {
		return s.control.takeAll()
	}
	s.socket = socketFree
	if endMessage {
		s.message = noMessage
	}
	c.cond.Broadcast()
	return nil
}

// handOver writes rest and gives the socket back as releaseSocket does, but leaves what does not go at
// once to a goroutine.
func (c *Conn) handOver(rest []byte) {
	for {
		if len(rest) == 0 && !c.tlsPending() {
			rest = c.nextControl(false)
			if rest == nil {
				return
			}
		}
		n, err := c.tryWrite(rest)
		if err != nil {
			c.releaseSocket(false)
			return
		}
		rest = rest[n:]
		if len(rest) > 0 || c.tlsPending() {
			left := rest // rest, captured, would cost each call an allocation
			c.wg.Go(func() { c.finishWrite(left) })
			return
		}
	}
}

// finishWrite writes rest and gives the socket back.
func (c *Conn) finishWrite(rest []byte) {
	_ = c.write(rest, c.opts.WriteTimeout)
	c.releaseSocket(false)
}

// flush sees to it that the control frames which the reader has queued are written. It does not
// block.
func (c *Conn) flush() {
	if !c.reading.controlQueued {
		return
	}
	c.reading.controlQueued = false
	if b := c.tryTakeControl(); b != nil {
		c.handOver(b)
	}
}

// tryTakeControl takes the socket and the control frames that wait; nil: there are none, or somebody else writes them.
func (c *Conn) tryTakeControl() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.socket != socketFree || s.err != nil || s.writeErr != nil {
		return nil
	}
	s.flight.pingIfDue(&s.control)
	if len(s.control.buf) == 0 {
		return nil
	}
	s.socket = socketBusy
	return s.control.takeAll()
}

// queue queues a control frame of the reader's, which appendFrame appends.
func (c *Conn) queue(appendFrame func(b []byte) []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.queueLocked(appendFrame)
}

func (c *Conn) queueLocked(appendFrame func(b []byte) []byte) error {
	s := &c.state
	if s.phase != phaseOpen {
		return nil
	}
	if len(s.control.buf) > maxControl {
		return h2core.ConnErrorf(http2.ErrCodeEnhanceYourCalm, "control frames are asked for faster than read")
	}
	c.reading.controlQueued = true
	s.control.buf = appendFrame(s.control.buf)
	return nil
}

// writeData writes a DATA frame of n bytes, and what follows it. Its header goes over what stands at its beginning and
// has been sent, which is put back. The caller has the socket.
func (c *Conn) writeData(frame []byte, n int, end bool, timeout time.Duration) error {
	var sent [h2core.FrameHeaderSize]byte
	copy(sent[:], frame)
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	h2core.PutFrameHeader(frame, n, http2.FrameData, flags, c.state.streamID)
	err := c.write(frame, timeout)
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
		c.writing.deadline.Extend(c.nc, c.opts.WriteTimeout)
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
func (c *Conn) write(p []byte, timeout time.Duration) error {
	switch {
	case len(p) == 0 && !c.tlsPending():
		return nil
	case c.raw != nil:
		n, err := c.tryWrite(p)
		if p = p[n:]; err != nil || len(p) == 0 {
			return err
		}
		c.writing.deadline.Extend(c.nc, timeout)
		defer c.writing.deadline.Clear(c.nc)
	default:
		c.writing.deadline.Extend(c.nc, timeout)
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

func (c *Conn) writeFailed(err error) error {
	c.mu.Lock()
	c.state.writeErr = err
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
		&h2core.ConnError{Code: http2.ErrCodeFlowControl, Reason: reason})
}

func (c *Conn) writeTimeout(n int) time.Duration {
	return c.opts.WriteTimeout * time.Duration(1+n>>16) // short: no user sets it, and n is that of a packet
}
