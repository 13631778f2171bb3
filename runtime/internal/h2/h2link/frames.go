package h2link

import (
	"errors"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// nextFrame reads the next frame and acts on it; of a DATA frame, its header.
func (c *Conn) nextFrame() error {
	r := &c.reading
	if c.client && !r.frames.GotSettings() {
		if err := c.checkFirstBytes(); err != nil {
			return err
		}
	}
	if err := r.in.Wait(h2core.FrameHeaderSize); err != nil {
		return err
	}
	fh, err := r.frames.Header()
	if err != nil {
		return err
	}
	switch fh.Type {
	case http2.FrameData:
		return c.beginData(fh)
	case http2.FrameHeaders, http2.FrameSettings, http2.FramePing, http2.FrameGoAway,
		http2.FrameRSTStream, http2.FrameWindowUpdate, http2.FramePriority:
		return c.parsedFrame(fh)
	case http2.FramePushPromise:
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "PUSH_PROMISE, which is switched off")
	default:
		return c.discardPayload(int(fh.Length))
	}
}

// parsedFrame reads a frame whole, and acts on it.
func (c *Conn) parsedFrame(fh http2.FrameHeader) error {
	r := &c.reading
	if fh.Type != http2.FrameHeaders && fh.Length <= maxParsedFrame {
		if err := r.in.Wait(int(fh.Length)); err != nil {
			return err
		}
	}
	f, err := r.frames.Payload(fh)
	if se, ok := errors.AsType[http2.StreamError](err); ok { // there is one stream, and one call on it
		return h2core.ConnErrorf(se.Code, "malformed frame of stream %d", se.StreamID)
	}
	if err != nil {
		return err
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

// countIdleFrame counts a frame that is no part of a message: a peer that sends nothing else only costs work.
func (c *Conn) countIdleFrame() error {
	r := &c.reading
	if !r.idleFrames.Add() {
		return nil
	}
	sent := c.Sent()
	if sent == r.sentBytes { // otherwise they may be WINDOW_UPDATEs and PINGs that follow from our DATA
		return h2core.ConnErrorf(http2.ErrCodeEnhanceYourCalm, "%d frames in a row without a message", r.idleFrames.Count())
	}
	r.sentBytes = sent
	r.idleFrames.Reset()
	return nil
}

// beginData takes the header of a DATA frame.
func (c *Conn) beginData(fh http2.FrameHeader) error {
	r := &c.reading
	n := int(fh.Length)
	if !r.connInflow.Take(n) {
		return h2core.ConnErrorf(http2.ErrCodeFlowControl, "DATA beyond the connection's window")
	}
	if fh.StreamID == 0 || fh.StreamID != c.state.streamID {
		return c.discardStrayData(fh)
	}
	switch {
	case r.recv == recvEnded:
		return h2core.ConnErrorf(http2.ErrCodeStreamClosed, "DATA after the end of the stream")
	case r.recv == recvHeaders:
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "DATA before the response's headers")
	case !r.streamInflow.Take(n):
		return h2core.ConnErrorf(http2.ErrCodeFlowControl, "DATA beyond the stream's window")
	}
	r.data = dataFrame{open: true, remaining: n, endStream: fh.Flags.Has(http2.FlagDataEndStream)}
	if fh.Flags.Has(http2.FlagDataPadded) {
		if err := c.readPadLength(); err != nil {
			return err
		}
	}
	if !r.length.Add(r.data.remaining, r.data.endStream) {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "DATA of another length than content-length says")
	}
	if r.data.remaining == 0 && !r.data.endStream {
		return c.countIdleFrame()
	}
	return nil
}

// readPadLength takes the length of a DATA frame's padding.
func (c *Conn) readPadLength() error {
	d := &c.reading.data
	if d.remaining == 0 {
		return h2core.ConnErrorf(http2.ErrCodeFrameSize, "padded DATA without a length of its padding")
	}
	if err := c.reading.in.Wait(1); err != nil {
		return err
	}
	d.remaining--
	d.padding = int(c.reading.in.Next(1)[0])
	if d.padding > d.remaining {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "DATA with more padding than payload")
	}
	d.remaining -= d.padding
	return c.consumed(1+d.padding, d.endStream)
}

// discardStrayData drops DATA that is not the call's: what was under way when its stream was refused.
func (c *Conn) discardStrayData(fh http2.FrameHeader) error {
	switch {
	case c.client || !c.wasOpened(fh.StreamID):
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "DATA of stream %d, which nobody opened", fh.StreamID)
	case !c.reading.resets.Has(fh.StreamID):
		return h2core.ConnErrorf(http2.ErrCodeStreamClosed, "DATA of stream %d, which is closed", fh.StreamID)
	}
	n := int(fh.Length)
	if err := c.discardPayload(n); err != nil {
		return err
	}
	return c.connConsumed(n)
}

// wasOpened reports whether the client has opened a stream, be it over or not.
func (c *Conn) wasOpened(stream uint32) bool {
	return stream%2 == 1 && stream <= c.state.lastStream
}

func (c *Conn) settingsFrame(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.reading.streamInflow.Acked()
		return c.countIdleFrame()
	}
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
	s := &c.state
	before := s.peer.InitialWindow
	if err := s.peer.Apply(f, c.client); err != nil {
		return err
	}
	if !s.streamOutflow.Add(s.peer.InitialWindow - before) {
		return h2core.ConnErrorf(http2.ErrCodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE makes the stream's window too large")
	}
	c.cond.Broadcast()
	s.control.hasSettingsAck = s.phase == phaseOpen
	return c.queueLocked(h2core.AppendSettingsAck)
}

func (c *Conn) windowUpdateFrame(f *http2.WindowUpdateFrame) error {
	if err := c.countIdleFrame(); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	valid := true
	switch {
	case f.StreamID == 0:
		valid = s.connOutflow.Add(int64(f.Increment))
	case f.StreamID == s.streamID:
		valid = s.streamOutflow.Add(int64(f.Increment))
	case c.client || !c.wasOpened(f.StreamID):
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "WINDOW_UPDATE of stream %d, which nobody opened", f.StreamID)
	}
	if !valid {
		return h2core.ConnErrorf(http2.ErrCodeFlowControl, "WINDOW_UPDATE of stream %d makes its window too large", f.StreamID)
	}
	c.cond.Broadcast()
	return nil
}

func (c *Conn) rstStreamFrame(f *http2.RSTStreamFrame) error {
	if f.StreamID != c.state.streamID {
		if c.client || !c.wasOpened(f.StreamID) {
			return h2core.ConnErrorf(http2.ErrCodeProtocol, "RST_STREAM of stream %d, which nobody opened", f.StreamID)
		}
		return c.countIdleFrame()
	}
	c.reading.recv = recvEnded
	c.mu.Lock()
	c.state.stream.Close()
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
	if err := c.queue(func(b []byte) []byte { return h2core.AppendPing(b, true, f.Data) }); err != nil {
		return err
	}
	return c.countIdleFrame()
}
