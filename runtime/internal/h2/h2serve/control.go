package h2serve

import (
	"time"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

func (c *Conn) settings(f *http2.SettingsFrame) error {
	r := &c.reading
	if f.IsAck() {
		return c.countIdleFrame()
	}
	if r.handshaking {
		r.handshaking = false
		c.setDeadline(time.Time{}) // that of the handshake
	}
	if err := c.applySettings(f); err != nil {
		return err
	}
	return c.countIdleFrame()
}

// applySettings takes the client's settings, acknowledges them and sends what they allow.
func (c *Conn) applySettings(f *http2.SettingsFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.state
	before := s.peer
	if err := s.peer.Apply(f, false); err != nil {
		return err
	}
	if s.peer.HeaderTable != before.HeaderTable {
		c.encoder.SetMaxDynamicTableSizeLimit(s.peer.HeaderTable)
		c.encoder.SetMaxDynamicTableSize(min(s.peer.HeaderTable, h2core.InitialHeaderTable))
	}
	change := s.peer.InitialWindow - before.InitialWindow
	for _, st := range s.streams {
		if !st.outflow.Add(change) {
			return h2core.ConnErrorf(http2.ErrCodeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE makes the window of stream %d too large", st.id)
		}
		st.cond.Broadcast()
	}
	c.out = h2core.AppendSettingsAck(c.out)
	err := c.countControlLocked(h2core.FrameHeaderSize)
	c.sendPendingLocked()
	return err
}

func (c *Conn) windowUpdate(f *http2.WindowUpdateFrame) error {
	if err := c.countIdleFrame(); err != nil {
		return err
	}
	err := c.growOutflow(f)
	if se, ok := err.(http2.StreamError); ok { //nolint:errorlint // growOutflow wraps nothing
		return c.streamError(se.StreamID, se.Code)
	}
	return err
}

// growOutflow adds to the window of a stream, or of the connection. It fails with a stream error where a stream's is too
// large then.
func (c *Conn) growOutflow(f *http2.WindowUpdateFrame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.StreamID == 0 {
		if !c.state.outflow.Add(int64(f.Increment)) {
			return h2core.ConnErrorf(http2.ErrCodeFlowControl, "WINDOW_UPDATE makes the window too large")
		}
		for _, st := range c.state.streams {
			st.cond.Broadcast()
		}
		c.sendPendingLocked()
		return nil
	}
	st := c.state.streams[f.StreamID]
	if st == nil {
		return c.checkIdleStreamLocked(f.StreamID)
	}
	if !st.outflow.Add(int64(f.Increment)) {
		return http2.StreamError{StreamID: st.id, Code: http2.ErrCodeFlowControl}
	}
	st.cond.Broadcast()
	c.sendPendingLocked()
	return nil
}

// checkIdleStreamLocked fails for a frame of an idle stream (RFC 9113 section 5.1): only HEADERS may open it.
func (c *Conn) checkIdleStreamLocked(id uint32) error {
	if id%2 == 0 || id > c.state.lastOpened {
		return h2core.ConnErrorf(http2.ErrCodeProtocol, "frame of stream %d, which nobody opened", id)
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
	c.out = h2core.AppendPing(c.out, true, f.Data)
	err := c.countControlLocked(h2core.FrameHeaderSize + len(f.Data))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	return c.countIdleFrame()
}
