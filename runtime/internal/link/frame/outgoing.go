package frame

import (
	"encoding/binary"
	"math/bits"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// Outgoing is what a frame to be sent is made of, besides the call's id and the head: the encoded fields before the
// data, which are hops and open, or headers. (Kept apart, a head may lie on its maker's stack.)
type Outgoing struct {
	// Fields are which of data, more, close_send and end are sent.
	Fields Fields
	// Data is a message, or a piece of one.
	Data []byte
	// End is an encoded End.
	End []byte
	// Total is the length of the message that Data begins; it is sent where it is above 0.
	Total int
}

// Has reports whether one of the fields is sent.
func (o *Outgoing) Has(fields Fields) bool { return o.Fields&fields != 0 }

// size is the length of the frame without Packet's tag and length.
func (o *Outgoing) size(head []byte) int {
	n := idSize + len(head)
	if o.Has(FieldData) {
		n += 1 + sizeBytes(len(o.Data))
	}
	if o.Has(FieldMore) {
		n += 2
	}
	if o.Has(FieldCloseSend) {
		n += 2
	}
	if o.Has(FieldEnd) {
		n += 1 + sizeBytes(len(o.End))
	}
	if o.Total > 0 {
		n += 1 + protowire.SizeVarint(uint64(o.Total))
	}
	return n
}

// AppendTo appends the frame as a field of Packet.
func (o *Outgoing) AppendTo(b []byte, call uint32, head []byte) []byte {
	b = appendStart(b, o.size(head), call)
	return o.appendFields(b, head)
}

// Encode returns the frame as it is received, but for the call's id, which is 0.
func (o *Outgoing) Encode() []byte {
	b := append(make([]byte, 0, o.size(nil)), tagCall, 0, 0, 0, 0)
	return o.appendFields(b, nil)
}

// appendFields appends all of the frame but the call's id.
func (o *Outgoing) appendFields(b, head []byte) []byte {
	b = append(b, head...)
	if o.Has(FieldData) {
		b = appendBytes(b, tagData, o.Data)
	}
	if o.Has(FieldMore) {
		b = append(b, tagMore, 1)
	}
	if o.Has(FieldCloseSend) {
		b = append(b, tagCloseSend, 1)
	}
	if o.Has(FieldEnd) {
		b = appendBytes(b, tagEnd, o.End)
	}
	if o.Total > 0 {
		b = append(b, tagTotal)
		b = protowire.AppendVarint(b, uint64(o.Total))
	}
	return b
}

// appendStart appends the start of a frame of size bytes.
func appendStart(b []byte, size int, call uint32) []byte {
	b = append(b, tagFrame)
	b = protowire.AppendVarint(b, uint64(size))
	b = append(b, tagCall)
	return binary.LittleEndian.AppendUint32(b, call)
}

// AppendForwarded appends a frame that was received, raw, with another id, as a field of Packet.
func AppendForwarded(b, raw []byte, call uint32) []byte {
	b = appendStart(b, len(raw), call)
	return append(b, raw[idSize:]...)
}

// AppendWindow appends a frame that grants n bytes, as a field of Packet.
func AppendWindow(b []byte, call uint32, n int) []byte {
	b = appendStart(b, idSize+1+protowire.SizeVarint(uint64(n)), call)
	b = append(b, tagWindow)
	return protowire.AppendVarint(b, uint64(n))
}

// AppendCancel appends a frame that cancels a call, as a field of Packet.
func AppendCancel(b []byte, call uint32, code connect.Code) []byte {
	b = appendStart(b, idSize+2, call)
	return append(b, tagCancel, byte(code))
}

// SetHops sets the hops of a received frame with open, in place.
func SetHops(raw []byte, hops uint32) { binary.LittleEndian.PutUint32(raw[idSize+1:], hops) }

// WithoutWindow returns a copy of a received frame without its window, which is said to one link only.
func WithoutWindow(raw []byte) []byte {
	out := append(make([]byte, 0, len(raw)), raw[:idSize]...)
	rest := raw[idSize:]
	for len(rest) > 0 {
		_, _, n := protowire.ConsumeField(rest)
		if rest[0] != tagWindow {
			out = append(out, rest[:n]...)
		}
		rest = rest[n:]
	}
	return out
}

func appendBytes(b []byte, tag byte, p []byte) []byte {
	b = append(b, tag)
	b = protowire.AppendVarint(b, uint64(len(p)))
	return append(b, p...)
}

func appendString(b []byte, tag byte, s string) []byte {
	b = append(b, tag)
	b = protowire.AppendVarint(b, uint64(len(s)))
	return append(b, s...)
}

// sizeBytes is the length of n bytes with their length before them.
func sizeBytes(n int) int {
	return (bits.Len64(uint64(n)|1)+6)/7 + n
}
