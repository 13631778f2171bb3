package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/durationpb"
	_ "google.golang.org/protobuf/types/known/fieldmaskpb"
	_ "google.golang.org/protobuf/types/known/wrapperspb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// everything has a field of each kind, those of long names, and well-known types.
func everything(t testing.TB) (protoreflect.MessageDescriptor, *rpcmesh.Types) {
	t.Helper()
	text := `name: "all.proto" package: "all.v1" syntax: "proto2"
dependency: ["google/protobuf/any.proto", "google/protobuf/timestamp.proto", "google/protobuf/duration.proto",
	"google/protobuf/struct.proto", "google/protobuf/wrappers.proto", "google/protobuf/field_mask.proto"]
service { name: "Service" method { name: "Do" input_type: ".all.v1.M" output_type: ".all.v1.M" } }
enum_type { name: "E" value { name: "` + strings.Repeat("LONG", 30) + `" number: 0 } value { name: "S" number: 1 } }
extension { name: "ext" number: 1000 label: LABEL_OPTIONAL type: TYPE_STRING extendee: ".all.v1.M" }
message_type { name: "M" extension_range { start: 1000 end: 2000 }
	nested_type { name: "MapEntry" options { map_entry: true }
		field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
		field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".all.v1.M" } }
	field { name: "map" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".all.v1.M.MapEntry" }
	field { name: "odd" number: 2 label: LABEL_OPTIONAL type: TYPE_BOOL json_name: "a\"\\\n\001é" }
	nested_type { name: "G" field { name: "x" number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES } }
	field { name: "g" number: 3 label: LABEL_REPEATED type: TYPE_GROUP type_name: ".all.v1.M.G" }`
	n := 10
	for kind := range descriptorpb.FieldDescriptorProto_Type_name {
		typ := descriptorpb.FieldDescriptorProto_Type(kind)
		names := []string{""}
		switch typ {
		case descriptorpb.FieldDescriptorProto_TYPE_GROUP:
			continue
		case descriptorpb.FieldDescriptorProto_TYPE_ENUM:
			names = []string{".all.v1.E", ".google.protobuf.NullValue"}
		case descriptorpb.FieldDescriptorProto_TYPE_MESSAGE:
			names = []string{".all.v1.M"}
			for name := range wellKnown {
				names = append(names, "."+string(name))
			}
		}
		for _, name := range names {
			for _, label := range []string{"LABEL_OPTIONAL", "LABEL_REPEATED"} {
				for _, packed := range []string{"", "options { packed: true }"} {
					if packed != "" && (label == "LABEL_OPTIONAL" || kind == 9 || kind == 11 || kind == 12) {
						continue
					}
					text += fmt.Sprintf("\nfield { name: \"a_field%d\" number: %d label: %s type: %s %s %s }", n, n, label, typ, packed,
						map[bool]string{true: fmt.Sprintf("type_name: %q", name)}[name != ""])
					n++
				}
			}
		}
	}
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(text+"}"), &file); err != nil {
		t.Fatal(err)
	}
	fd, err := protodesc.NewFile(&file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	ns := rpcmeshtest.New(t).Node("n").Namespace("public")
	spec := connect.Spec{Procedure: "/all.v1.Service/Do", Schema: fd.Services().Get(0).Methods().Get(0)}
	if _, err := ns.Register(connect.Method{Spec: spec, Handler: func(context.Context, connect.Spec, connect.ServerStream) error { return nil }}); err != nil {
		t.Fatal(err)
	}
	schema, err := ns.Schema(t.Context(), spec.Procedure)
	if err != nil {
		t.Fatal(err)
	}
	return fd.Messages().ByName("M"), ns.Types(t.Context(), schema)
}

// random returns a message of md, of which most can be spelled.
func random(r *rand.Rand, md protoreflect.MessageDescriptor, known *rpcmesh.Types, depth int) []byte {
	m := dynamicpb.NewMessage(md)
	fields := md.Fields()
	for range r.IntN(4) {
		fd := fields.Get(r.IntN(fields.Len()))
		for range 1 + r.IntN(3) {
			if fd.Message() != nil && depth == 0 {
				continue
			}
			one := dynamicpb.NewMessage(md)
			switch {
			case fd.IsMap():
				v := one.NewField(fd).Map()
				value := v.NewValue()
				_ = proto.Unmarshal(random(r, fd.MapValue().Message(), known, depth-1), value.Message().Interface())
				v.Set(protoreflect.ValueOfString(word(r)).MapKey(), value)
				one.Set(fd, protoreflect.ValueOfMap(v))
			case fd.IsList():
				v := one.NewField(fd).List()
				v.Append(scalar(r, v.NewElement(), fd, known, depth))
				one.Set(fd, protoreflect.ValueOfList(v))
			default:
				one.Set(fd, scalar(r, one.NewField(fd), fd, known, depth))
			}
			proto.Merge(m, one)
		}
	}
	b, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	if md.ExtensionRanges().Len() > 0 && r.IntN(4) == 0 {
		b = protowire.AppendString(protowire.AppendTag(b, 1000, protowire.BytesType), word(r))
	}
	return b
}

func word(r *rand.Rand) string {
	return strings.Repeat([]string{"", "word", "\x00", "\"\\\n", "é\u2028", "<"}[r.IntN(6)], r.IntN(10))
}

func scalar(r *rand.Rand, zero protoreflect.Value, fd protoreflect.FieldDescriptor, known *rpcmesh.Types, depth int) protoreflect.Value {
	n := r.Uint64() >> r.IntN(64)
	switch fd.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(n%2 == 0)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(r.IntN(3)))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(n))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(n))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(n))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(n)
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(r.NormFloat64() * float64(n)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(-1 / float64(n|1))
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(word(r))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte(word(r)))
	}
	b := random(r, fd.Message(), known, depth-1)
	if fd.Message().FullName() == "google.protobuf.Any" {
		url := []string{"type.googleapis.com/all.v1.M", "x/google.protobuf.Any", "/google.protobuf.Duration", "/un.known"}[r.IntN(4)]
		b = nil
		if mt, err := known.FindMessageByURL(url); err == nil && depth > 0 {
			b = protowire.AppendString([]byte{0x0a}, url)
			b = protowire.AppendBytes(append(b, 0x12), random(r, mt.Descriptor(), known, depth-1))
		}
	}
	_ = proto.Unmarshal(b, zero.Message().Interface())
	return zero
}

// TestForetold: no message is longer in JSON than was foretold, nor is one much shorter.
func TestForetold(t *testing.T) {
	md, known := everything(t)
	spelled := 0
	for seed := range uint64(5000) {
		r := rand.New(rand.NewPCG(seed, 0))
		b := random(r, md, known, 4)
		s := jsonEstimator{types: known, maxLength: 1 << 30, maxWeight: 1 << 30}
		if err := s.estimate(b, md); err != nil {
			if !errors.Is(err, protoregistry.NotFound) {
				t.Fatal(err)
			}
			continue
		}
		m := dynamicpb.NewMessage(md)
		if err := (proto.UnmarshalOptions{Resolver: known}).Unmarshal(b, m); err != nil {
			t.Fatal(err)
		}
		got, err := protojson.MarshalOptions{Resolver: known}.Marshal(m)
		if err != nil {
			continue
		}
		spelled++
		if len(got) > s.length || s.length > 20*len(got)+200 {
			t.Fatalf("seed %d: %d bytes, foretold were %d: %s", seed, len(got), s.length, got)
		}
	}
	if spelled < 1500 {
		t.Errorf("%d messages could be spelled", spelled)
	}
}

// TestHostileMessages: what would take much memory is refused before it does.
func TestHostileMessages(t *testing.T) {
	md, known := everything(t)
	number := func(name string) protowire.Number { // of the list of it
		for i := range md.Fields().Len() {
			fd := md.Fields().Get(i)
			if fd.IsList() && (fd.Message() != nil && string(fd.Message().FullName()) == name ||
				fd.Enum() != nil && fd.IsPacked() && string(fd.Enum().FullName()) == name) {
				return fd.Number()
			}
		}
		t.Fatal(name)
		return 0
	}
	tag := func(n protowire.Number) []byte { return protowire.AppendTag(nil, n, protowire.BytesType) }
	const size = 4 << 20
	// nested returns messages in one another, each behind what stands before and a tag.
	nested := func(tag []byte, before string, depth int) []byte {
		out, n := make([]byte, 0, size), 0 // backwards: from the inside out
		for range depth {
			piece := protowire.AppendVarint(append([]byte(before), tag...), uint64(n))
			slices.Reverse(piece)
			out = append(out, piece...)
			n += len(piece)
		}
		slices.Reverse(out)
		return out
	}
	within := string(protowire.AppendString([]byte{0x0a}, "/google.protobuf.Any"))
	for name, b := range map[string][]byte{
		"empty messages":    bytes.Repeat(append(tag(number("all.v1.M")), 0), size/3),
		"names of enums":    append(protowire.AppendVarint(tag(number("all.v1.E")), size), make([]byte, size)...),
		"messages in depth": nested(tag(number("all.v1.M")), "", 100_000),
		"Any in Any":        protowire.AppendBytes(tag(number("google.protobuf.Any")), nested([]byte{0x12}, within, 9000)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s := jsonEstimator{types: known, maxLength: 16 << 20, maxWeight: 256 << 20}
		err := s.estimate(b, md)
		runtime.ReadMemStats(&after)
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("%s: %v (%d bytes long, weighs %d)", name, err, s.length, s.weight)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%s: it took %d bytes to see it", name, took)
		}
	}
}
