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
	errRequestEnd  = errors.New("request ended")
	errResponseEnd = errors.New("response ended")
)

// reader belongs to whoever has Conn.readMu.
type reader struct {
	in       netio.Input
	frames   *http2.Framer
	err      error // why Receive is over
	queued   bool  // control frames have been queued since the last flush
	settled  bool  // the peer's first SETTINGS have come
	acked    bool  // the peer has acknowledged ours
	answered bool  // client: the response's headers have come
	idle     int   // frames without use, one after the other
	refused  int   // streams

	request *head // server: what opened the call
	data    dataFrame
	msg     message

	streamIn, connIn       int // how much the peer may still send
	streamEaten, connEaten int // how much of it has been read since it was last told
}

// dataFrame is how much of the DATA frame that is being read is left.
type dataFrame struct {
	open bool
	left int // bytes of messages
	pad  int
	end  bool // END_STREAM
}

func (r *reader) init(src io.Reader, head []byte, idle func()) {
	r.in = netio.NewInput(src, head, idle)
	r.frames = http2.NewFramer(nil, &r.in)
	r.frames.SetMaxReadFrameSize(maxFrame)
	r.frames.MaxHeaderListSize = maxHeaderList
	r.frames.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	r.connIn = initialWindow
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
			return nil, c.readFailed(err)
		}
		if done {
			r.idle = 0
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

// readFailed makes err the end of reading, and of writing too unless the peer only has no more to
// say.
func (c *Conn) readFailed(err error) error {
	r := &c.reading
	switch {
	case errors.Is(err, errRequestEnd):
		r.err = io.EOF
	case errors.Is(err, errResponseEnd):
		r.err = c.end(io.EOF, nil)
	default:
		r.err = c.fail(err)
	}
	return r.err
}

// readData reads on in the DATA frame at hand, if there is one, until a message is whole.
func (c *Conn) readData() (msg []byte, whole bool, err error) {
	r := &c.reading
	d := &r.data
	for d.left > 0 {
		n, whole, err := r.msg.read(&r.in, d.left, c.opts.MaxMessage)
		d.left -= n
		if e := c.eaten(n, d.end); err == nil {
			err = e
		}
		if err == nil && whole && r.msg.prefix[0] == flagEnd {
			err = c.endMessage(r.msg.data)
		}
		if whole || err != nil {
			return r.msg.data, whole, err
		}
	}
	if !d.open {
		return nil, false, nil
	}
	if err := c.skipPadding(); err != nil || !d.end {
		return nil, false, err
	}
	return nil, false, c.endStream()
}

func (c *Conn) skipPadding() error {
	d := &c.reading.data
	for d.pad > 0 {
		n, err := c.reading.in.Discard(d.pad)
		d.pad -= n
		if err != nil {
			return err
		}
	}
	d.open = false
	return nil
}

// skipFrame drops what is left of the DATA frame at hand, otherwise minds the next frame.
func (c *Conn) skipFrame() error {
	d := &c.reading.data
	if !d.open {
		return c.nextFrame()
	}
	d.left, d.pad = 0, d.left+d.pad
	if err := c.skipPadding(); err != nil || !d.end {
		return err
	}
	c.setRemoteEnd()
	return nil
}

// endStream takes the peer's END_STREAM.
func (c *Conn) endStream() error {
	c.setRemoteEnd()
	switch {
	case c.reading.msg.begun():
		return connect.NewError(connect.CodeInternal, "the peer ended its stream within a message")
	case c.client:
		return connect.NewError(connect.CodeUnavailable, "the peer ended its stream without saying how the call ended")
	default:
		return errRequestEnd
	}
}

func (c *Conn) setRemoteEnd() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.remoteEnd = true
}

// endMessage takes the message that says how the call ended.
func (c *Conn) endMessage(p []byte) error {
	if !c.client {
		return connect.NewError(connect.CodeInternal, "the peer sent an end-of-stream message, which is a server's")
	}
	c.setRemoteEnd() // whatever HTTP/2 still says
	if err := parseEnd(p); err != nil {
		return err
	}
	return errResponseEnd
}

// eaten counts n bytes of DATA as read and grants the peer as many again, many at a time.
func (c *Conn) eaten(n int, last bool) error {
	r := &c.reading
	r.streamEaten += n
	if 2*r.streamEaten >= c.opts.Window && !last {
		grant := uint32(r.streamEaten)
		r.streamIn, r.streamEaten = r.streamIn+r.streamEaten, 0
		err := c.queue(func(f *http2.Framer) error { return f.WriteWindowUpdate(c.state.stream, grant) })
		if err != nil {
			return err
		}
	}
	return c.eatenOfConn(n)
}

// eatenOfConn is eaten for the connection's window.
func (c *Conn) eatenOfConn(n int) error {
	r := &c.reading
	r.connEaten += n
	if 2*r.connEaten >= max(initialWindow, c.opts.Window) {
		grant := uint32(r.connEaten)
		r.connIn, r.connEaten = r.connIn+r.connEaten, 0
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
	return r.err == nil && r.msg.within(r.data, r.in.Buffered(), c.state.stream)
}
