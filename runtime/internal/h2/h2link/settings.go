package h2link

import (
	"golang.org/x/net/http2"
)

// The mark by which a dialler shows in its first SETTINGS that it is one. Everybody else ignores an
// unknown setting (RFC 9113 section 6.5.2). The id is of the range for experiments (RFC 7540 section
// 11.3), the value is "mesh".
const (
	settingLink      = http2.SettingID(0xf4d5)
	settingLinkValue = 0x6d657368
)

// localSettings returns what this end's first SETTINGS say.
func (c *Conn) localSettings(more ...http2.Setting) []http2.Setting {
	return append(more,
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.opts.Window)},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxFrame},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	)
}

// queueConnWindowLocked grants the connection as much as the stream. Reading has not begun; c.mu is held.
func (c *Conn) queueConnWindowLocked() {
	if more := c.opts.Window - initialWindow; more > 0 {
		_ = c.state.framer.WriteWindowUpdate(0, uint32(more))
		c.reading.connRecvWindow += more
	}
}
