package frame

import (
	"encoding/binary"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// MaxData is the longest data of one frame, in bytes.
	MaxData = 32 << 10
	// DataCost is how many bytes of a window a frame with data takes besides its data.
	DataCost = 16
	// MaxBlocks bounds all of a frame that is not data, in bytes.
	MaxBlocks = 80 << 10
	// maxOverhead is how much longer than its data a frame without open, headers or end may be.
	maxOverhead = 64
	// maxWindow bounds the window of a call (RFC 9113, section 6.9.1).
	maxWindow = 1<<31 - 1
)

// Tags of the fields of Frame: number<<3 | wire type.
const (
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

	lastField = 11
)

// idSize is the length of the id of a call with its tag.
const idSize = 5

// Fields is a set of fields of a frame.
type Fields uint8

// The fields of a frame that are present or not.
const (
	FieldOpen Fields = 1 << iota
	FieldHeaders
	FieldWindow
	FieldData
	FieldMore
	FieldCloseSend
	FieldCancel
	FieldEnd

	// OpenerFields and AnswererFields are those that only one endpoint of a call may send.
	OpenerFields   = FieldOpen | FieldCloseSend | FieldCancel
	AnswererFields = FieldHeaders | FieldEnd
	// ForwardedFields are those, besides open, for which a relay passes a frame on.
	ForwardedFields = FieldHeaders | FieldData | FieldCloseSend | FieldEnd
)

// Frame is a parsed frame. Its slices alias what it was parsed from.
type Frame struct {
	// Raw is all of it, from the id on.
	Raw []byte
	// Call is the id of the call on the link.
	Call uint32
	// Hops is how many links the call may still cross. Only with FieldOpen.
	Hops uint32
	// Fields are the fields that are present.
	Fields Fields
	// Cancel is a connect.Code, or any number that the peer may send.
	Cancel uint32
	// Window is how many bytes the receiver of the frame may send besides.
	Window uint32
	// Open, Headers and End are encoded messages, and Data is that of the call.
	Open, Headers, Data, End []byte
	// Total is the length of the message that Data begins, as the peer says; 0 where it does not.
	Total uint32
}

// Has reports whether one of the fields is present.
func (f *Frame) Has(fields Fields) bool { return f.Fields&fields != 0 }

// Cost is how many bytes the frame takes of a window.
func (f *Frame) Cost() int {
	if !f.Has(FieldData) {
		return 0
	}
	return len(f.Data) + DataCost
}

// Malformed returns the error of a frame that cannot be read.
func Malformed(what string) error {
	return connect.NewError(connect.CodeInvalidArgument, "link: malformed frame: "+what)
}

// Parse reads raw, which f then aliases.
func (f *Frame) Parse(raw []byte) error {
	*f = Frame{Raw: raw}
	if len(raw) < idSize || raw[0] != tagCall {
		return Malformed("the call's id does not come first")
	}
	f.Call = binary.LittleEndian.Uint32(raw[1:])
	rest := raw[idSize:]
	if len(rest) >= 5 && rest[0] == tagHops {
		f.Hops = binary.LittleEndian.Uint32(rest[1:])
		rest = rest[5:]
	}
	for len(rest) > 0 {
		n, err := f.parseField(rest)
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	return f.checkSize()
}

// parseField reads the first field of b and returns its length.
func (f *Frame) parseField(b []byte) (int, error) {
	switch b[0] {
	case tagOpen:
		return f.parseBytes(b, FieldOpen, &f.Open)
	case tagHeaders:
		return f.parseBytes(b, FieldHeaders, &f.Headers)
	case tagData:
		return f.parseBytes(b, FieldData, &f.Data)
	case tagEnd:
		return f.parseBytes(b, FieldEnd, &f.End)
	case tagWindow, tagMore, tagCloseSend, tagCancel, tagTotal:
		v, n := protowire.ConsumeVarint(b[1:])
		if n < 0 {
			return 0, Malformed("truncated")
		}
		f.setVarint(b[0], v)
		return 1 + n, nil
	}
	num, typ, n := protowire.ConsumeField(b)
	if n < 0 {
		return 0, Malformed("truncated")
	}
	if isField(num, typ) {
		return 0, Malformed("call or hops out of place, or an overlong tag")
	}
	return n, nil
}

// isField reports whether a field is one of Frame's own.
func isField(num protowire.Number, typ protowire.Type) bool {
	const (
		fixed   = 1<<1 | 1<<2
		varints = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<11
	)
	if num > lastField {
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

// parseBytes reads a field of bytes, which may occur once.
func (f *Frame) parseBytes(b []byte, field Fields, to *[]byte) (int, error) {
	if f.Has(field) {
		return 0, Malformed("a field comes twice")
	}
	v, n := protowire.ConsumeBytes(b[1:])
	if n < 0 {
		return 0, Malformed("truncated")
	}
	f.Fields |= field
	*to = v
	return 1 + n, nil
}

func (f *Frame) setVarint(tag byte, v uint64) {
	switch tag {
	case tagWindow:
		f.Window = uint32(v)
		f.setField(FieldWindow, f.Window != 0)
	case tagMore:
		f.setField(FieldMore, v != 0)
	case tagCloseSend:
		f.setField(FieldCloseSend, v != 0)
	case tagCancel:
		f.Cancel = uint32(v)
		f.setField(FieldCancel, f.Cancel != 0)
	case tagTotal:
		f.Total = uint32(v)
	}
}

func (f *Frame) setField(field Fields, present bool) {
	f.Fields &^= field
	if present {
		f.Fields |= field
	}
}

func (f *Frame) checkSize() error {
	overhead := len(f.Raw) - len(f.Data)
	switch {
	case len(f.Data) > MaxData:
		return Malformed("more than 32 KiB of data")
	case !f.Has(FieldOpen|FieldHeaders|FieldEnd) && overhead > maxOverhead, overhead > MaxBlocks:
		return Malformed("too long")
	}
	return nil
}

// WindowFits reports whether a window of so many bytes may grow by n: whether it stays below 2^31.
func WindowFits(window int, n uint32) bool { return int64(window)+int64(n) <= maxWindow }
