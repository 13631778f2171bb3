package h2link

import (
	"golang.org/x/net/http2"
)

// The mark by which a dialler shows in its first SETTINGS that it is one. Everybody else ignores an
// unknown setting (RFC 9113 section 6.5.2). The id is of the range for experiments (RFC 7540 section
// 11.3), the value is "mesh".
const (
	markID    = http2.SettingID(0xf4d5)
	markValue = 0x6d657368
)

// settings returns what this end's first SETTINGS say.
func (c *Conn) settings(more ...http2.Setting) []http2.Setting {
	return append(more,
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.opts.Window)},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxFrame},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	)
}

// queueFirstWindow grants the connection as much as the stream. Reading has not begun; c.mu is held.
func (c *Conn) queueFirstWindow() {
	if more := c.opts.Window - initialWindow; more > 0 {
		_ = c.state.frames.WriteWindowUpdate(0, uint32(more))
		c.reading.connIn += more
	}
}
