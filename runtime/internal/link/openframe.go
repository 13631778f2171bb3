package link

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	maxNamespace = 255
	maxProcedure = 1024
)

// Tags of the fields of Open.
const (
	tagNamespace       = 1<<3 | 2
	tagProcedure       = 2<<3 | 2
	tagOrigin          = 3<<3 | 2
	tagOriginNamespace = 4<<3 | 2
	tagTimeout         = 5<<3 | 0
	tagStreamType      = 6<<3 | 0
	tagOpenHeaders     = 7<<3 | 2
	tagCaller          = 8<<3 | 2
)

// check says what keeps the call from being opened, and how long its headers are.
func (o *Open) check(limits *Limits) (headers int, err *connect.Error) {
	if err := checkName("namespace", o.Namespace, maxNamespace); err != nil {
		return 0, err
	}
	if err := checkName("procedure", o.Procedure, maxProcedure); err != nil {
		return 0, err
	}
	if o.OriginNamespace != "" {
		if err := checkName("namespace at the origin", o.OriginNamespace, maxNamespace); err != nil {
			return 0, err
		}
	}
	return checkHeaders("request headers", o.Header, limits.MaxHeader)
}

func checkName(what, name string, limit int) *connect.Error {
	switch {
	case name == "":
		return connect.Errorf(connect.CodeInvalidArgument, "no %s", what)
	case len(name) > limit:
		return connect.Errorf(connect.CodeInvalidArgument, "%s of %d bytes: the limit is %d", what, len(name), limit)
	case !utf8.ValidString(name):
		return connect.Errorf(connect.CodeInvalidArgument, "%s is not UTF-8", what)
	}
	return nil
}

// size is the length of the Open without Frame's tag and length.
func (o *Open) size(timeout time.Duration, headers int) int {
	n := 1 + sizeBytes(len(o.Namespace)) + 1 + sizeBytes(len(o.Procedure)) + 1 + sizeBytes(len(o.Origin))
	if o.OriginNamespace != "" {
		n += 1 + sizeBytes(len(o.OriginNamespace))
	}
	n += sizeTimeout(timeout)
	if o.StreamType != 0 {
		n += 2
	}
	if headers > 0 {
		n += 1 + sizeBytes(headers)
	}
	if o.Caller != nil {
		n += 1 + sizeBytes(o.Caller.size())
	}
	return n
}

// appendTo appends hops and open, as fields of Frame.
func (o *Open) appendTo(b []byte, timeout time.Duration, headers int) []byte {
	b = appendOpenTag(b, o.Hops, o.size(timeout, headers))
	b = o.appendCallee(b)
	b = appendTimeout(b, timeout)
	if o.StreamType != 0 {
		b = append(b, tagStreamType, byte(o.StreamType))
	}
	if headers > 0 {
		b = append(b, tagOpenHeaders)
		b = protowire.AppendVarint(b, uint64(headers))
		b = appendHeaders(b, o.Header)
	}
	return o.Caller.appendTo(b)
}

// appendOpenTag appends hops, and open but for its body of size bytes.
func appendOpenTag(b []byte, hops uint32, size int) []byte {
	b = append(b, tagHops)
	b = binary.LittleEndian.AppendUint32(b, hops)
	b = append(b, tagOpen)
	return protowire.AppendVarint(b, uint64(size))
}

// appendCallee appends the fields that say what is called.
func (o *Open) appendCallee(b []byte) []byte {
	b = appendString(b, tagNamespace, o.Namespace)
	b = appendString(b, tagProcedure, o.Procedure)
	b = appendBytes(b, tagOrigin, o.Origin[:])
	if o.OriginNamespace != "" {
		b = appendString(b, tagOriginNamespace, o.OriginNamespace)
	}
	return b
}

// sizeTimeout is the length of what appendTimeout appends.
func sizeTimeout(timeout time.Duration) int {
	if timeout <= 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(uint64(timeout))
}

// appendTimeout appends the field timeout; nothing where there is none.
func appendTimeout(b []byte, timeout time.Duration) []byte {
	if timeout <= 0 {
		return b
	}
	b = append(b, tagTimeout)
	return protowire.AppendVarint(b, uint64(timeout))
}

// parse reads the body of an Open. It does not look into the headers.
func (in *Incoming) parse(b []byte, cache *openCache) error {
	n := sizeCallee(b)
	var err error
	if in.Callee, err = cache.callee(b[:n]); err != nil {
		return err
	}
	return in.fields(b[n:], cache)
}

// fields reads fields of an Open.
func (in *Incoming) fields(b []byte, cache *openCache) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errFrame("truncated")
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return errFrame("truncated")
		}
		if err := in.field(num, typ, b[n:n+size], cache); err != nil {
			return err
		}
		b = b[n+size:]
	}
	return nil
}

func (in *Incoming) field(
	num protowire.Number, typ protowire.Type, b []byte, cache *openCache,
) (err error) {
	switch typ {
	case protowire.BytesType:
		v, _ := protowire.ConsumeBytes(b)
		switch num {
		case 1, 2, 3, 4:
			in.Callee, err = in.Callee.withField(num, v, &cache.names)
		case 7:
			in.rawHeader = v
		case 8:
			in.Caller, err = cache.callers.lookup(v)
		}
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(b)
		switch num {
		case 5:
			in.Timeout = max(time.Duration(v), 0)
		case 6:
			in.StreamType = connect.StreamType(v & 3)
		}
	}
	return err
}

// Header decodes and returns the request's headers, which are not to be changed.
func (in *Incoming) Header() (*connect.Header, error) { return decodeHeaders(in.rawHeader) }

// rewriteOpen returns the frame with another namespace, origin and caller in its open, all else as it was.
func rewriteOpen(f *frame, to *Route, caller *Caller) []byte {
	size := len(f.open) + len(to.Namespace) + len(to.OriginNamespace) + 32
	if caller != nil {
		size += caller.size() + 4
	}
	open := make([]byte, 0, size)
	open = appendString(open, tagNamespace, to.Namespace)
	open = appendBytes(open, tagOrigin, to.Origin[:])
	if to.OriginNamespace != "" {
		open = appendString(open, tagOriginNamespace, to.OriginNamespace)
	}
	for b := f.open; len(b) > 0; {
		num, _, n := protowire.ConsumeField(b)
		if num != 1 && num != 3 && num != 4 && num != 8 {
			open = append(open, b[:n]...)
		}
		b = b[n:]
	}
	open = caller.appendTo(open)
	raw := append(make([]byte, 0, len(f.raw)+len(open)), f.raw[:5]...)
	raw = append(raw, tagHops, 0, 0, 0, 0)
	raw = appendBytes(raw, tagOpen, open)
	for b := f.raw[5:]; len(b) > 0; {
		_, _, n := protowire.ConsumeField(b)
		if b[0] != tagHops && b[0] != tagOpen {
			raw = append(raw, b[:n]...)
		}
		b = b[n:]
	}
	return raw
}
