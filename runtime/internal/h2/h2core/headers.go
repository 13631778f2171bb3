package h2core

import (
	"errors"
	"fmt"
	"net/textproto"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// RequestHead is the head of a request.
type RequestHead struct {
	// Method, Scheme, Authority and Path are the pseudo-header fields. Path has the query.
	Method, Scheme, Authority, Path string
	// Fields are the other fields, with names in lower case.
	Fields []hpack.HeaderField
	// Body is what content-length says of the body.
	Body BodyLength
}

// ParseRequest returns the head of the request that f begins. The error says what makes it malformed (RFC 9113 sections
// 8.1.1 and 8.3.1); the head has what there is all the same. Of a truncated frame, which is answered by status 431, only the
// pseudo-header fields are looked at.
func ParseRequest(f *http2.MetaHeadersFrame) (RequestHead, error) {
	h := RequestHead{Fields: f.RegularFields(), Body: UnknownLength()}
	for _, hf := range f.PseudoFields() {
		switch hf.Name {
		case ":method":
			h.Method = hf.Value
		case ":scheme":
			h.Scheme = hf.Value
		case ":authority":
			h.Authority = hf.Value
		case ":path":
			h.Path = hf.Value
		default:
			return h, fmt.Errorf("request with the pseudo-header %q", hf.Name)
		}
	}
	if f.Truncated {
		return h, nil
	}
	switch {
	case h.Method == "" || h.Scheme == "" || h.Path == "":
		return h, errors.New("request without its pseudo-headers")
	case h.Scheme != "https" && h.Scheme != "http":
		return h, errors.New("request with a scheme that is not http or https")
	case strings.Contains(h.Authority, "@"):
		return h, errors.New("request with user information in :authority")
	}
	if err := CheckFields(h.Fields); err != nil {
		return h, err
	}
	var err error
	h.Body, err = ParseContentLength(h.Fields, f.StreamEnded())
	return h, err
}

// CheckFields fails for fields that HTTP/2 does not have: those that are of a connection (RFC 9113 section 8.2.2).
func CheckFields(fields []hpack.HeaderField) error {
	for _, f := range fields {
		switch f.Name {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade":
			return fmt.Errorf("header %q, which HTTP/2 does not have", f.Name)
		case "te":
			if !strings.EqualFold(f.Value, "trailers") {
				return errors.New(`header "te" that is not "trailers"`)
			}
		}
	}
	return nil
}

// CheckTrailers fails for a HEADERS frame behind a head that is no trailer section (RFC 9113 section 8.1), or has
// fields that trailers cannot have (RFC 9110 section 6.5.1).
func CheckTrailers(f *http2.MetaHeadersFrame) error {
	switch {
	case !f.StreamEnded():
		return errors.New("HEADERS within the stream that do not end it")
	case len(f.PseudoFields()) > 0:
		return errors.New("trailers with a pseudo-header")
	}
	for _, hf := range f.Fields {
		if !httpguts.ValidTrailerHeader(textproto.CanonicalMIMEHeaderKey(hf.Name)) {
			return fmt.Errorf("header %q among the trailers", hf.Name)
		}
	}
	return nil
}

// BodyLength compares a body with what content-length says of it (RFC 9113 section 8.1.1).
type BodyLength struct {
	declared int64 // -1: nothing
	received int64
}

// UnknownLength returns the BodyLength of a body of any length.
func UnknownLength() BodyLength { return BodyLength{declared: -1} }

// ParseContentLength returns what the fields' content-length says. It fails for a value that is none, that differs
// from another, or that is not 0 where there is no body.
func ParseContentLength(fields []hpack.HeaderField, noBody bool) (BodyLength, error) {
	b := UnknownLength()
	for _, f := range fields {
		if f.Name != "content-length" {
			continue
		}
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if err != nil || b.declared >= 0 && b.declared != int64(n) {
			return b, errors.New("header content-length that cannot be true")
		}
		b.declared = int64(n)
	}
	if noBody && b.declared > 0 {
		return b, errors.New("header content-length of a message without a body")
	}
	return b, nil
}

// Add counts n bytes of the body, the last ones where end says so, and reports whether that is what was declared.
func (b *BodyLength) Add(n int, end bool) bool {
	b.received += int64(n)
	return b.declared < 0 || b.received <= b.declared && (!end || b.received == b.declared)
}

// Declared returns what content-length says, -1 where it says nothing.
func (b *BodyLength) Declared() int64 { return b.declared }

// Received returns how many bytes have been counted.
func (b *BodyLength) Received() int64 { return b.received }
