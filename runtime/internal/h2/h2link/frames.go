package h2link

import (
	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"
)

// nextFrame reads the next frame and acts on it; of a DATA frame, its header.
func (c *Conn) nextFrame() error {
	r := &c.reading
	if c.client && !r.gotSettings {
		if err := c.checkFirstBytes(); err != nil {
			return err
		}
	}
	if err := r.in.Wait(frameHeaderSize); err != nil {
		return err
	}
	fh, err := r.framer.ReadFrameHeader()
	if err != nil {
		return framerError(r.framer, err)
	}
	if !r.gotSettings && (fh.Type != http2.FrameSettings || fh.Flags.Has(http2.FlagSettingsAck)) {
		return connErrorf(http2.ErrCodeProtocol, "first frame is %s, not SETTINGS", fh.Type)
	}
	switch fh.Type {
	case http2.FrameData:
		return c.beginData(fh)
	case http2.FrameHeaders, http2.FrameSettings, http2.FramePing, http2.FrameGoAway,
		http2.FrameRSTStream, http2.FrameWindowUpdate, http2.FramePriority:
		return c.parsedFrame(fh)
	case http2.FramePushPromise:
		return connErrorf(http2.ErrCodeProtocol, "PUSH_PROMISE, which is switched off")
	default:
		return c.discardPayload(int(fh.Length))
	}
}

// parsedFrame reads and acts on a frame that the Framer parses.
func (c *Conn) parsedFrame(fh http2.FrameHeader) error {
	r := &c.reading
	if fh.Length > maxParsedFrame {
		return connErrorf(http2.ErrCodeFrameSize, "%s of %d bytes", fh.Type, fh.Length)
	}
	if fh.Type == http2.FrameHeaders {
		// The Framer goes on to read CONTINUATION frames.
		r.in.Limit = maxHeaderBlock
		r.framer.SetMaxReadFrameSize(maxParsedFrame)
		defer func() {
			r.in.Limit = -1
			r.framer.SetMaxReadFrameSize(maxFrame)
		}()
	} else if err := r.in.Wait(int(fh.Length)); err != nil {
		return err
	}
	f, err := r.framer.ReadFrameForHeader(fh)
	if err != nil {
		if mh, ok := f.(*http2.MetaHeadersFrame); ok && mh.Truncated {
			return connErrorf(http2.ErrCodeEnhanceYourCalm, "more than %d bytes of headers", maxHeaderList)
		}
		return framerError(r.framer, err)
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		return c.headersFrame(f)
	case *http2.SettingsFrame:
		return c.settingsFrame(f)
	case *http2.WindowUpdateFrame:
		return c.windowUpdateFrame(f)
	case *http2.RSTStreamFrame:
		return c.rstStreamFrame(f)
	case *http2.GoAwayFrame:
		return c.goAwayFrame(f)
	case *http2.PingFrame:
		return c.pingFrame(f)
	default:
		return c.countIdleFrame()
	}
}

// discardPayload drops the payload of a frame.
func (c *Conn) discardPayload(n int) error {
	for n > 0 {
		m, err := c.reading.in.Discard(n)
		n -= m
		if err != nil {
			return err
		}
	}
	return c.countIdleFrame()
}

// countIdleFrame counts a frame that carries nothing: a peer that sends nothing else only costs work.
func (c *Conn) countIdleFrame() error {
	r := &c.reading
	if r.idleFrames++; r.idleFrames <= maxIdleFrames {
		return nil
	}
	c.mu.Lock()
	progress := c.state.progress
	c.state.progress = false
	c.mu.Unlock()
	if !progress {
		return connErrorf(http2.ErrCodeEnhanceYourCalm, "%d frames in a row without a message", r.idleFrames)
	}
	r.idleFrames = 0
	return nil
}

// beginData takes the header of a DATA frame.
func (c *Conn) beginData(fh http2.FrameHeader) error {
	r := &c.reading
	n := int(fh.Length)
	if n > r.connRecvWindow {
		return connErrorf(http2.ErrCodeFlowControl, "DATA beyond the connection's window")
	}
	r.connRecvWindow -= n
	if fh.StreamID == 0 || fh.StreamID != c.state.streamID {
		return c.discardStrayData(fh)
	}
	switch {
	case c.state.remoteClosed:
		return connErrorf(http2.ErrCodeStreamClosed, "DATA after the end of the stream")
	case c.client && !r.gotResponse:
		return connErrorf(http2.ErrCodeProtocol, "DATA before the response's headers")
	case n > r.streamRecvWindow:
		return connErrorf(http2.ErrCodeFlowControl, "DATA beyond the stream's window")
	}
	r.streamRecvWindow -= n
	r.data = dataFrame{open: true, remaining: n, endStream: fh.Flags.Has(http2.FlagDataEndStream)}
	if fh.Flags.Has(http2.FlagDataPadded) {
		if err := c.readPadLength(); err != nil {
			return err
		}
	}
	if r.data.remaining == 0 && !r.data.endStream {
		return c.countIdleFrame()
	}
	return nil
}

func (c *Conn) readPadLength() error {
	d := &c.reading.data
	if d.remaining == 0 {
		return connErrorf(http2.ErrCodeFrameSize, "padded DATA without a length of its padding")
	}
	if err := c.reading.in.Wait(1); err != nil {
		return err
	}
	d.remaining--
	d.padding = int(c.reading.in.Next(1)[0])
	if d.padding > d.remaining {
		return connErrorf(http2.ErrCodeProtocol, "DATA with more padding than payload")
	}
	d.remaining -= d.padding
	return c.consumed(1+d.padding, d.endStream)
}

// discardStrayData drops DATA that is not the call's: what was under way when its stream was refused.
func (c *Conn) discardStrayData(fh http2.FrameHeader) error {
	if c.client || !c.wasOpened(fh.StreamID) {
		return connErrorf(http2.ErrCodeProtocol, "DATA of stream %d, which nobody opened", fh.StreamID)
	}
	if err := c.discardPayload(int(fh.Length)); err != nil {
		return err
	}
	return c.connConsumed(int(fh.Length))
}

// wasOpened reports whether the client has opened a stream, be it over or not.
func (c *Conn) wasOpened(stream uint32) bool {
	return stream%2 == 1 && stream <= c.state.lastStream
}

func (c *Conn) settingsFrame(f *http2.SettingsFrame) error {
	r := &c.reading
	if f.IsAck() {
		if r.settingsAcked {
			return connErrorf(http2.ErrCodeProtocol, "acknowledgement of SETTINGS that were not sent")
		}
		r.settingsAcked = true
		r.streamRecvWindow += min(0, c.opts.Window-initialWindow) // a larger one holds since it was told
		return c.countIdleFrame()
	}
	r.gotSettings = true
	c.stage.CompareAndSwap(int32(RequestSent), int32(SettingsReceived))
	if err := c.applySettings(f); err != nil {
		return err
	}
	return c.countIdleFrame()
}

// applySettings takes the peer's settings, and queues the acknowledgement before anyone can send by them.
func (c *Conn) applySettings(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := f.ForeachSetting(c.applySettingLocked); err != nil {
		return err
	}
	return c.queueLocked(func(w *http2.Framer) error {
		c.state.control.hasSettingsAck = true
		return w.WriteSettingsAck()
	})
}

// applySettingLocked takes one of the peer's settings. Those that bound what this end never does need nothing.
func (c *Conn) applySettingLocked(s http2.Setting) error {
	if s.Valid() != nil || s.ID == http2.SettingEnablePush && s.Val != 0 && c.client {
		code := http2.ErrCodeProtocol
		if s.ID == http2.SettingInitialWindowSize {
			code = http2.ErrCodeFlowControl
		}
		return connErrorf(code, "setting %s", s)
	}
	switch s.ID {
	case http2.SettingMaxFrameSize:
		c.state.maxFrame = int(min(s.Val, maxFrame))
	case http2.SettingInitialWindowSize:
		change := int64(s.Val) - c.state.initialWindow
		if c.state.streamSendWindow+change > maxWindow {
			return connErrorf(http2.ErrCodeFlowControl, "setting %s makes the stream's window too large", s)
		}
		c.state.initialWindow += change
		c.state.streamSendWindow += change
		c.cond.Broadcast()
	}
	return nil
}

func (c *Conn) windowUpdateFrame(f *http2.WindowUpdateFrame) error {
	if err := c.countIdleFrame(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	window := &c.state.connSendWindow
	switch {
	case f.StreamID == 0:
	case f.StreamID == c.state.streamID:
		window = &c.state.streamSendWindow
	case c.client || !c.wasOpened(f.StreamID):
		return connErrorf(http2.ErrCodeProtocol, "WINDOW_UPDATE of stream %d, which nobody opened", f.StreamID)
	default:
		window = new(int64) // of a stream that is over
	}
	if *window += int64(f.Increment); *window > maxWindow {
		return connErrorf(http2.ErrCodeFlowControl, "WINDOW_UPDATE of stream %d makes its window too large", f.StreamID)
	}
	c.cond.Broadcast()
	return nil
}

func (c *Conn) rstStreamFrame(f *http2.RSTStreamFrame) error {
	if f.StreamID != c.state.streamID {
		if c.client || !c.wasOpened(f.StreamID) {
			return connErrorf(http2.ErrCodeProtocol, "RST_STREAM of stream %d, which nobody opened", f.StreamID)
		}
		return c.countIdleFrame()
	}
	c.mu.Lock()
	c.state.localClosed, c.state.remoteClosed = true, true
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
	if c.client && f.LastStreamID < c.state.streamID {
		return connect.NewError(connect.CodeUnavailable, "the peer takes no call: "+said.Error()).WithCause(said)
	}
	return c.countIdleFrame()
}

func (c *Conn) pingFrame(f *http2.PingFrame) error {
	if f.IsAck() {
		return c.pingAckFrame(f.Data)
	}
	if err := c.queue(func(w *http2.Framer) error { return w.WritePing(true, f.Data) }); err != nil {
		return err
	}
	return c.countIdleFrame()
}
