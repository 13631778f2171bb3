package h2serve

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// reader belongs to the goroutine that reads.
type reader struct {
	in          netio.Input
	frames      h2core.FrameReader
	buffered    map[BufferedHandlers]BufferedHandler
	handshaking bool // the client's first SETTINGS have not come

	retryOnTimeout bool // reading can go on after a deadline
	hasDeadline    bool // the connection has one for the streams that are being buffered
	buffering      map[uint32]*stream
	bufferedBytes  int // bytes of their bodies
	sinceFlush     int // requests since the BufferedHandlers have flushed

	idleFrames h2core.FloodCounter // frames that do nothing for a request
	resets     h2core.FloodCounter // of streams that were not answered
}

func (r *reader) init(c *Conn, src io.Reader, head []byte) {
	r.in = netio.NewInput(src, head, c.beforeRead)
	r.frames = h2core.NewFrameReader(&r.in, h2core.ReadLimits{
		Frame: maxFrame, Parsed: maxFrame, HeaderList: c.opts.MaxHeader, HeaderBlock: 2*c.opts.MaxHeader + maxFrame,
	})
	r.handshaking = true
	r.buffering = map[uint32]*stream{}
	r.idleFrames = h2core.NewFloodCounter(maxIdleFrames, floodInterval)
	r.resets = h2core.NewFloodCounter(maxResets, floodInterval)
}

// read handles frames until that fails.
func (c *Conn) read() error {
	for {
		err := c.await(h2core.FrameHeaderSize)
		if err == nil {
			err = c.nextFrame()
		}
		if err != nil {
			return err
		}
	}
}

// await waits until n bytes are there, and meanwhile leaves to the Handler what takes too long to be buffered.
func (c *Conn) await(n int) error {
	r := &c.reading
	r.retryOnTimeout = true
	defer func() { r.retryOnTimeout = false }()
	for {
		err := r.in.Wait(n)
		if !errors.Is(err, os.ErrDeadlineExceeded) || !r.hasDeadline || c.connErr() != nil {
			return err
		}
		c.serveSlow()
		c.setDeadline(time.Time{}) // another begins for those that are left
	}
}

func (c *Conn) connErr() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken && c.state.err == nil {
		return errConn
	}
	return c.state.err
}

// beforeRead is called before the reader may have to wait.
func (c *Conn) beforeRead() {
	r := &c.reading
	c.flushBuffered()
	c.FlushNow()
	// One that is pending stays, or a client could put it off for ever.
	if wanted := r.retryOnTimeout && len(r.buffering) > 0; wanted && !r.hasDeadline {
		c.setDeadline(time.Now().Add(bufferTimeout))
	} else if !wanted && r.hasDeadline {
		c.setDeadline(time.Time{})
	}
}

// setDeadline sets the deadline of reading, while nothing has ended it.
func (c *Conn) setDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.err == nil && !c.broken {
		c.reading.hasDeadline = !t.IsZero()
		_ = c.nc.SetReadDeadline(t)
	}
}

// bufferedHandler returns the BufferedHandler that may want a request, or nil.
func (c *Conn) bufferedHandler(req *Request) BufferedHandler {
	if c.opts.Buffered == nil {
		return nil
	}
	source := c.opts.Buffered(req)
	if source == nil {
		return nil
	}
	r := &c.reading
	w := r.buffered[source]
	if w == nil {
		if r.buffered == nil {
			r.buffered = map[BufferedHandlers]BufferedHandler{}
		}
		w = source.NewBufferedHandler()
		r.buffered[source] = w
	}
	return w
}

// flushBuffered has sent what the BufferedHandlers have taken.
func (c *Conn) flushBuffered() {
	if r := &c.reading; r.sinceFlush > 0 {
		r.sinceFlush = 0
		for _, w := range r.buffered {
			w.Flush()
		}
	}
}

// nextFrame acts on the next frame, whose header is there.
func (c *Conn) nextFrame() error {
	r := &c.reading
	fh, err := r.frames.Header()
	if err != nil {
		return err
	}
	if err := c.await(int(fh.Length)); err != nil {
		return err
	}
	f, err := r.frames.Payload(fh)
	if se, ok := errors.AsType[http2.StreamError](err); ok {
		if fh.Type == http2.FrameHeaders {
			c.noteMalformed(se.StreamID)
		}
		return c.streamError(se.StreamID, se.Code)
	}
	if err != nil {
		return err
	}
	return c.frame(f)
}

func (c *Conn) frame(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.data(f)
	case *http2.MetaHeadersFrame:
		return c.headers(f)
	case *http2.SettingsFrame:
		return c.settings(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *http2.RSTStreamFrame:
		return c.resetFrame(f)
	case *http2.PingFrame:
		return c.ping(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return c.streamError(f.StreamID, http2.ErrCodeProtocol)
		}
	case *http2.PushPromiseFrame:
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "PUSH_PROMISE from a client")
	}
	return c.countIdleFrame()
}

// countIdleFrame counts a frame that does nothing for a request: a client that sends nothing else only costs work.
func (c *Conn) countIdleFrame() error {
	r := &c.reading
	if !r.idleFrames.Add() {
		return nil
	}
	c.mu.Lock()
	progress := c.state.progress
	c.state.progress = false
	c.mu.Unlock()
	if !progress {
		return h2core.ConnErrorf(http2.ErrCodeEnhanceYourCalm, "%d frames in a row without use", r.idleFrames.Count())
	}
	r.idleFrames.Reset()
	return nil
}

// countReset counts a reset of a stream that was not answered: each has cost a request.
func (c *Conn) countReset() error {
	if r := &c.reading.resets; r.Add() {
		return h2core.ConnErrorf(http2.ErrCodeEnhanceYourCalm, "%d resets in %v", r.Count(), floodInterval)
	}
	return nil
}

// countControlLocked counts n bytes of answers to the client's control frames.
func (c *Conn) countControlLocked(n int) error {
	c.controlBytes += n
	if c.controlBytes > maxControl {
		return h2core.ConnErrorf(http2.ErrCodeEnhanceYourCalm, "frames are asked for faster than read")
	}
	return nil
}

// noteMalformed notes that the client has opened a stream with HEADERS that are malformed.
func (c *Conn) noteMalformed(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.lastOpened = max(c.state.lastOpened, id)
}

// streamError resets a stream that the client has made a mistake of.
func (c *Conn) streamError(id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	st := c.state.streams[id]
	after := func() {}
	switch {
	case st != nil:
		after = c.resetStreamLocked(st, code)
		c.stopBuffering(st)
	case id%2 == 0 || id > c.state.lastOpened && code != http2.ErrCodeProtocol:
		c.mu.Unlock()
		return h2core.ConnErrorf(code, "frame of stream %d, which nobody opened", id)
	default:
		c.sendResetLocked(id, code, c.opts.StreamWindow)
	}
	err := c.countControlLocked(h2core.FrameHeaderSize + 4)
	c.mu.Unlock()
	after()
	return errors.Join(err, c.countReset())
}
