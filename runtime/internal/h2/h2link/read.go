package h2link

import (
	"errors"
	"io"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// How a call ends in order, from the client's side and from the server's.
var (
	errRequestEnded  = errors.New("request ended")
	errResponseEnded = errors.New("response ended")
)

// reader belongs to whoever has Conn.readMu.
type reader struct {
	in             netio.Input
	framer         *http2.Framer
	err            error // why Receive is over
	controlQueued  bool  // control frames have been queued since the last flush
	gotSettings    bool  // the peer's first SETTINGS have come
	settingsAcked  bool  // the peer has acknowledged ours
	gotResponse    bool  // client: the response's headers have come
	idleFrames     int   // frames without use, one after the other
	refusedStreams int   // streams

	request *head // server: what opened the call
	data    dataFrame
	msg     message

	streamRecvWindow, connRecvWindow int // how much the peer may still send
	streamConsumed, connConsumed     int // how much of it has been read since it was last told
}

// dataFrame is how much of the DATA frame that is being read is left.
type dataFrame struct {
	open      bool
	remaining int // bytes of messages
	padding   int
	endStream bool // END_STREAM
}

func (r *reader) init(src io.Reader, head []byte, idle func()) {
	r.in = netio.NewInput(src, head, idle)
	r.framer = http2.NewFramer(nil, &r.in)
	r.framer.SetMaxReadFrameSize(maxFrame)
	r.framer.MaxHeaderListSize = maxHeaderList
	r.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.connRecvWindow = initialWindow
}

// Receive returns the next message, which is valid until the next Receive. It ends with io.EOF when
// the peer has ended the call in order, with the server's *connect.Error when it failed. One
// goroutine calls it, and while none does, nothing that the peer sends is seen to. A server may send
// after io.EOF what the windows still hold.
func (c *Conn) Receive() ([]byte, error) {
	if !c.readMu.TryLock() {
		return nil, errClosed // Close has it
	}
	defer c.readMu.Unlock()
	r := &c.reading
	if r.err != nil {
		return nil, r.err
	}
	for {
		msg, done, err := c.readData()
		if err == nil && !done {
			err = c.nextFrame()
		}
		if err != nil {
			return nil, c.endReading(err)
		}
		if done {
			r.idleFrames = 0
			c.flush()
			return msg, nil
		}
	}
}

// LimitMessage changes Options.MaxMessage for the messages to come. The goroutine that calls Receive calls it.
func (c *Conn) LimitMessage(n int) {
	if c.readMu.TryLock() { // otherwise Close has it
		c.opts.MaxMessage = n
		c.readMu.Unlock()
	}
}

// endReading makes err the end of reading, and of writing too unless the peer only has no more to
// say.
func (c *Conn) endReading(err error) error {
	r := &c.reading
	switch {
	case errors.Is(err, errRequestEnded):
		r.err = io.EOF
	case errors.Is(err, errResponseEnded):
		r.err = c.failWith(io.EOF, nil)
	default:
		r.err = c.fail(err)
	}
	return r.err
}

// readData reads on in the DATA frame at hand, if there is one, until a message is whole.
func (c *Conn) readData() (msg []byte, whole bool, err error) {
	r := &c.reading
	d := &r.data
	for d.remaining > 0 {
		n, whole, err := r.msg.read(&r.in, d.remaining, c.opts.MaxMessage)
		d.remaining -= n
		if e := c.consumed(n, d.endStream); err == nil {
			err = e
		}
		if err == nil && whole && r.msg.prefix[0] == flagEndStream {
			err = c.handleEndStreamMessage(r.msg.data)
		}
		if whole || err != nil {
			return r.msg.data, whole, err
		}
	}
	if !d.open {
		return nil, false, nil
	}
	if err := c.skipPadding(); err != nil || !d.endStream {
		return nil, false, err
	}
	return nil, false, c.handleEndStream()
}

func (c *Conn) skipPadding() error {
	d := &c.reading.data
	for d.padding > 0 {
		n, err := c.reading.in.Discard(d.padding)
		d.padding -= n
		if err != nil {
			return err
		}
	}
	d.open = false
	return nil
}

// discardFrame drops what is left of the DATA frame at hand, otherwise minds the next frame.
func (c *Conn) discardFrame() error {
	d := &c.reading.data
	if !d.open {
		return c.nextFrame()
	}
	d.remaining, d.padding = 0, d.remaining+d.padding
	if err := c.skipPadding(); err != nil || !d.endStream {
		return err
	}
	c.setRemoteClosed()
	return nil
}

// handleEndStream takes the peer's END_STREAM.
func (c *Conn) handleEndStream() error {
	c.setRemoteClosed()
	switch {
	case c.reading.msg.started():
		return connect.NewError(connect.CodeInternal, "the peer ended its stream within a message")
	case c.client:
		return connect.NewError(connect.CodeUnavailable, "the peer ended its stream without saying how the call ended")
	default:
		return errRequestEnded
	}
}

func (c *Conn) setRemoteClosed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.remoteClosed = true
}

// handleEndStreamMessage takes the message that says how the call ended.
func (c *Conn) handleEndStreamMessage(p []byte) error {
	if !c.client {
		return connect.NewError(connect.CodeInternal, "the peer sent an end-of-stream message, which is a server's")
	}
	c.setRemoteClosed() // whatever HTTP/2 still says
	if err := parseEndStream(p); err != nil {
		return err
	}
	return errResponseEnded
}

// consumed counts n bytes of DATA as read and grants the peer as many again, many at a time.
func (c *Conn) consumed(n int, last bool) error {
	r := &c.reading
	r.streamConsumed += n
	if 2*r.streamConsumed >= c.opts.Window && !last {
		grant := uint32(r.streamConsumed)
		r.streamRecvWindow, r.streamConsumed = r.streamRecvWindow+r.streamConsumed, 0
		err := c.queue(func(f *http2.Framer) error { return f.WriteWindowUpdate(c.state.streamID, grant) })
		if err != nil {
			return err
		}
	}
	return c.connConsumed(n)
}

// connConsumed is eaten for the connection's window.
func (c *Conn) connConsumed(n int) error {
	r := &c.reading
	r.connConsumed += n
	if 2*r.connConsumed >= max(initialWindow, c.opts.Window) {
		grant := uint32(r.connConsumed)
		r.connRecvWindow, r.connConsumed = r.connRecvWindow+r.connConsumed, 0
		return c.queue(func(f *http2.Framer) error { return f.WriteWindowUpdate(0, grant) })
	}
	return nil
}

// Buffered reports whether the next Receive returns without reading from the socket: whether a
// whole message has been read already. The goroutine that calls Receive may ask.
func (c *Conn) Buffered() bool {
	if !c.readMu.TryLock() {
		return false
	}
	defer c.readMu.Unlock()
	r := &c.reading
	return r.err == nil && r.msg.endsIn(r.data, r.in.Buffered(), c.state.streamID)
}
