package h2serve

import (
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// The methods of this file append frames to the output.

// putHeadersLocked puts a header block, in as many frames as it takes.
func (c *Conn) putHeadersLocked(stream uint32, fields []hpack.HeaderField, end bool) {
	c.hpackBuf.Reset()
	for _, f := range fields {
		_ = c.encoder.WriteField(f) // never fails
	}
	c.out = h2core.AppendHeaders(c.out, stream, c.hpackBuf.Bytes(), c.maxFrameLocked(), end)
}

func (c *Conn) putDataLocked(stream uint32, p []byte, end bool) {
	c.out = h2core.AppendData(c.out, stream, p, end)
}

func (c *Conn) putWindowUpdateLocked(stream uint32, increment int) {
	if increment > 0 {
		c.out = h2core.AppendWindowUpdate(c.out, stream, increment)
	}
}

// putGoAwayLocked puts a GOAWAY: no stream after last is served.
func (c *Conn) putGoAwayLocked(last uint32, e *h2core.ConnError) {
	c.out = h2core.AppendGoAway(c.out, last, e.Code, e.Reason)
}

// maxFrameLocked returns how long a frame may be that is sent. The client may take longer ones than are good for other
// streams.
func (c *Conn) maxFrameLocked() int { return min(c.state.peer.MaxFrame, 4*maxFrame) }

// sendSettings sends this end's SETTINGS.
func (c *Conn) sendSettings() {
	c.mu.Lock()
	c.out = h2core.AppendSettings(c.out,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.opts.MaxStreams)},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.opts.StreamWindow)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.opts.MaxHeader)},
	)
	c.putWindowUpdateLocked(0, c.opts.ConnWindow-h2core.InitialWindow)
	c.mu.Unlock()
	c.FlushNow()
}
