package h2serve

import (
	"time"

	"golang.org/x/net/http2"
)

func (c *Conn) settings(f *http2.SettingsFrame) error {
	r := &c.reading
	if f.IsAck() {
		if r.acked {
			return breachf(http2.ErrCodeProtocol, "acknowledgement of SETTINGS that were not sent")
		}
		r.acked = true
		return c.useless()
	}
	if !r.settled {
		r.settled = true
		c.setDeadline(time.Time{}) // that of the handshake
	}
	if n := f.NumSettings(); n > maxSettings {
		return breachf(http2.ErrCodeEnhanceYourCalm, "%d settings", n)
	}
	c.mu.Lock()
	err := f.ForeachSetting(c.setting)
	if err == nil {
		c.putSettings(true)
		err = c.say(frameHeaderSize)
	}
	c.pump()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.useless()
}

// setting takes one of the client's settings. Those that bound what this end never does need nothing. c.mu is
// held.
func (c *Conn) setting(s http2.Setting) error {
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
		change := int64(s.Val) - c.state.firstWindow
		c.state.firstWindow = int64(s.Val)
		for _, st := range c.state.streams {
			if st.out += change; st.out > maxWindow {
				return breachf(http2.ErrCodeFlowControl, "setting %s makes the window of stream %d too large", s, st.id)
			}
			st.cond.Broadcast()
		}
	}
	return nil
}

func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	if err := c.useless(); err != nil {
		return err
	}
	c.mu.Lock()
	if f.StreamID == 0 {
		defer c.mu.Unlock()
		if c.state.window += int64(f.Increment); c.state.window > maxWindow {
			return breachf(http2.ErrCodeFlowControl, "WINDOW_UPDATE makes the window too large")
		}
		for _, st := range c.state.streams {
			st.cond.Broadcast()
		}
		c.pump()
		return nil
	}
	st := c.state.streams[f.StreamID]
	if st == nil {
		defer c.mu.Unlock()
		return c.unless(f.StreamID)
	}
	st.out += int64(f.Increment)
	tooLarge := st.out > maxWindow
	st.cond.Broadcast()
	if !tooLarge {
		c.pump()
	}
	c.mu.Unlock()
	if tooLarge {
		return c.streamError(f.StreamID, http2.ErrCodeFlowControl)
	}
	return nil
}

// unless says that a stream is idle, of which nothing may come but a request. c.mu is held.
func (c *Conn) unless(id uint32) error {
	if id%2 == 0 || id > c.state.last {
		return breachf(http2.ErrCodeProtocol, "frame of stream %d, which nobody opened", id)
	}
	return nil
}

func (c *Conn) resetFrame(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	st := c.state.streams[f.StreamID]
	if st == nil {
		err := c.unless(f.StreamID)
		c.mu.Unlock()
		if err != nil {
			return err
		}
		return c.useless()
	}
	after := c.endWith(st, errReset)
	c.ungather(st)
	c.mu.Unlock()
	after()
	return c.canceled()
}

func (c *Conn) ping(f *http2.PingFrame) error {
	if f.IsAck() {
		if f.Data == parting {
			c.gone()
		}
		return c.useless()
	}
	c.mu.Lock()
	c.putPong(f.Data)
	err := c.say(frameHeaderSize + len(f.Data))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.useless()
}
