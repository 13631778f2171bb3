package frame

import (
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// Tags of the fields of Headers and Header.
const (
	tagHeader      = 1<<3 | 2
	tagHeaderKey   = 1<<3 | 2
	tagHeaderValue = 2<<3 | 2
)

// sizeHeaders is the length of h as the body of a Headers.
func sizeHeaders(h *connect.Header) int {
	n := 0
	for key, values := range h.All() {
		n += 1 + sizeBytes(sizeHeader(key, values))
	}
	return n
}

func sizeHeader(key string, values []string) int {
	n := 1 + sizeBytes(len(key))
	for _, v := range values {
		n += 1 + sizeBytes(len(v))
	}
	return n
}

// AppendHeaders appends h as the body of a Headers. h may be nil.
func AppendHeaders(b []byte, h *connect.Header) []byte {
	for key, values := range h.All() {
		b = append(b, tagHeader)
		b = protowire.AppendVarint(b, uint64(sizeHeader(key, values)))
		b = appendString(b, tagHeaderKey, key)
		for _, v := range values {
			b = appendString(b, tagHeaderValue, v)
		}
	}
	return b
}

// CheckHeaders returns how many bytes h takes as the body of a Headers, or why it cannot be sent: limit is how many
// bytes it may take, and what says in the error what the headers are.
func CheckHeaders(what string, h *connect.Header, limit int) (size int, err *connect.Error) {
	if h.Len() == 0 {
		return 0, nil
	}
	for key := range h.All() {
		if !utf8.ValidString(key) {
			return 0, connect.Errorf(connect.CodeInvalidArgument, "%s: the key %q is not UTF-8", what, key)
		}
	}
	size = sizeHeaders(h)
	if size > limit {
		return 0, connect.Errorf(connect.CodeResourceExhausted, "%s of %d bytes: a call may have %d at most; what is longer goes into messages", what, size, limit)
	}
	return size, nil
}

// ParseHeaders adds the headers in the body of a Headers to h.
func ParseHeaders(b []byte, h *connect.Header) error {
	return eachBytes(b, func(num protowire.Number, v []byte) error {
		if num != 1 {
			return nil
		}
		return parseHeader(v, h)
	})
}

func parseHeader(b []byte, h *connect.Header) error {
	var key string
	var values []string
	err := eachBytes(b, func(num protowire.Number, v []byte) error {
		switch num {
		case 1:
			key = string(v)
		case 2:
			values = append(values, string(v))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if key == "" || !utf8.ValidString(key) {
		return Malformed("a header without a proper key")
	}
	for _, v := range values {
		h.Add(key, v)
	}
	return nil
}

// eachBytes calls f with each field of a message that is bytes, a string or a message.
func eachBytes(b []byte, f func(protowire.Number, []byte) error) error {
	for len(b) > 0 {
		num, typ, value, rest, err := nextField(b)
		if err != nil {
			return err
		}
		if typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(value)
			if err := f(num, v); err != nil {
				return err
			}
		}
		b = rest
	}
	return nil
}

// nextField takes apart the first field of a message, value being its encoding without the tag.
func nextField(b []byte) (num protowire.Number, typ protowire.Type, value, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return 0, 0, nil, nil, Malformed("truncated")
	}
	size := protowire.ConsumeFieldValue(num, typ, b[n:])
	if size < 0 {
		return 0, 0, nil, nil, Malformed("truncated")
	}
	return num, typ, b[n : n+size], b[n+size:], nil
}

// DecodeHeaders returns the headers in raw, the body of a Headers; nil if there are none.
func DecodeHeaders(raw []byte) (*connect.Header, error) {
	if len(raw) == 0 {
		return nil, nil //nolint:nilnil // a nil Header is an empty one
	}
	h := new(connect.Header)
	return h, ParseHeaders(raw, h)
}

// AppendHeadersField appends the field headers of a frame: h, which takes size bytes as CheckHeaders says.
func AppendHeadersField(b []byte, h *connect.Header, size int) []byte {
	b = append(b, tagHeaders)
	b = protowire.AppendVarint(b, uint64(size))
	return AppendHeaders(b, h)
}

// HeadersOfField returns the body of what AppendHeadersField has appended.
func HeadersOfField(field []byte) []byte {
	body, _ := protowire.ConsumeBytes(field[1:])
	return body
}
