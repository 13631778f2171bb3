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
	_ = c.nc.SetReadDeadline(longAgo)
	c.cond.Broadcast()
	c.mu.Unlock()

	c.readMu.Lock() // Receive has left
	defer c.readMu.Unlock()
	c.reading.in.Detach() // its caller may still be at the message that it got
	if c.reading.err == nil {
		c.reading.err = c.state.err // it has been set, and stays
	}
	_ = c.nc.SetReadDeadline(time.Time{})
	kill := time.AfterFunc(c.opts.CloseTimeout, c.kill)
	defer kill.Stop()
	c.wg.Go(func() { c.farewell(err) })
	if c.awaitsEnd(err) {
		c.drain()
	}
	c.wg.Wait()
	c.kill()
}

// kill ends whatever still reads or writes.
func (c *Conn) kill() {
	c.mu.Lock()
	c.state.deaf = true
	c.cond.Broadcast()
	c.mu.Unlock()
	_ = c.socket().Close()
}

// awaitsEnd reports whether the peer gets the time to read what is said last: a socket that is
// closed while there is something to read takes what it has not delivered with it.
func (c *Conn) awaitsEnd(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	if s.broken {
		return false
	}
	return !c.client || s.breach != nil || err == nil && !s.remoteEnd
}

// halfCloser is a connection that can end writing alone, which the peer reads as io.EOF.
type halfCloser interface{ CloseWrite() error }

// drain reads until the peer closes. While it can it minds the frames, since farewell may wait for
// a window, and since the GOAWAY is all that tells the end where a connection cannot be half closed.
func (c *Conn) drain() {
	_, halfCloses := c.nc.(halfCloser)
	ended := func() bool { return !halfCloses && c.state.goAway != "" && (c.state.remoteEnd || !c.client) }
	for err := error(nil); !lost(err) && !ended(); {
		err = c.skipFrame()
	}
	c.mu.Lock()
	c.state.deaf = true
	c.cond.Broadcast()
	c.mu.Unlock()
	for rest := make([]byte, 4<<10); !ended(); {
		if _, err := c.nc.Read(rest); err != nil {
			return
		}
	}
}

// lost reports whether no further frame can be read after err.
func lost(err error) bool {
	if _, ok := errors.AsType[*NotHTTP2Error](err); ok {
		return true
	}
	if _, ok := errors.AsType[*connect.Error](err); ok || errors.Is(err, errRequestEnd) || err == nil {
		return false
	}
	return true
}

// farewell writes what is said last and ends writing.
func (c *Conn) farewell(err error) {
	c.mu.Lock()
	for c.state.busy || c.state.sending {
		c.cond.Wait()
	}
	broken := c.state.broken
	c.state.busy = true // for good
	c.mu.Unlock()
	if broken || c.lastWords(err) != nil {
		c.kill()
		return
	}
	if hc, ok := c.nc.(halfCloser); ok {
		_ = hc.CloseWrite()
	}
}

// lastWords says how the call ended, and that no other is taken.
func (c *Conn) lastWords(err error) error {
	c.mu.Lock()
	s := &c.state
	owesEnd := !c.client && s.stream != 0 && !s.answered && !s.partial && s.breach == nil
	c.mu.Unlock()
	if owesEnd {
		if err := c.sendEnd(endOfStream(err)); err != nil {
			return err
		}
	}
	c.mu.Lock()
	c.queueEnd(err)
	c.mu.Unlock()
	return c.writeControl()
}

// sendEnd sends p as Send would, but while the call is over, and ends the stream with it.
func (c *Conn) sendEnd(p []byte) error {
	if err := c.writeControl(); err != nil {
		return err
	}
	for off := prefixStart; off < len(p); {
		c.mu.Lock()
		n := c.room(len(p) - off)
		for n == 0 && !c.state.deaf {
			c.cond.Wait()
			n = c.room(len(p) - off)
		}
		c.state.answered = off+n == len(p)
		end := c.state.answered
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
	b := c.state.control.take()
	c.mu.Unlock()
	return c.write(b, c.opts.CloseTimeout)
}

// queueEnd queues the frames that end the stream, where it is open, and the connection. c.mu is
// held.
func (c *Conn) queueEnd(err error) {
	s := &c.state
	b := s.breach
	switch {
	case s.stream == 0 || s.remoteEnd && (c.client || s.answered) || b != nil:
	case s.answered:
		// RFC 9113 section 8.1: the response is whole, the rest of the request is not needed.
		_ = s.frames.WriteRSTStream(s.stream, http2.ErrCodeNo)
	case s.partial || err != nil:
		_ = s.frames.WriteRSTStream(s.stream, http2.ErrCodeCancel)
	default:
		_ = s.frames.WriteData(s.stream, true, nil)
	}
	if b == nil {
		b = &breach{code: http2.ErrCodeNo}
	}
	_ = s.frames.WriteGoAway(s.lastStream, b.code, []byte(b.reason))
}
