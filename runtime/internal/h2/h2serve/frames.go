package h2serve

import (
	"encoding/binary"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const frameHeaderSize = 9

// The methods of this file append frames to the output.

func appendFrameHeader(b []byte, n int, t http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

// putHeadersLocked puts a header block, in as many frames as it takes.
func (c *Conn) putHeadersLocked(stream uint32, fields []hpack.HeaderField, end bool) {
	c.hpackBuf.Reset()
	for _, f := range fields {
		_ = c.encoder.WriteField(f) // never fails
	}
	block := c.hpackBuf.Bytes()
	var flags http2.Flags
	if end {
		flags = http2.FlagHeadersEndStream
	}
	for t := http2.FrameHeaders; ; t, flags = http2.FrameContinuation, 0 {
		part := block[:min(len(block), c.state.maxFrame)]
		if block = block[len(part):]; len(block) == 0 {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.out = appendFrameHeader(c.out, len(part), t, flags, stream)
		c.out = append(c.out, part...)
		if len(block) == 0 {
			return
		}
	}
}

// putDataLocked puts a DATA frame.
func (c *Conn) putDataLocked(stream uint32, p []byte, end bool) {
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	c.out = appendFrameHeader(c.out, len(p), http2.FrameData, flags, stream)
	c.out = append(c.out, p...)
}

func (c *Conn) putResetLocked(stream uint32, code http2.ErrCode) {
	c.out = appendFrameHeader(c.out, 4, http2.FrameRSTStream, 0, stream)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

func (c *Conn) putWindowUpdateLocked(stream uint32, n int) {
	c.out = appendFrameHeader(c.out, 4, http2.FrameWindowUpdate, 0, stream)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
}

func (c *Conn) putPingAckLocked(data [8]byte) {
	c.out = appendFrameHeader(c.out, len(data), http2.FramePing, http2.FlagPingAck, 0)
	c.out = append(c.out, data[:]...)
}

func (c *Conn) putSettingsLocked(ack bool, settings ...http2.Setting) {
	var flags http2.Flags
	if ack {
		flags = http2.FlagSettingsAck
	}
	c.out = appendFrameHeader(c.out, 6*len(settings), http2.FrameSettings, flags, 0)
	for _, s := range settings {
		c.out = binary.BigEndian.AppendUint16(c.out, uint16(s.ID))
		c.out = binary.BigEndian.AppendUint32(c.out, s.Val)
	}
}

// putGoAwayLocked says that no stream after last is served.
func (c *Conn) putGoAwayLocked(last uint32, b *connError) {
	c.out = appendFrameHeader(c.out, 8+len(b.reason), http2.FrameGoAway, 0, 0)
	c.out = binary.BigEndian.AppendUint32(c.out, last)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(b.code))
	c.out = append(c.out, b.reason...)
}

// sendSettings says what this end allows.
func (c *Conn) sendSettings() {
	c.mu.Lock()
	c.putSettingsLocked(false,
		http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.opts.MaxStreams)},
		http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(c.opts.StreamWindow)},
		http2.Setting{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.opts.MaxHeader)},
	)
	if more := c.opts.ConnWindow - initialWindow; more > 0 {
		c.putWindowUpdateLocked(0, more)
	}
	c.mu.Unlock()
	c.FlushNow()
}
