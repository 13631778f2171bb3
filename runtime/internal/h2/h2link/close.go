package h2link

import (
	"errors"
	"io"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// Close ends the call and the connection; Send and Receive return an error from then on. A server
// sends how the call ended: with nil, or io.EOF, in order; with a *connect.Error, that error; with
// another error, an error of unknown code without its text. A client with nil sends END_STREAM
// and lets the server end too; with an error it resets the stream at once.
//
// Close takes Options.CloseTimeout at most, and that long if the peer has fallen silent. Its first
// call acts, others wait for it.
func (c *Conn) Close(err error) {
	if errors.Is(err, io.EOF) { // as Receive returns it
		err = nil
	}
	if c.closing.Swap(true) {
		<-c.closed
		return
	}
	c.close(err)
	close(c.closed)
}

func (c *Conn) close(err error) {
	c.mu.Lock()
	s := &c.state
	s.phase = max(s.phase, phaseClosing)
	if s.err == nil {
		s.err = errClosed
	}
	_ = c.nc.SetReadDeadline(aLongTimeAgo)
	c.cond.Broadcast()
	c.mu.Unlock()

	c.readMu.Lock() // Receive has left
	defer c.readMu.Unlock()
	c.reading.in.Detach() // its caller may still be at the message that it got
	if c.reading.err == nil {
		c.reading.err = c.state.err // it has been set, and stays
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	kill := time.AfterFunc(c.opts.CloseTimeout, c.abort)
	defer kill.Stop()
	c.wg.Go(func() { c.finishWriting(err) })
	if c.shouldLinger(err) {
		c.lingerClose()
	}
	c.wg.Wait()
	c.abort()
}

// abort ends whatever still reads or writes.
func (c *Conn) abort() {
	c.mu.Lock()
	c.state.phase = phaseStopped
	c.cond.Broadcast()
	c.mu.Unlock()
	_ = c.netConn().Close()
}

// shouldLinger reports whether the peer gets time to read the last frames: closing a socket that has unread input
// resets the connection, and discards what has not been delivered.
func (c *Conn) shouldLinger(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.writeErr != nil {
		return false
	}
	return !c.client || s.connErr != nil || err == nil && s.stream.CanReceive()
}

// lingerClose reads until the peer closes. It acts on frames as long as they can be read, since finishWriting may wait
// for a window, and since a GOAWAY is the only sign of the end where a connection cannot be half closed.
func (c *Conn) lingerClose() {
	_, halfCloses := c.nc.(interface{ CloseWrite() error })
	ended := func() bool {
		return !halfCloses && c.state.goAway != "" && (c.reading.recv == recvEnded || !c.client)
	}
	for err := error(nil); !framingLost(err) && !ended(); {
		err = c.discardFrame()
	}
	c.mu.Lock()
	c.state.phase = phaseStopped
	c.cond.Broadcast()
	c.mu.Unlock()
	for rest := make([]byte, 4<<10); !ended(); {
		if _, err := c.nc.Read(rest); err != nil {
			return
		}
	}
}

// framingLost reports whether no further frame can be read after err.
func framingLost(err error) bool {
	if _, ok := errors.AsType[*NotHTTP2Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*connect.Error](err); ok || errors.Is(err, errRequestEnded) || err == nil {
		return false
	}
	return true
}

// finishWriting writes the last frames and ends writing.
func (c *Conn) finishWriting(err error) {
	if c.takeSocketForGood() != nil || c.writeFinalFrames(err) != nil {
		c.abort()
		return
	}
	netio.CloseWrite(c.nc)
}

// takeSocketForGood waits until nobody writes. It fails if nothing more can be written.
func (c *Conn) takeSocketForGood() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	for s.socket != socketFree || s.message == messageSending {
		c.cond.Wait()
	}
	s.socket = socketClosing
	return s.writeErr
}

// writeFinalFrames writes how the call ended, and a GOAWAY.
func (c *Conn) writeFinalFrames(err error) error {
	c.mu.Lock()
	s := &c.state
	sendEnd := !c.client && s.stream.CanSend() && s.message != messageCut && s.connErr == nil
	c.mu.Unlock()
	if sendEnd {
		if err := c.sendEndMessage(encodeEndStream(err)); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.queueFinalFramesLocked(err)
	c.mu.Unlock()
	return c.writeControl()
}

// sendEndMessage sends p as Send would, but while the call is over, and ends the stream with it.
func (c *Conn) sendEndMessage(p []byte) error {
	if err := c.writeControl(); err != nil {
		return err
	}
	for off := prefixOffset; off < len(p); {
		n, err := c.awaitWindow(len(p) - off)
		if err != nil {
			return err
		}
		end := off+n == len(p)
		if err := c.writeData(p[off-h2core.FrameHeaderSize:off+n], n, end, c.opts.CloseTimeout); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// awaitWindow waits until some of the last n bytes of the stream can be sent, and takes the windows for them. It fails if
// no windows will be granted.
func (c *Conn) awaitWindow(n int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if taken := c.takeWindowLocked(n); taken > 0 {
			if taken == n {
				c.state.stream.EndLocal()
			}
			return taken, nil
		}
		if c.state.phase == phaseStopped {
			return 0, errClosed
		}
		c.cond.Wait()
	}
}

// writeControl writes the control frames that wait.
func (c *Conn) writeControl() error {
	c.mu.Lock()
	b := c.state.control.takeAll()
	c.mu.Unlock()
	return c.write(b, c.opts.CloseTimeout)
}

// queueFinalFramesLocked queues the frames that end the stream, where it is open, and the connection.
func (c *Conn) queueFinalFramesLocked(err error) {
	s := &c.state
	b := s.control.buf
	switch {
	case s.connErr != nil || s.stream == h2core.StreamIdle || !s.stream.CanReceive() && (c.client || !s.stream.CanSend()):
	case !s.stream.CanSend():
		// RFC 9113 section 8.1: the response is whole, the rest of the request is not needed.
		b = h2core.AppendRSTStream(b, s.streamID, http2.ErrCodeNo)
	case s.message == messageCut || err != nil:
		b = h2core.AppendRSTStream(b, s.streamID, http2.ErrCodeCancel)
	default:
		b = h2core.AppendData(b, s.streamID, nil, true)
	}
	goAway := h2core.ConnError{Code: http2.ErrCodeNo}
	if s.connErr != nil {
		goAway = *s.connErr
	}
	s.control.buf = h2core.AppendGoAway(b, s.lastStream, goAway.Code, goAway.Reason)
}
