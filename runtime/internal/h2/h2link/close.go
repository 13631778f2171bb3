package h2link

import (
	"errors"
	"io"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

// Close ends the call and the connection; Send and Receive return an error from then on. A server
// says how the call ended: with nil, or io.EOF, in order; with a *connect.Error as that says; with
// another error for reasons that the peer is not told. A client with nil says that it has no more to
// send and lets the server end too; with an error it resets the stream at once.
//
// Close takes Options.CloseTimeout at most, and that long if the peer has fallen silent. Its first
// call acts, others wait for it.
func (c *Conn) Close(err error) {
	if errors.Is(err, io.EOF) { // as Receive says it
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
	s.closed = true
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
	c.state.recvStopped = true
	c.cond.Broadcast()
	c.mu.Unlock()
	_ = c.netConn().Close()
}

// shouldLinger reports whether the peer gets the time to read what is said last: a socket that is
// closed while there is something to read takes what it has not delivered with it.
func (c *Conn) shouldLinger(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.writeBroken {
		return false
	}
	return !c.client || s.connErr != nil || err == nil && !s.remoteClosed
}

// halfCloser is a connection that can end writing alone, which the peer reads as io.EOF.
type halfCloser interface{ CloseWrite() error }

// lingerClose reads until the peer closes. While it can it minds the frames, since farewell may wait for
// a window, and since the GOAWAY is all that tells the end where a connection cannot be half closed.
func (c *Conn) lingerClose() {
	_, halfCloses := c.nc.(halfCloser)
	ended := func() bool { return !halfCloses && c.state.goAway != "" && (c.state.remoteClosed || !c.client) }
	for err := error(nil); !framingLost(err) && !ended(); {
		err = c.discardFrame()
	}
	c.mu.Lock()
	c.state.recvStopped = true
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

// finishWriting writes what is said last and ends writing.
func (c *Conn) finishWriting(err error) {
	c.mu.Lock()
	for c.state.busy || c.state.sending {
		c.cond.Wait()
	}
	broken := c.state.writeBroken
	c.state.busy = true // for good
	c.mu.Unlock()
	if broken || c.writeFinalFrames(err) != nil {
		c.abort()
		return
	}
	if hc, ok := c.nc.(halfCloser); ok {
		_ = hc.CloseWrite()
	}
}

// writeFinalFrames says how the call ended, and that no other is taken.
func (c *Conn) writeFinalFrames(err error) error {
	c.mu.Lock()
	s := &c.state
	owesEnd := !c.client && s.streamID != 0 && !s.localClosed && !s.partialMessage && s.connErr == nil
	c.mu.Unlock()
	if owesEnd {
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
		c.mu.Lock()
		n := c.takeWindowLocked(len(p) - off)
		for n == 0 && !c.state.recvStopped {
			c.cond.Wait()
			n = c.takeWindowLocked(len(p) - off)
		}
		c.state.localClosed = off+n == len(p)
		end := c.state.localClosed
		c.mu.Unlock()
		if n == 0 {
			return errClosed
		}
		if err := c.writeData(p[off-frameHeaderSize:off+n], n, end, c.opts.CloseTimeout); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// writeControl writes the control frames that wait.
func (c *Conn) writeControl() error {
	c.mu.Lock()
	b := c.state.control.takeAll()
	c.mu.Unlock()
	return c.write(b, c.opts.CloseTimeout)
}

// queueFinalFramesLocked queues the frames that end the stream, where it is open, and the connection. c.mu is
// held.
func (c *Conn) queueFinalFramesLocked(err error) {
	s := &c.state
	b := s.connErr
	switch {
	case s.streamID == 0 || s.remoteClosed && (c.client || s.localClosed) || b != nil:
	case s.localClosed:
		// RFC 9113 section 8.1: the response is whole, the rest of the request is not needed.
		_ = s.framer.WriteRSTStream(s.streamID, http2.ErrCodeNo)
	case s.partialMessage || err != nil:
		_ = s.framer.WriteRSTStream(s.streamID, http2.ErrCodeCancel)
	default:
		_ = s.framer.WriteData(s.streamID, true, nil)
	}
	if b == nil {
		b = &connError{code: http2.ErrCodeNo}
	}
	_ = s.framer.WriteGoAway(s.lastStream, b.code, []byte(b.reason))
}
