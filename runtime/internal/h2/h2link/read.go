package h2link

import (
	"errors"
	"io"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// How a call ends in order, from the client's side and from the server's.
var (
	errRequestEnded  = errors.New("request ended")
	errResponseEnded = errors.New("response ended")
)

// reader belongs to the goroutine that has locked Conn.readMu.
type reader struct {
	in            netio.Input
	frames        h2core.FrameReader
	err           error // why Receive is over
	controlQueued bool  // control frames have been queued since the last flush

	recv    recvState
	request *head // server: what opened the call
	length  h2core.BodyLength
	data    dataFrame
	msg     message

	streamInflow h2core.Inflow
	connInflow   h2core.Inflow
	resets       h2core.ResetStreams // the refused ones

	idleFrames     h2core.FloodCounter // frames that are no part of a message
	sentBytes      uint64              // flight.sentBytes when there were too many last
	refusedStreams int
}

// recvState is how far the peer's half of the call's stream has come.
type recvState uint8

const (
	recvHeaders recvState = iota // the request's, or the response's, have not come
	recvBody
	recvEnded // END_STREAM or RST_STREAM has come
)

// dataFrame is how much of the DATA frame that is being read is left.
type dataFrame struct {
	open      bool
	remaining int // bytes of messages
	padding   int
	endStream bool // END_STREAM
}

func (r *reader) init(src io.Reader, head []byte, beforeRead func(), window int) {
	r.in = netio.NewInput(src, head, beforeRead)
	r.frames = h2core.NewFrameReader(&r.in, h2core.ReadLimits{
		Frame: maxFrame, Parsed: maxParsedFrame, HeaderList: maxHeaderList, HeaderBlock: maxHeaderBlock,
	})
	r.length = h2core.UnknownLength()
	r.streamInflow = h2core.NewUnackedInflow(window)
	r.connInflow = h2core.NewInflow(max(window, h2core.InitialWindow))
	r.idleFrames = h2core.NewFloodCounter(maxIdleFrames, idleFramesInterval)
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
			r.idleFrames.Reset()
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

// endReading makes err the end of reading, and of writing too unless the peer has only ended its half of the stream.
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
		if grantErr := c.consumed(n, d.endStream); err == nil {
			err = grantErr
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

// discardFrame drops what is left of the DATA frame at hand, otherwise acts on the next frame.
func (c *Conn) discardFrame() error {
	d := &c.reading.data
	if !d.open {
		return c.nextFrame()
	}
	d.padding += d.remaining
	d.remaining = 0
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
	c.reading.recv = recvEnded
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.stream.EndRemote()
}

// handleEndStreamMessage takes the message that ends a response, with or without an error.
func (c *Conn) handleEndStreamMessage(p []byte) error {
	if !c.client {
		return connect.NewError(connect.CodeInternal, "the peer sent an end-of-stream message, which is a server's")
	}
	c.setRemoteClosed() // also if END_STREAM has not come
	if err := parseEndStream(p); err != nil {
		return err
	}
	return errResponseEnded
}

// consumed counts n bytes of DATA as read and grants the peer as many again, many at a time.
func (c *Conn) consumed(n int, last bool) error {
	if !last {
		if err := c.queueWindowUpdate(c.state.streamID, c.reading.streamInflow.Consume(n)); err != nil {
			return err
		}
	}
	return c.connConsumed(n)
}

// connConsumed is consumed for the connection's window.
func (c *Conn) connConsumed(n int) error {
	return c.queueWindowUpdate(0, c.reading.connInflow.Consume(n))
}

func (c *Conn) queueWindowUpdate(stream uint32, increment int) error {
	if increment == 0 {
		return nil
	}
	return c.queue(func(b []byte) []byte { return h2core.AppendWindowUpdate(b, stream, increment) })
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
