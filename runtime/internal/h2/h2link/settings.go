package h2link

import (
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// The mark by which a dialler shows in its first SETTINGS that it is one. Everybody else ignores an
// unknown setting (RFC 9113 section 6.5.2). The id is of the range for experiments (RFC 7540 section
// 11.3), the value is "mesh".
const (
	settingLink      = http2.SettingID(0xf4d5)
	settingLinkValue = 0x6d657368
)

// appendSettings appends this end's SETTINGS, with those of its role, and grants the connection as much as the stream.
func (c *Conn) appendSettings(b []byte, ofRole ...http2.Setting) []byte {
	b = h2core.AppendSettings(b, append(ofRole,
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.opts.Window)},
		http2.Setting{ID: http2.SettingMaxFrameSize, Val: maxFrame},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: maxHeaderList},
	)...)
	if more := c.opts.Window - h2core.InitialWindow; more > 0 {
		b = h2core.AppendWindowUpdate(b, 0, more)
	}
	return b
}
