package h2serve

import (
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// reader belongs to the goroutine that reads.
type reader struct {
	in      netio.Input
	frames  *http2.Framer
	wholes  map[Source]Whole
	settled bool // the client's first SETTINGS have come
	acked   bool // it has acknowledged ours

	patient   bool // reading can go on after a deadline
	deadline  bool // the connection has one for the streams that gather
	gathering map[uint32]*stream
	gathered  int // bytes of their bodies
	handled   int // requests since the Wholes have flushed

	idle   int       // frames without use, one after the other
	resets int       // of streams that were not answered, since
	since  time.Time // the two are counted
}

func (r *reader) init(c *Conn, src io.Reader, head []byte) {
	r.in = netio.NewInput(src, head, c.idle)
	r.frames = http2.NewFramer(nil, &r.in)
	r.frames.SetMaxReadFrameSize(maxFrame)
	r.frames.MaxHeaderListSize = uint32(c.opts.MaxHeader)
	r.frames.ReadMetaHeaders = hpack.NewDecoder(headerTable, nil)
	r.gathering = map[uint32]*stream{}
	r.since = time.Now()
}

// read handles frames until there are no more, and says why.
func (c *Conn) read() error {
	r := &c.reading
	for {
		err := c.await(frameHeaderSize)
		if err == nil {
			err = c.nextFrame()
		}
		if err != nil {
			return framerError(r.frames, err)
		}
	}
}

// await waits until n bytes are there, and meanwhile leaves to the Handler what takes too long to be gathered.
func (c *Conn) await(n int) error {
	r := &c.reading
	r.patient = true
	defer func() { r.patient = false }()
	for {
		err := r.in.Wait(n)
		if !errors.Is(err, os.ErrDeadlineExceeded) || !r.deadline || c.alive() != nil {
			return err
		}
		c.gathered()
	}
}

func (c *Conn) alive() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken && c.state.err == nil {
		return errConn
	}
	return c.state.err
}

// idle is called before the reader may have to wait.
func (c *Conn) idle() {
	r := &c.reading
	c.flushWholes()
	c.FlushNow()
	// One that is pending stays, or a client could put it off for ever.
	if wanted := r.patient && len(r.gathering) > 0; wanted && !r.deadline {
		c.setDeadline(time.Now().Add(gatherTime))
	} else if !wanted && r.deadline {
		c.setDeadline(time.Time{})
	}
}

// setDeadline sets the deadline of reading, while nothing has ended it.
func (c *Conn) setDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.err == nil && !c.broken {
		c.reading.deadline = !t.IsZero()
		_ = c.nc.SetReadDeadline(t)
	}
}

// whole returns the Whole that may want a request, or nil.
func (c *Conn) whole(req *Request) Whole {
	if c.opts.Source == nil {
		return nil
	}
	source := c.opts.Source(req)
	if source == nil {
		return nil
	}
	r := &c.reading
	w := r.wholes[source]
	if w == nil {
		if r.wholes == nil {
			r.wholes = map[Source]Whole{}
		}
		w = source.NewWhole()
		r.wholes[source] = w
	}
	return w
}

// flushWholes has sent what the Wholes have taken.
func (c *Conn) flushWholes() {
	if r := &c.reading; r.handled > 0 {
		r.handled = 0
		for _, w := range r.wholes {
			w.Flush()
		}
	}
}

// nextFrame acts on the next frame, whose header is there.
func (c *Conn) nextFrame() error {
	r := &c.reading
	fh, err := r.frames.ReadFrameHeader()
	if err != nil {
		return err
	}
	if !r.settled && (fh.Type != http2.FrameSettings || fh.Flags.Has(http2.FlagSettingsAck)) {
		return breachf(http2.ErrCodeProtocol, "first frame is %s, not SETTINGS", fh.Type)
	}
	if err := c.await(int(fh.Length)); err != nil {
		return err
	}
	if fh.Type == http2.FrameHeaders {
		// The Framer goes on to read CONTINUATION frames.
		r.in.Limit = 2*c.opts.MaxHeader + maxFrame
		defer func() { r.in.Limit = -1 }()
	}
	f, err := r.frames.ReadFrameForHeader(fh)
	if se, ok := errors.AsType[http2.StreamError](err); ok {
		if fh.Type == http2.FrameHeaders {
			c.opened(se.StreamID)
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
		return breachf(http2.ErrCodeProtocol, "PUSH_PROMISE from a client")
	}
	return c.useless()
}

// useless counts a frame that does nothing for a request: a client that sends nothing else only costs work.
func (c *Conn) useless() error {
	r := &c.reading
	c.forgive()
	if r.idle++; r.idle <= maxIdleFrames {
		return nil
	}
	c.mu.Lock()
	progress := c.state.progress
	c.state.progress = false
	c.mu.Unlock()
	if !progress {
		return breachf(http2.ErrCodeEnhanceYourCalm, "%d frames in a row without use", r.idle)
	}
	r.idle = 0
	return nil
}

// forgive begins to count anew after a time.
func (c *Conn) forgive() {
	r := &c.reading
	if r.idle > 0 && r.idle%64 != 0 { // the clock is not looked at each time
		return
	}
	if now := time.Now(); now.Sub(r.since) > calmTime {
		r.idle, r.resets, r.since = 0, 0, now
	}
}

// canceled counts a reset of a stream that was not answered: each has cost a request.
func (c *Conn) canceled() error {
	r := &c.reading
	if now := time.Now(); now.Sub(r.since) > calmTime {
		r.idle, r.resets, r.since = 0, 0, now
	}
	if r.resets++; r.resets > maxResets {
		return breachf(http2.ErrCodeEnhanceYourCalm, "%d resets in %v", r.resets, calmTime)
	}
	return nil
}

// say counts n bytes that the client has this end say. c.mu is held.
func (c *Conn) say(n int) error {
	if c.control += n; c.control > maxControl {
		return breachf(http2.ErrCodeEnhanceYourCalm, "frames are asked for faster than read")
	}
	return nil
}

// opened notes that the client has opened a stream with HEADERS that are malformed.
func (c *Conn) opened(id uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.last = max(c.state.last, id)
}

// streamError resets a stream that the client has made a mistake of.
func (c *Conn) streamError(id uint32, code http2.ErrCode) error {
	c.mu.Lock()
	st, after := c.state.streams[id], func() {}
	switch {
	case st != nil:
		after = c.reset(st, code)
		c.ungather(st)
	case id%2 == 0 || id > c.state.last && code != http2.ErrCodeProtocol:
		c.mu.Unlock()
		return breachf(code, "frame of stream %d, which nobody opened", id)
	default:
		c.refuse(id, code, c.opts.StreamWindow)
	}
	err := c.say(frameHeaderSize + 4)
	c.mu.Unlock()
	after()
	return errors.Join(err, c.canceled())
}
