package frame

import (
	"encoding/binary"
	"time"
	"unicode/utf8"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rpcmesh/rpcmesh/runtime/internal/nodeid"
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

// Callee is what is called. It is shared by calls, and not to be changed.
type Callee struct {
	// Namespace is the called namespace as the link carries it.
	Namespace string
	// Procedure is "/pkg.Service/Method".
	Procedure string
	// Origin is the node whose origin is called.
	Origin nodeid.ID
	// OriginNamespace is the namespace in which that node holds the origin, empty where it is Namespace.
	OriginNamespace string
	// Cached says that later calls over the session which begin with the same bytes have this very Callee: what is found
	// out about it is worth keeping.
	Cached bool
}

// Check returns what keeps the callee from being sent.
func (c *Callee) Check() *connect.Error {
	if err := checkName("namespace", c.Namespace, maxNamespace); err != nil {
		return err
	}
	if err := checkName("procedure", c.Procedure, maxProcedure); err != nil {
		return err
	}
	if c.OriginNamespace == "" {
		return nil
	}
	return checkName("namespace at the origin", c.OriginNamespace, maxNamespace)
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

func (c *Callee) size() int {
	n := 1 + sizeBytes(len(c.Namespace)) + 1 + sizeBytes(len(c.Procedure)) + 1 + sizeBytes(len(c.Origin))
	if c.OriginNamespace != "" {
		n += 1 + sizeBytes(len(c.OriginNamespace))
	}
	return n
}

// AppendTo appends the fields of Open that say what is called.
func (c *Callee) AppendTo(b []byte) []byte {
	b = appendString(b, tagNamespace, c.Namespace)
	b = appendString(b, tagProcedure, c.Procedure)
	return c.appendOrigin(b)
}

func (c *Callee) appendOrigin(b []byte) []byte {
	b = appendBytes(b, tagOrigin, c.Origin[:])
	if c.OriginNamespace != "" {
		b = appendString(b, tagOriginNamespace, c.OriginNamespace)
	}
	return b
}

// Open is what a call is opened with.
type Open struct {
	*Callee
	// Timeout is the time left for the call, 0 where there is no limit.
	Timeout time.Duration
	// StreamType is the method's.
	StreamType connect.StreamType
	// Caller is who made the call, as the peer says; nil where it does not.
	Caller *Caller
	// RawHeaders are the request's headers, encoded. They alias what was parsed.
	RawHeaders []byte
}

func (o *Open) size(headers int) int {
	n := o.Callee.size() + sizeTimeout(o.Timeout)
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

// AppendTo appends hops and open, as fields of Frame. The request's headers are h, which takes size bytes as CheckHeaders
// says; RawHeaders is not looked at.
func (o *Open) AppendTo(b []byte, hops uint32, h *connect.Header, size int) []byte {
	b = appendOpenStart(b, hops, o.size(size))
	b = o.Callee.AppendTo(b)
	b = appendTimeout(b, o.Timeout)
	if o.StreamType != 0 {
		b = append(b, tagStreamType, byte(o.StreamType))
	}
	if size > 0 {
		b = append(b, tagOpenHeaders)
		b = protowire.AppendVarint(b, uint64(size))
		b = AppendHeaders(b, h)
	}
	return o.Caller.AppendTo(b)
}

// AppendPrepared appends hops and open, as fields of Frame, of a call without headers: open is what [Callee.AppendTo] and
// [Caller.AppendTo] have appended. The timeout, which is another for each call, comes last.
func AppendPrepared(b []byte, hops uint32, open []byte, timeout time.Duration) []byte {
	b = appendOpenStart(b, hops, len(open)+sizeTimeout(timeout))
	b = append(b, open...)
	return appendTimeout(b, timeout)
}

// appendOpenStart appends hops, and open but for its body of size bytes.
func appendOpenStart(b []byte, hops uint32, size int) []byte {
	b = append(b, tagHops)
	b = binary.LittleEndian.AppendUint32(b, hops)
	b = append(b, tagOpen)
	return protowire.AppendVarint(b, uint64(size))
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

// Parse reads the body of an Open. It does not look into the headers.
func (o *Open) Parse(b []byte, cache *OpenCache) error {
	*o = Open{}
	n := sizeCallee(b)
	callee, err := cache.callee(b[:n])
	if err != nil {
		return err
	}
	o.Callee = callee
	return o.parseFields(b[n:], cache)
}

func (o *Open) parseFields(b []byte, cache *OpenCache) error {
	for len(b) > 0 {
		num, typ, value, rest, err := nextField(b)
		if err != nil {
			return err
		}
		if err := o.parseField(num, typ, value, cache); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func (o *Open) parseField(num protowire.Number, typ protowire.Type, b []byte, cache *OpenCache) (err error) {
	switch typ {
	case protowire.BytesType:
		v, _ := protowire.ConsumeBytes(b)
		switch num {
		case 1, 2, 3, 4:
			o.Callee, err = o.Callee.withField(num, v, &cache.names)
		case 7:
			o.RawHeaders = v
		case 8:
			o.Caller, err = cache.callers.lookup(v)
		}
	case protowire.VarintType:
		v, _ := protowire.ConsumeVarint(b)
		switch num {
		case 5:
			o.Timeout = max(time.Duration(v), 0)
		case 6:
			o.StreamType = connect.StreamType(v & 3)
		}
	}
	return err
}

// Readdress returns a copy of f, a frame with open, whose call goes to another namespace and origin, and has another
// caller: those of to, and caller. Its hops are 0. All else is as it was.
func (f *Frame) Readdress(to *Callee, caller *Caller) []byte {
	size := len(f.Open) + len(to.Namespace) + len(to.OriginNamespace) + 32
	if caller != nil {
		size += caller.size() + 4
	}
	open := make([]byte, 0, size)
	open = appendString(open, tagNamespace, to.Namespace)
	open = to.appendOrigin(open)
	rest := f.Open
	for len(rest) > 0 {
		num, _, n := protowire.ConsumeField(rest)
		if num != 1 && num != 3 && num != 4 && num != 8 {
			open = append(open, rest[:n]...)
		}
		rest = rest[n:]
	}
	open = caller.AppendTo(open)
	raw := append(make([]byte, 0, len(f.Raw)+len(open)), f.Raw[:idSize]...)
	raw = append(raw, tagHops, 0, 0, 0, 0)
	raw = appendBytes(raw, tagOpen, open)
	rest = f.Raw[idSize:]
	for len(rest) > 0 {
		_, _, n := protowire.ConsumeField(rest)
		if rest[0] != tagHops && rest[0] != tagOpen {
			raw = append(raw, rest[:n]...)
		}
		rest = rest[n:]
	}
	return raw
}
