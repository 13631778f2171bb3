package h2serve

import (
	"time"

	"golang.org/x/net/http2"
)

func (c *Conn) settings(f *http2.SettingsFrame) error {
	r := &c.reading
	if f.IsAck() {
		if r.settingsAcked {
			return connErrorf(http2.ErrCodeProtocol, "acknowledgement of SETTINGS that were not sent")
		}
		r.settingsAcked = true
		return c.countIdleFrame()
	}
	if !r.gotSettings {
		r.gotSettings = true
		c.setDeadline(time.Time{}) // that of the handshake
	}
	if n := f.NumSettings(); n > maxSettings {
		return connErrorf(http2.ErrCodeEnhanceYourCalm, "%d settings", n)
	}
	c.mu.Lock()
	err := f.ForeachSetting(c.applySettingLocked)
	if err == nil {
		c.putSettingsLocked(true)
		err = c.countControlLocked(frameHeaderSize)
	}
	c.sendPendingLocked()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.countIdleFrame()
}

// applySettingLocked takes one of the client's settings. Those that bound what this end never does need nothing. c.mu is
// held.
func (c *Conn) applySettingLocked(s http2.Setting) error {
	if err := s.Valid(); err != nil {
		return err
	}
	switch s.ID {
	case http2.SettingHeaderTableSize:
		c.encoder.SetMaxDynamicTableSizeLimit(s.Val)
		c.encoder.SetMaxDynamicTableSize(min(s.Val, headerTable))
	case http2.SettingMaxFrameSize:
		c.state.maxFrame = int(min(s.Val, 4*maxFrame))
	case http2.SettingInitialWindowSize:
		change := int64(s.Val) - c.state.initialWindow
		c.state.initialWindow = int64(s.Val)
		for _, st := range c.state.streams {
			st.sendWindow += change
			if st.sendWindow > maxWindow {
				return connErrorf(http2.ErrCodeFlowControl, "setting %s makes the window of stream %d too large", s, st.id)
			}
			st.cond.Broadcast()
		}
	}
	return nil
}

func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	if err := c.countIdleFrame(); err != nil {
		return err
	}
	c.mu.Lock()
	if f.StreamID == 0 {
		defer c.mu.Unlock()
		c.state.sendWindow += int64(f.Increment)
		if c.state.sendWindow > maxWindow {
			return connErrorf(http2.ErrCodeFlowControl, "WINDOW_UPDATE makes the window too large")
		}
		for _, st := range c.state.streams {
			st.cond.Broadcast()
		}
		c.sendPendingLocked()
		return nil
	}
	st := c.state.streams[f.StreamID]
	if st == nil {
		defer c.mu.Unlock()
		return c.checkIdleStreamLocked(f.StreamID)
	}
	st.sendWindow += int64(f.Increment)
	tooLarge := st.sendWindow > maxWindow
	st.cond.Broadcast()
	if !tooLarge {
		c.sendPendingLocked()
	}
	c.mu.Unlock()
	if tooLarge {
		return c.streamError(f.StreamID, http2.ErrCodeFlowControl)
	}
	return nil
}

// checkIdleStreamLocked fails for a frame of an idle stream (RFC 9113 section 5.1): only HEADERS may open it.
func (c *Conn) checkIdleStreamLocked(id uint32) error {
	if id%2 == 0 || id > c.state.lastOpened {
		return connErrorf(http2.ErrCodeProtocol, "frame of stream %d, which nobody opened", id)
	}
	return nil
}

func (c *Conn) resetFrame(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	st := c.state.streams[f.StreamID]
	if st == nil {
		err := c.checkIdleStreamLocked(f.StreamID)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		return c.countIdleFrame()
	}
	after := c.closeStreamLocked(st, errReset)
	c.stopBuffering(st)
	c.mu.Unlock()
	after()
	return c.countReset()
}

func (c *Conn) ping(f *http2.PingFrame) error {
	if f.IsAck() {
		if f.Data == drainPing {
			c.sendFinalGoAway()
		}
		return c.countIdleFrame()
	}
	c.mu.Lock()
	c.putPingAckLocked(f.Data)
	err := c.countControlLocked(frameHeaderSize + len(f.Data))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.countIdleFrame()
}
