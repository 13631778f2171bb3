package link

import (
	"encoding/binary"
	"math/bits"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// The frames of calls are coded by hand: they are what a node handles all day. link.proto defines
// them; the tests hold this code against the generated one, both ways.

const (
	// maxData is the longest data of one frame.
	maxData = 32 << 10
	// dataCost is what a frame with data costs of the window besides its data.
	dataCost = 16
	// maxOverhead is how much longer than its data a frame without open, headers or end may be.
	maxOverhead = 64
	// maxBlocks bounds all of a frame that is not data.
	maxBlocks = 80 << 10
	// maxGrant bounds the credit of a call.
	maxGrant = 1<<31 - 1
)

// Tags of the fields of Packet and Frame: number<<3 | wire type.
const (
	tagControl = 1<<3 | 2
	tagFrame   = 2<<3 | 2

	tagCall      = 1<<3 | 5
	tagHops      = 2<<3 | 5
	tagOpen      = 3<<3 | 2
	tagHeaders   = 4<<3 | 2
	tagWindow    = 5<<3 | 0
	tagData      = 6<<3 | 2
	tagMore      = 7<<3 | 0
	tagCloseSend = 8<<3 | 0
	tagCancel    = 9<<3 | 0
	tagEnd       = 10<<3 | 2
	tagTotal     = 11<<3 | 0

	lastFrameField = 11
)

// Bits of frame.has.
const (
	hasOpen = 1 << iota
	hasHeaders
	hasWindow
	hasData
	hasCloseSend
	hasCancel
	hasEnd

	// byOpener and byAnswerer are what only one end of a call may say.
	byOpener   = hasOpen | hasCloseSend | hasCancel
	byAnswerer = hasHeaders | hasEnd
	// forwarded is what a relay passes on.
	forwarded = hasHeaders | hasData | hasCloseSend | hasEnd
)

// frame is a parsed Frame. Its slices alias the packet.
type frame struct {
	raw     []byte
	call    uint32
	hops    uint32
	has     uint8
	more    bool
	cancel  uint32
	window  uint32
	open    []byte
	headers []byte
	data    []byte
	end     []byte
	total   uint32 // of the message that data begins, as the other end says; 0: it does not
}

// cost is what the frame takes of a window.
func (f *frame) cost() int {
	if f.has&hasData == 0 {
		return 0
	}
	return len(f.data) + dataCost
}

// errFrame is what is wrong with a frame that cannot be read.
func errFrame(what string) error {
	return connect.NewError(connect.CodeInvalidArgument, "link: malformed frame: "+what)
}

// parse reads raw, which f then aliases.
func (f *frame) parse(raw []byte) error {
	*f = frame{raw: raw}
	if len(raw) < 5 || raw[0] != tagCall {
		return errFrame("the call's id does not come first")
	}
	f.call = binary.LittleEndian.Uint32(raw[1:])
	rest := raw[5:]
	if len(rest) >= 5 && rest[0] == tagHops {
		f.hops = binary.LittleEndian.Uint32(rest[1:])
		rest = rest[5:]
	}
	for len(rest) > 0 {
		n, err := f.field(rest)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return f.checkSize()
}

// field reads the first field of b and returns its length.
func (f *frame) field(b []byte) (int, error) {
	switch b[0] {
	case tagOpen:
		return f.bytesField(b, hasOpen, &f.open)
	case tagHeaders:
		return f.bytesField(b, hasHeaders, &f.headers)
	case tagData:
		return f.bytesField(b, hasData, &f.data)
	case tagEnd:
		return f.bytesField(b, hasEnd, &f.end)
	case tagWindow, tagMore, tagCloseSend, tagCancel, tagTotal:
		v, n := protowire.ConsumeVarint(b[1:])
		if n < 0 {
			return 0, errFrame("truncated")
		}
		f.varintField(b[0], v)
		return 1 + n, nil
	}
	num, typ, n := protowire.ConsumeField(b)
	if n < 0 {
		return 0, errFrame("truncated")
	}
	if isFrameField(num, typ) {
		return 0, errFrame("call or hops out of place, or an overlong tag")
	}
	return n, nil
}

// isFrameField reports whether a field is one of Frame's own.
func isFrameField(num protowire.Number, typ protowire.Type) bool {
	const (
		fixed   = 1<<1 | 1<<2
		varints = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<11
	)
	if num > lastFrameField {
		return false
	}
	switch {
	case fixed>>num&1 == 1:
		return typ == protowire.Fixed32Type
	case varints>>num&1 == 1:
		return typ == protowire.VarintType
	default:
		return typ == protowire.BytesType
	}
}

// bytesField reads a field of bytes that may occur once.
func (f *frame) bytesField(b []byte, bit uint8, to *[]byte) (int, error) {
	if f.has&bit != 0 {
		return 0, errFrame("a field comes twice")
	}
	v, n := protowire.ConsumeBytes(b[1:])
	if n < 0 {
		return 0, errFrame("truncated")
	}
	f.has |= bit
	*to = v
	return 1 + n, nil
}

func (f *frame) varintField(tag byte, v uint64) {
	switch tag {
	case tagWindow:
		f.window = uint32(v)
		f.set(hasWindow, f.window != 0)
	case tagMore:
		f.more = v != 0
	case tagCloseSend:
		f.set(hasCloseSend, v != 0)
	case tagCancel:
		f.cancel = uint32(v)
		f.set(hasCancel, f.cancel != 0)
	case tagTotal:
		f.total = uint32(v)
	}
}

func (f *frame) set(bit uint8, on bool) {
	f.has &^= bit
	if on {
		f.has |= bit
	}
}

func (f *frame) checkSize() error {
	slack := len(f.raw) - len(f.data)
	switch {
	case len(f.data) > maxData:
		return errFrame("more than 32 KiB of data")
	case f.has&(hasOpen|hasHeaders|hasEnd) == 0 && slack > maxOverhead, slack > maxBlocks:
		return errFrame("too long")
	}
	return nil
}

// outFrame is what a frame of a call is made of, besides its head: the encoded fields before the data,
// which are hops and open, or headers. (Kept apart, a head may lie on its maker's stack.)
type outFrame struct {
	data      []byte
	hasData   bool
	more      bool
	closeSend bool
	hasEnd    bool
	end       []byte
	total     int // of the message that data begins, said where it is above 0
}

// size is the length of the frame without Packet's tag and length.
func (f *outFrame) size(head []byte) int {
	n := 5 + len(head)
	if f.hasData {
		n += 1 + sizeBytes(len(f.data))
	}
	if f.more {
		n += 2
	}
	if f.closeSend {
		n += 2
	}
	if f.hasEnd {
		n += 1 + sizeBytes(len(f.end))
	}
	if f.total > 0 {
		n += 1 + protowire.SizeVarint(uint64(f.total))
	}
	return n
}

// appendTo appends the frame as a field of Packet.
func (f *outFrame) appendTo(b []byte, call uint32, head []byte) []byte {
	b = appendCall(b, f.size(head), call)
	return f.appendFields(b, head)
}

// appendFields appends all of the frame but the call's id.
func (f *outFrame) appendFields(b, head []byte) []byte {
	b = append(b, head...)
	if f.hasData {
		b = appendBytes(b, tagData, f.data)
	}
	if f.more {
		b = append(b, tagMore, 1)
	}
	if f.closeSend {
		b = append(b, tagCloseSend, 1)
	}
	if f.hasEnd {
		b = appendBytes(b, tagEnd, f.end)
	}
	if f.total > 0 {
		b = append(b, tagTotal)
		b = protowire.AppendVarint(b, uint64(f.total))
	}
	return b
}

// appendCall appends the start of a frame of size bytes.
func appendCall(b []byte, size int, call uint32) []byte {
	b = append(b, tagFrame)
	b = protowire.AppendVarint(b, uint64(size))
	b = append(b, tagCall)
	return binary.LittleEndian.AppendUint32(b, call)
}

// appendForwarded appends a frame that was received, with another id.
func appendForwarded(b, raw []byte, call uint32) []byte {
	b = appendCall(b, len(raw), call)
	return append(b, raw[5:]...)
}

// appendWindow appends a frame that grants n bytes.
func appendWindow(b []byte, call uint32, n int) []byte {
	b = appendCall(b, 5+1+protowire.SizeVarint(uint64(n)), call)
	b = append(b, tagWindow)
	return protowire.AppendVarint(b, uint64(n))
}

// appendCancel appends a frame that lets go of a call.
func appendCancel(b []byte, call uint32, code connect.Code) []byte {
	b = appendCall(b, 5+2, call)
	return append(b, tagCancel, byte(code))
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

// withoutWindow returns raw without its window, which is said to one link only.
func withoutWindow(raw []byte) []byte {
	out := append(make([]byte, 0, len(raw)), raw[:5]...)
	for rest := raw[5:]; len(rest) > 0; {
		_, _, n := protowire.ConsumeField(rest)
		if rest[0] != tagWindow {
			out = append(out, rest[:n]...)
		}
		rest = rest[n:]
	}
	return out
}

// windowFits reports whether n more keeps credit within maxGrant.
func windowFits(credit int, n uint32) bool { return int64(credit)+int64(n) <= maxGrant }
