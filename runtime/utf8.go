package rpcmesh

import (
	"fmt"
	"slices"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A message is not encoded, nor decoded, if one of its strings is not UTF-8, and package proto does not say which.

// unencodable says why a message cannot be encoded. Package proto does not say which of its strings is not UTF-8.
func unencodable(m proto.Message) string {
	var field protoreflect.FullName
	_ = protorange.Range(m.ProtoReflect(), func(p protopath.Values) error { // the callback never fails
		last := p.Index(-1)
		text, ok := last.Value.Interface().(string)
		if ok && field == "" && !utf8.ValidString(text) {
			field = fieldOf(p)
		}
		return nil
	})
	if field == "" {
		return "the message can't be encoded"
	}
	return "the message can't be encoded: " + notUTF8(field)
}

// fieldOf returns the name of the field that a path leads to or into.
func fieldOf(p protopath.Values) protoreflect.FullName {
	for _, step := range slices.Backward(p.Path) {
		if step.Kind() == protopath.FieldAccessStep {
			return step.FieldDescriptor().FullName()
		}
	}
	return ""
}

// invalid says why b is not a message of msg's type. which is "request" or "response".
func invalid(which string, b []byte, msg any) string {
	text := fmt.Sprintf("the %s is not a valid message of its type", which)
	m, ok := msg.(proto.Message)
	if !ok {
		return text
	}
	if field := badText(b, m.ProtoReflect().Descriptor(), maxDepth); field != "" {
		return text + ": " + notUTF8(field)
	}
	return text
}

func notUTF8(field protoreflect.FullName) string {
	return fmt.Sprintf("its field %s is not UTF-8, as a string must be; use a field of type bytes for what is no text", field)
}

// maxDepth bounds how deep badText looks.
const maxDepth = 100

// badText returns the first string field of an encoded message that is not UTF-8, or "".
func badText(b []byte, md protoreflect.MessageDescriptor, depth int) (bad protoreflect.FullName) {
	if depth == 0 {
		return ""
	}
	eachField(b, func(num protowire.Number, v []byte) {
		fd := md.Fields().ByNumber(num)
		switch {
		case fd == nil || bad != "":
		case fd.Kind() == protoreflect.StringKind && !utf8.Valid(v):
			bad = fd.FullName()
		case fd.Kind() == protoreflect.MessageKind:
			bad = badText(v, fd.Message(), depth-1)
		}
	})
	return bad
}
