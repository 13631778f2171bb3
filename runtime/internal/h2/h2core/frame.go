package h2core

import (
	"encoding/binary"
	"math"

	"golang.org/x/net/http2"
)

// FrameHeaderSize is the length of a frame's header (RFC 9113 section 4.1).
const FrameHeaderSize = 9

// What holds before SETTINGS change it (RFC 9113 section 6.5.2), and the largest window there can be (section 6.9.1).
const (
	InitialWindow      = 65535
	InitialMaxFrame    = 16 << 10
	InitialHeaderTable = 4096
	MaxWindow          = math.MaxInt32
)

// ParseFrameHeader returns the header that b begins with. b has FrameHeaderSize bytes at least.
func ParseFrameHeader(b []byte) http2.FrameHeader {
	_ = b[FrameHeaderSize-1]
	return http2.FrameHeader{
		Length: uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2]),
		Type:   http2.FrameType(b[3]), Flags: http2.Flags(b[4]),
		StreamID: binary.BigEndian.Uint32(b[5:]) & math.MaxInt32, // RFC 9113 section 4.1: the first bit is ignored
	}
}

// PutFrameHeader writes the header of a frame with a payload of n bytes over the beginning of b.
func PutFrameHeader(b []byte, n int, t http2.FrameType, flags http2.Flags, stream uint32) {
	_ = b[FrameHeaderSize-1]
	binary.BigEndian.PutUint32(b, uint32(n)<<8|uint32(t))
	b[4] = byte(flags)
	binary.BigEndian.PutUint32(b[5:], stream)
}

// AppendFrameHeader appends the header of a frame with a payload of n bytes.
func AppendFrameHeader(b []byte, n int, t http2.FrameType, flags http2.Flags, stream uint32) []byte {
	b = append(b, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags))
	return binary.BigEndian.AppendUint32(b, stream)
}

// AppendData appends a DATA frame.
func AppendData(b []byte, stream uint32, p []byte, end bool) []byte {
	b = AppendFrameHeader(b, len(p), http2.FrameData, endStream(end), stream)
	return append(b, p...)
}

// AppendHeaders appends a header block as a HEADERS frame and as many CONTINUATIONs as it takes.
func AppendHeaders(b []byte, stream uint32, block []byte, maxFrame int, end bool) []byte {
	flags := endStream(end)
	for t := http2.FrameHeaders; ; t, flags = http2.FrameContinuation, 0 {
		part := block[:min(len(block), maxFrame)]
		block = block[len(part):]
		if len(block) == 0 {
			flags |= http2.FlagHeadersEndHeaders
		}
		b = AppendFrameHeader(b, len(part), t, flags, stream)
		b = append(b, part...)
		if len(block) == 0 {
			return b
		}
	}
}

func endStream(end bool) http2.Flags {
	if end {
		return http2.FlagDataEndStream // which is that of HEADERS too
	}
	return 0
}

// AppendRSTStream appends an RST_STREAM frame.
func AppendRSTStream(b []byte, stream uint32, code http2.ErrCode) []byte {
	b = AppendFrameHeader(b, 4, http2.FrameRSTStream, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

// AppendWindowUpdate appends a WINDOW_UPDATE frame for a stream, or for the connection where that is 0.
func AppendWindowUpdate(b []byte, stream uint32, increment int) []byte {
	b = AppendFrameHeader(b, 4, http2.FrameWindowUpdate, 0, stream)
	return binary.BigEndian.AppendUint32(b, uint32(increment))
}

// AppendPing appends a PING frame.
func AppendPing(b []byte, ack bool, data [8]byte) []byte {
	var flags http2.Flags
	if ack {
		flags = http2.FlagPingAck
	}
	b = AppendFrameHeader(b, len(data), http2.FramePing, flags, 0)
	return append(b, data[:]...)
}

// AppendSettings appends a SETTINGS frame.
func AppendSettings(b []byte, settings ...http2.Setting) []byte {
	b = AppendFrameHeader(b, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
		b = binary.BigEndian.AppendUint32(b, s.Val)
	}
	return b
}

// AppendSettingsAck appends the acknowledgement of the peer's SETTINGS.
func AppendSettingsAck(b []byte) []byte {
	return AppendFrameHeader(b, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
}

// AppendGoAway appends a GOAWAY frame: no stream after last is, or will be, served.
func AppendGoAway(b []byte, last uint32, code http2.ErrCode, debug string) []byte {
	b = AppendFrameHeader(b, 8+len(debug), http2.FrameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, last)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, debug...)
}
