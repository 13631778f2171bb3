package gateway

import (
	"encoding/base64"
	"fmt"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// What JSON takes at most of what has no length of its own, with the comma and the space that may follow.
const (
	sizeBool     = len("false") + 2
	sizeNumber   = len(`"-9223372036854775808"`) + 2
	sizeFloat    = 26
	sizeTime     = len(`"-315576000000.000000000s"`) + 8
	sizeBrackets = 4 // the brackets of a list or an object
)

// What a message that is decoded without code for it takes of memory, with what is made of it for a while.
const (
	weightMessage = 192
	weightFields  = 256 // once there is a field
	weightValue   = 48
)

// maxNesting is how deep messages may be in one another, as in proto.Unmarshal.
const maxNesting = 10_000

// jsonEstimator computes bounds of a message's length in JSON and of the memory that the conversion takes. Neither is
// bounded by the length of the message: names are as long as the schema makes them, and an empty message becomes an
// object. It does not report malformed messages: the conversion does.
type jsonEstimator struct {
	types                resolver
	maxLength, maxWeight int // limits of length and weight
	length               int // an upper bound
	weight               int
}

// resolver is what a [rpcmesh.Types] implements.
type resolver interface {
	protoregistry.MessageTypeResolver
	protoregistry.ExtensionTypeResolver
}

// estimate adds a message, and fails where a limit is exceeded.
func (s *jsonEstimator) estimate(b []byte, md protoreflect.MessageDescriptor) error {
	return s.message(b, md, 0)
}

// add counts bytes of JSON.
func (s *jsonEstimator) add(n int) error {
	s.length += n
	if s.length > s.maxLength {
		return connect.Errorf(connect.CodeResourceExhausted,
			"the response is longer than %d bytes in JSON, the gateway's Config.MaxJSON: ask for the codec proto, or set it higher", s.maxLength)
	}
	return nil
}

func (s *jsonEstimator) message(b []byte, md protoreflect.MessageDescriptor, depth int) error {
	if depth > maxNesting {
		return connect.Errorf(connect.CodeResourceExhausted, "the response has more than %d messages in one another", maxNesting)
	}
	s.weight += weightMessage
	if s.weight > s.maxWeight {
		return connect.NewError(connect.CodeResourceExhausted, "the response takes too much memory to be given in JSON: ask for the codec proto")
	}
	known := wellKnown[md.FullName()]
	if known == formAny {
		return s.anyMessage(b, depth)
	}
	if err := s.add(sizeBrackets + sizeTime*int(known)); err != nil {
		return err
	}
	if len(b) > 0 {
		s.weight += weightFields
	}
	var last protowire.Number // a list has its name once
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return nil
		}
		value := b[n : n+size]
		b = b[n+size:]
		fd := s.field(md, num)
		if fd == nil {
			s.weight += 2 * (n + size) // an unknown field is kept as it is
			continue
		}
		if num != last && known == formObject && !md.IsMapEntry() {
			if err := s.add(quotedLen(fd.JSONName()) + sizeBrackets + 2); err != nil {
				return err
			}
		}
		last = num
		if err := s.value(value, num, typ, fd, depth); err != nil {
			return err
		}
	}
	return nil
}

// field returns a field or an extension, nil where there is none.
func (s *jsonEstimator) field(md protoreflect.MessageDescriptor, num protowire.Number) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByNumber(num); fd != nil {
		return fd
	}
	if md.ExtensionRanges().Has(num) {
		if xt, err := s.types.FindExtensionByNumber(md.FullName(), num); err == nil {
			return xt.TypeDescriptor()
		}
	}
	return nil
}

// value adds the value after a tag.
func (s *jsonEstimator) value(b []byte, num protowire.Number, typ protowire.Type, fd protoreflect.FieldDescriptor, depth int) error {
	s.weight += weightValue
	switch {
	case fd.Message() != nil && typ == protowire.StartGroupType:
		inner, _ := protowire.ConsumeGroup(num, b)
		return s.message(inner, fd.Message(), depth+1)
	case typ == protowire.StartGroupType:
		return nil
	case typ != protowire.BytesType:
		return s.scalar(b, fd)
	}
	b, _ = protowire.ConsumeBytes(b)
	kind := fd.Kind()
	switch {
	case fd.Message() != nil:
		return s.message(b, fd.Message(), depth+1)
	case kind == protoreflect.StringKind:
		s.weight += len(b)
		return s.add(quotedLen(string(b)) + 2)
	case kind == protoreflect.BytesKind:
		s.weight += len(b)
		return s.add(base64.StdEncoding.EncodedLen(len(b)) + sizeBrackets)
	}
	return s.packed(b, fd)
}

// packed adds a packed list of numbers.
func (s *jsonEstimator) packed(b []byte, fd protoreflect.FieldDescriptor) error {
	typ := protowire.VarintType
	switch fd.Kind() {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		typ = protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		typ = protowire.Fixed64Type
	}
	for len(b) > 0 {
		n := protowire.ConsumeFieldValue(1, typ, b)
		if n < 0 {
			return nil
		}
		s.weight += weightValue
		if err := s.scalar(b[:n], fd); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// scalar adds a number.
func (s *jsonEstimator) scalar(b []byte, fd protoreflect.FieldDescriptor) error {
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return s.add(sizeBool)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return s.add(sizeFloat)
	case protoreflect.EnumKind:
		if v, n := protowire.ConsumeVarint(b); n > 0 {
			if d := fd.Enum().Values().ByNumber(protoreflect.EnumNumber(v)); d != nil {
				return s.add(len(d.Name()) + sizeBrackets)
			}
		}
	}
	return s.add(sizeNumber)
}

// anyMessage adds a google.protobuf.Any, which is written as the message that it contains.
func (s *jsonEstimator) anyMessage(b []byte, depth int) error {
	var url, value []byte
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return nil
		}
		if typ == protowire.BytesType {
			v, _ := protowire.ConsumeBytes(b[n:])
			switch num {
			case 1:
				url = v
			case 2:
				value = v
			}
		}
		b = b[n+size:]
	}
	s.weight += weightFields + len(url) + len(value)
	if err := s.add(quotedLen(string(url)) + len(`{"@type": , "value": }`)); err != nil {
		return err
	}
	if len(url) == 0 {
		return nil
	}
	mt, err := s.types.FindMessageByURL(string(url))
	if err != nil { // fail now: the conversion would fail as well
		return fmt.Errorf("google.protobuf.Any: unable to resolve %.200q: %w", url, err)
	}
	return s.message(value, mt.Descriptor(), depth+1)
}

// quotedLen returns the length of s as a JSON string.
func quotedLen[T string | protoreflect.Name](s T) int {
	n := len(s) + 2
	for i := range len(s) {
		c := s[i]
		switch {
		case c < ' ':
			n += len(`\u0000`) - 1
		case c == '"' || c == '\\':
			n++
		}
	}
	return n
}

// jsonForm says how messages with a well-known name are written.
type jsonForm int

const (
	formObject jsonForm = iota
	formValue           // as its values, without the names of its fields
	formAny             // a google.protobuf.Any
)

var wellKnown = map[protoreflect.FullName]jsonForm{
	"google.protobuf.Any":         formAny,
	"google.protobuf.Timestamp":   formValue,
	"google.protobuf.Duration":    formValue,
	"google.protobuf.BoolValue":   formValue,
	"google.protobuf.Int32Value":  formValue,
	"google.protobuf.Int64Value":  formValue,
	"google.protobuf.UInt32Value": formValue,
	"google.protobuf.UInt64Value": formValue,
	"google.protobuf.FloatValue":  formValue,
	"google.protobuf.DoubleValue": formValue,
	"google.protobuf.StringValue": formValue,
	"google.protobuf.BytesValue":  formValue,
	"google.protobuf.Struct":      formValue,
	"google.protobuf.ListValue":   formValue,
	"google.protobuf.Value":       formValue,
	"google.protobuf.FieldMask":   formValue,
}
