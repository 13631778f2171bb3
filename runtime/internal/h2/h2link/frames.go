package h2link

import (
	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

// nextFrame reads the next frame and acts on it; of a DATA frame, its header.
func (c *Conn) nextFrame() error {
	r := &c.reading
	if c.client && !r.settled {
		if err := c.checkStranger(); err != nil {
			return err
		}
	}
	if err := r.in.Wait(frameHeaderSize); err != nil {
		return err
	}
	fh, err := r.frames.ReadFrameHeader()
	if err != nil {
		return framerBreach(r.frames, err)
	}
	if !r.settled && (fh.Type != http2.FrameSettings || fh.Flags.Has(http2.FlagSettingsAck)) {
		return breachf(http2.ErrCodeProtocol, "first frame is %s, not SETTINGS", fh.Type)
	}
	switch fh.Type {
	case http2.FrameData:
		return c.openData(fh)
	case http2.FrameHeaders, http2.FrameSettings, http2.FramePing, http2.FrameGoAway,
		http2.FrameRSTStream, http2.FrameWindowUpdate, http2.FramePriority:
		return c.plainFrame(fh)
	case http2.FramePushPromise:
		return breachf(http2.ErrCodeProtocol, "PUSH_PROMISE, which is switched off")
	default:
		return c.skip(int(fh.Length))
	}
}

// plainFrame reads and acts on a frame that the Framer parses.
func (c *Conn) plainFrame(fh http2.FrameHeader) error {
	r := &c.reading
	if fh.Length > maxPlainFrame {
		return breachf(http2.ErrCodeFrameSize, "%s of %d bytes", fh.Type, fh.Length)
	}
	if fh.Type == http2.FrameHeaders {
		// The Framer goes on to read CONTINUATION frames.
		r.in.Limit = maxHeaderBytes
		r.frames.SetMaxReadFrameSize(maxPlainFrame)
		defer func() {
			r.in.Limit = -1
			r.frames.SetMaxReadFrameSize(maxFrame)
		}()
	} else if err := r.in.Wait(int(fh.Length)); err != nil {
		return err
	}
	f, err := r.frames.ReadFrameForHeader(fh)
	if err != nil {
		if mh, ok := f.(*http2.MetaHeadersFrame); ok && mh.Truncated {
			return breachf(http2.ErrCodeEnhanceYourCalm, "more than %d bytes of headers", maxHeaderList)
		}
		return framerBreach(r.frames, err)
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.headersFrame(f)
	case *http2.SettingsFrame:
		return c.settingsFrame(f)
	case *http2.WindowUpdateFrame:
		return c.windowFrame(f)
	case *http2.RSTStreamFrame:
		return c.resetFrame(f)
	case *http2.GoAwayFrame:
		return c.goAwayFrame(f)
	case *http2.PingFrame:
		return c.pingFrame(f)
	default:
		return c.useless()
	}
}

// skip drops the payload of a frame.
func (c *Conn) skip(n int) error {
	for n > 0 {
		m, err := c.reading.in.Discard(n)
		n -= m
		if err != nil {
			return err
		}
	}
	return c.useless()
}

// useless counts a frame that carries nothing: a peer that sends nothing else only costs work.
func (c *Conn) useless() error {
	r := &c.reading
	if r.idle++; r.idle <= maxIdleFrames {
		return nil
	}
	c.mu.Lock()
	progress := c.state.progress
	c.state.progress = false
	c.mu.Unlock()
	if !progress {
		return breachf(http2.ErrCodeEnhanceYourCalm, "%d frames in a row without a message", r.idle)
	}
	r.idle = 0
	return nil
}

// openData takes the header of a DATA frame.
func (c *Conn) openData(fh http2.FrameHeader) error {
	r := &c.reading
	n := int(fh.Length)
	if n > r.connIn {
		return breachf(http2.ErrCodeFlowControl, "DATA beyond the connection's window")
	}
	r.connIn -= n
	if fh.StreamID == 0 || fh.StreamID != c.state.stream {
		return c.strayData(fh)
	}
	switch {
	case c.state.remoteEnd:
		return breachf(http2.ErrCodeStreamClosed, "DATA after the end of the stream")
	case c.client && !r.answered:
		return breachf(http2.ErrCodeProtocol, "DATA before the response's headers")
	case n > r.streamIn:
		return breachf(http2.ErrCodeFlowControl, "DATA beyond the stream's window")
	}
	r.streamIn -= n
	r.data = dataFrame{open: true, left: n, end: fh.Flags.Has(http2.FlagDataEndStream)}
	if fh.Flags.Has(http2.FlagDataPadded) {
		if err := c.openPadding(); err != nil {
			return err
		}
	}
	if r.data.left == 0 && !r.data.end {
		return c.useless()
	}
	return nil
}

func (c *Conn) openPadding() error {
	d := &c.reading.data
	if d.left == 0 {
		return breachf(http2.ErrCodeFrameSize, "padded DATA without a length of its padding")
	}
	if err := c.reading.in.Wait(1); err != nil {
		return err
	}
	d.left--
	d.pad = int(c.reading.in.Next(1)[0])
	if d.pad > d.left {
		return breachf(http2.ErrCodeProtocol, "DATA with more padding than payload")
	}
	d.left -= d.pad
	return c.eaten(1+d.pad, d.end)
}

// strayData drops DATA that is not the call's: what was under way when its stream was refused.
func (c *Conn) strayData(fh http2.FrameHeader) error {
	if c.client || !c.opened(fh.StreamID) {
		return breachf(http2.ErrCodeProtocol, "DATA of stream %d, which nobody opened", fh.StreamID)
	}
	if err := c.skip(int(fh.Length)); err != nil {
		return err
	}
	return c.eatenOfConn(int(fh.Length))
}

// opened reports whether the client has opened a stream, be it over or not.
func (c *Conn) opened(stream uint32) bool {
	return stream%2 == 1 && stream <= c.state.lastStream
}

func (c *Conn) settingsFrame(f *http2.SettingsFrame) error {
	r := &c.reading
	if f.IsAck() {
		if r.acked {
			return breachf(http2.ErrCodeProtocol, "acknowledgement of SETTINGS that were not sent")
		}
		r.acked = true
		r.streamIn += min(0, c.opts.Window-initialWindow) // a larger one holds since it was told
		return c.useless()
	}
	r.settled = true
	c.stage.CompareAndSwap(int32(Opened), int32(Greeted))
	if err := c.settle(f); err != nil {
		return err
	}
	return c.useless()
}

// settle takes the peer's settings, and queues the acknowledgement before anyone can send by them.
func (c *Conn) settle(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.settingLocked); err != nil {
		return err
	}
	return c.queueLocked(func(w *http2.Framer) error {
		c.state.control.settled = true
		return w.WriteSettingsAck()
	})
}

// settingLocked takes one of the peer's settings. Those that bound what this end never does need nothing.
func (c *Conn) settingLocked(s http2.Setting) error {
	if s.Valid() != nil || s.ID == http2.SettingEnablePush && s.Val != 0 && c.client {
		code := http2.ErrCodeProtocol
		if s.ID == http2.SettingInitialWindowSize {
			code = http2.ErrCodeFlowControl
		}
		return breachf(code, "setting %s", s)
	}
	switch s.ID {
	case http2.SettingMaxFrameSize:
		c.state.maxFrame = int(min(s.Val, maxFrame))
	case http2.SettingInitialWindowSize:
		change := int64(s.Val) - c.state.firstWindow
		if c.state.streamOut+change > maxWindow {
			return breachf(http2.ErrCodeFlowControl, "setting %s makes the stream's window too large", s)
		}
		c.state.firstWindow += change
		c.state.streamOut += change
		c.cond.Broadcast()
	}
	return nil
}

func (c *Conn) windowFrame(f *http2.WindowUpdateFrame) error {
	if err := c.useless(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	window := &c.state.connOut
	switch {
	case f.StreamID == 0:
	case f.StreamID == c.state.stream:
		window = &c.state.streamOut
	case c.client || !c.opened(f.StreamID):
		return breachf(http2.ErrCodeProtocol, "WINDOW_UPDATE of stream %d, which nobody opened", f.StreamID)
	default:
		window = new(int64) // of a stream that is over
	}
	if *window += int64(f.Increment); *window > maxWindow {
		return breachf(http2.ErrCodeFlowControl, "WINDOW_UPDATE of stream %d makes its window too large", f.StreamID)
	}
	c.cond.Broadcast()
	return nil
}

func (c *Conn) resetFrame(f *http2.RSTStreamFrame) error {
	if f.StreamID != c.state.stream {
		if c.client || !c.opened(f.StreamID) {
			return breachf(http2.ErrCodeProtocol, "RST_STREAM of stream %d, which nobody opened", f.StreamID)
		}
		return c.useless()
	}
	c.mu.Lock()
	c.state.answered, c.state.remoteEnd = true, true
	c.mu.Unlock()
	reset := &ResetError{Code: f.ErrCode}
	return connect.NewError(codeFor(f.ErrCode), reset.Error()).WithCause(reset)
}

// goAwayFrame takes note: a server that shuts down lets the stream go on.
func (c *Conn) goAwayFrame(f *http2.GoAwayFrame) error {
	debug := f.DebugData()
	said := &GoAwayError{Code: f.ErrCode, Debug: string(debug[:min(len(debug), 200)])}
	c.mu.Lock()
	c.state.goAway = said.Error()
	c.mu.Unlock()
	if c.client && f.LastStreamID < c.state.stream {
		return connect.NewError(connect.CodeUnavailable, "the peer takes no call: "+said.Error()).WithCause(said)
	}
	return c.useless()
}

func (c *Conn) pingFrame(f *http2.PingFrame) error {
	if f.IsAck() {
		return c.pingAcked(f.Data)
	}
	if err := c.queue(func(w *http2.Framer) error { return w.WritePing(true, f.Data) }); err != nil {
		return err
	}
	return c.useless()
}
