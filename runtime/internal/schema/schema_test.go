package schema

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/gofeaturespb" // imports descriptor.proto

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// TestRoundTrip: what is made of a file of this process is parsed into the same, wherever it is made.
func TestRoundTrip(t *testing.T) {
	files := []protoreflect.FileDescriptor{greetv1.File_example_greet_v1_greet_proto, linkv1.File_rpcmesh_link_v1_link_proto}
	protoregistry.GlobalFiles.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		files = append(files, f)
		return true
	})
	for _, file := range files {
		s, err := Of(file)
		if err != nil {
			t.Errorf("%s: %v", file.Path(), err)
			continue
		}
		if again, err := Of(file); err != nil || again.Hash() != s.Hash() {
			t.Errorf("%s: another hash the second time: %v", file.Path(), err)
		}
		got, err := Parse(bytes.Clone(s.Encoded()), s.Hash())
		if err != nil {
			t.Errorf("%s: %v", file.Path(), err)
			continue
		}
		if diff := cmp.Diff(s.Files(), got.Files(), protocmp.Transform()); diff != "" {
			t.Errorf("%s: files differ:\n%s", file.Path(), diff)
		}
		if diff := cmp.Diff(protodesc.ToFileDescriptorProto(file), protodesc.ToFileDescriptorProto(got.root), protocmp.Transform()); diff != "" {
			t.Errorf("%s: it was built as another file:\n%s", file.Path(), diff)
		}
		// What was parsed can be passed on under the same hash, and offered anew.
		if again, err := Of(got.root); err != nil || again.Hash() != s.Hash() {
			t.Errorf("%s: another hash when parsed and made again: %v", file.Path(), err)
		}
	}
}

// TestImportsFirst: a set has all imports, the indirect ones too, each before those that import it.
func TestImportsFirst(t *testing.T) {
	s, err := Of(linkv1.File_rpcmesh_link_v1_link_proto)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range s.Files().GetFile() {
		for _, imported := range f.GetDependency() {
			if !slices.Contains(names, imported) {
				t.Errorf("%s comes before %s, which it imports", f.GetName(), imported)
			}
		}
		names = append(names, f.GetName())
	}
	want := []string{"rpcmesh/link/v1/table.proto", "rpcmesh/v1/failure.proto", "rpcmesh/link/v1/link.proto"}
	if !cmp.Equal(slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(want))) || names[len(names)-1] != want[2] {
		t.Errorf("got %v, want %v, link.proto last", names, want)
	}
}

// TestCommentsLeftOut: sets of files that differ in comments alone are the same.
func TestCommentsLeftOut(t *testing.T) {
	described := service(t, `message_type { name: "M" }`)
	plain, err := protodesc.NewFile(described, nil)
	if err != nil {
		t.Fatal(err)
	}
	described = proto.CloneOf(described)
	described.SourceCodeInfo = &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
		{Path: []int32{6, 0}, Span: []int32{1, 2, 3}, LeadingComments: new(" It serves. ")},
	}}
	commented, err := protodesc.NewFile(described, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := Of(plain)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := Of(commented); err != nil || a.Hash() != b.Hash() {
		t.Errorf("comments changed the hash: %v", err)
	}
	if commented.SourceLocations().Len() != 1 {
		t.Error("the file lost its comments")
	}
}

// TestIncomplete: a file that imports what is not there has no set.
func TestIncomplete(t *testing.T) {
	f, err := protodesc.FileOptions{AllowUnresolvable: true}.New(service(t, `dependency: "gone.proto" message_type { name: "M" }`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := Of(f); err == nil || !strings.Contains(err.Error(), "gone.proto") {
		t.Errorf("got %v, %v", s, err)
	}
}

// TestGlobalRegistry: descriptors of a peer get by under names that this process has other descriptors for.
func TestGlobalRegistry(t *testing.T) {
	f := fileOf(t, `name: "example/greet/v1/greet.proto" package: "example.greet.v1" message_type { name: "GreetRequest" }
		service { name: "Greeter" method { name: "Other" input_type: ".example.greet.v1.GreetRequest" output_type: ".example.greet.v1.GreetRequest" } }`)
	s, err := parse(encode(t, f))
	if err != nil {
		t.Fatal(err)
	}
	md, err := s.Method("/example.greet.v1.Greeter/Other", false, false)
	if err != nil || md.Input().Fields().Len() != 0 {
		t.Errorf("got %v, %v", md, err)
	}
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName("example.greet.v1.Greeter.Other"); err == nil {
		t.Errorf("it is registered: %v", d)
	}
	// And nothing that is not in the set is found, were it in this process ten times.
	missing := service(t, `dependency: "google/protobuf/timestamp.proto" message_type { name: "M" `+
		field(1, `name: "a" type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp"`)+`}`)
	if _, err := parse(encode(t, missing)); err == nil {
		t.Error("an import was taken from this process")
	}
}

func TestMethod(t *testing.T) {
	s, err := Of(greetv1.File_example_greet_v1_greet_proto)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		procedure      string
		client, server bool
		want           string
	}{
		{"/example.greet.v1.Greeter/Greet", false, false, ""},
		{"/example.greet.v1.Greeter/Count", false, true, ""},
		{"/example.greet.v1.Greeter/Sum", true, false, ""},
		{"/example.greet.v1.Greeter/Chat", true, true, ""},
		{"/example.greet.v1.Greeter/Chat", true, false, "call \"/example.greet.v1.Greeter/Chat\" a bidirectional stream method, the table a client stream one"},
		{"/example.greet.v1.Greeter/Gree", false, false, "no method"},
		{"/example.greet.v1.Greeter/", false, false, "no method"},
		{"/example.greet.v1.Greeter", false, false, "no method"},
		{"/example.greet.Greeter/Greet", false, false, "no service"},
		{"/example.greet.v1.GreetRequest/Greet", false, false, "no service"},
		{"/Greeter/Greet", false, false, "no service"},
		{"", false, false, "no service"},
		{"//", false, false, "no service"},
	} {
		md, err := s.Method(test.procedure, test.client, test.server)
		switch {
		case test.want == "" && err == nil:
			if want := "/" + string(md.Parent().FullName()) + "/" + string(md.Name()); test.procedure != want {
				t.Errorf("%s: got %s", test.procedure, want)
			}
		case test.want == "" || err == nil || !strings.Contains(err.Error(), test.want):
			t.Errorf("%s: got %v, want %q", test.procedure, err, test.want)
		}
	}
	noPackage := fileOf(t, `name: "s.proto" message_type { name: "M" } service { name: "S" method { name: "Do" input_type: ".M" output_type: ".M" } }`)
	if s, err = parse(encode(t, noPackage)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Method("/S/Do", false, false); err != nil {
		t.Error(err)
	}
}

// soon is what a set takes at most, under the race detector on a machine that has other things to do: one whose
// checks are super-linear takes many times as long.
const soon = 30 * time.Second

// TestRefused: what a peer must not send is refused, and soon.
func TestRefused(t *testing.T) {
	good := encode(t, service(t, `message_type { name: "M" }`))
	plain := func(text string) []byte { return encode(t, fileOf(t, text)) }
	repeat := func(n int, file func(i int) string) []byte {
		var files []*descriptorpb.FileDescriptorProto
		for i := range n {
			files = append(files, fileOf(t, file(i)))
		}
		return encode(t, files...)
	}
	for _, test := range []struct {
		name    string
		encoded []byte
		want    string
	}{
		{"nothing", nil, "there is no file"},
		{"noise", []byte("\x0a\x05abc"), "not valid"},
		{"cut off", good[:len(good)-1], "not valid"},
		{"too long", make([]byte, MaxBytes+1), "4194304 bytes"},
		{"no name", plain(`syntax: "proto3"`), "not valid"},
		{"syntax", plain(`name: "a" syntax: "proto4"`), "syntax \"proto4\""},
		{"no edition", plain(`name: "a" syntax: "editions"`), "edition 0"},
		// The builder makes an exception for these and then panics or exits.
		{"edition of the builder's own tests", plain(`name: "cmd/protoc-gen-go/testdata/a" syntax: "editions" edition: EDITION_MAX`), "edition 2147483647"},
		{"edition of the builder's own tests", plain(`name: "cmd/protoc-gen-go/testdata/a" syntax: "editions" edition: EDITION_99999_TEST_ONLY`), "edition 99999"},
		{"edition that is not stable", plain(`name: "a" syntax: "editions" edition: EDITION_UNSTABLE`), "edition 9999"},
		{"a file twice", repeat(2, func(int) string { return `name: "a"` }), "there twice"},
		{"an import of itself", plain(`name: "a" dependency: "a"`), "not before it"},
		{"an import of nothing", plain(`name: "a" dependency: "b"`), "not before it"},
		{"an import before what it imports", encode(t, fileOf(t, `name: "b" dependency: "a"`), fileOf(t, `name: "a"`)), "not before it"},
		{"a public import that is none", plain(`name: "a" public_dependency: 0`), "no import 0"},
		{"a public import that is none", plain(`name: "a" public_dependency: -1`), "no import -1"},
		{"a type that is not there", encode(t, service(t, ``)), "not valid"},
		{"a type that is not imported", encode(t, fileOf(t, `name: "a" package: "p" message_type { name: "M" }`), service(t, ``)), "not valid"},
		{"a type by a short name", encode(t, service(t, m(field(1, `name: "a" type: TYPE_MESSAGE type_name: "M"`)))), "not a full name"},
		{"an enum without values", encode(t, service(t, m("")+`enum_type { name: "E" }`)), "not valid"},
		{"a field twice", encode(t, service(t, m(field(1, `name: "a" type: TYPE_INT32`)+field(1, `name: "b" type: TYPE_INT32`)))), "not valid"},
		{"a field number", encode(t, service(t, m(field(0, `name: "a" type: TYPE_INT32`)))), "not valid"},
		{"a kind", encode(t, service(t, m(field(1, `name: "a" type: 99`)))), "not valid"},
		{"a oneof's index", encode(t, service(t, m(field(1, `name: "a" type: TYPE_INT32 oneof_index: 7`)))), "not valid"},
		{"too many files", repeat(MaxFiles+1, func(i int) string { return fmt.Sprintf(`name: "%d"`, i) }), "1024 files"},
		{"imports too deep", repeat(MaxDepth+2, func(i int) string {
			if i == 0 {
				return `name: "0"`
			}
			return fmt.Sprintf(`name: "%d" dependency: "%d"`, i, i-1)
		}), "128 imports in a chain"},
		{"diamonds of public imports", repeat(100, func(i int) string {
			if i < 2 {
				return fmt.Sprintf(`name: "%d"`, i)
			}
			low := i/2*2 - 2
			return fmt.Sprintf(`name: "%d" dependency: "%d" dependency: "%d" public_dependency: 0 public_dependency: 1`, i, low, low+1)
		}), "1048576 steps of public imports"},
		{"empty messages", bytes.Repeat([]byte{0x0a, 0}, MaxBytes/2), "131072 elements"},
		{"empty strings", wrapped(bytes.Repeat([]byte{0x1a, 0}, MaxBytes/2-8)), "131072 elements"},
		{"messages in one another", nest(MaxNesting + 1), "64 messages in one another"},
		{"a long name", plain(`name: "a" message_type { name: "` + strings.Repeat("M", MaxName+1) + `" }`), "512 bytes in a name"},
		{"a long package", plain(`name: "a" package: "` + strings.Repeat("p.", MaxName) + `p"`), "512 bytes in a name"},
		{"a long type", encode(t, service(t, m(field(1, `name: "a" type: TYPE_MESSAGE type_name: ".p`+strings.Repeat(".p", MaxName)+`"`)))), "512 bytes in a name"},
		{"a long JSON name", encode(t, service(t, m(field(1, `name: "a" type: TYPE_INT32 json_name: "`+strings.Repeat("a", MaxName+1)+`"`)))), "512 bytes in a name"},
		{"a long JSON name of an extension", plain(`name: "a" extension { name: "a" json_name: "` + strings.Repeat("a", MaxName+1) + `" }`), "512 bytes in a name"},
		{"a long name in one another", encode(t, service(t, m(`nested_type { name: "`+strings.Repeat("N", MaxName-1)+`" }`))), "512 bytes in a name"},
		{"a long value of an enum", encode(t, service(t, m(`enum_type { name: "E" value { name: "`+strings.Repeat("V", MaxName+1)+`" } }`))), "512 bytes in a name"},
		{"long JSON names", longJSONNames(), "16777216 bytes in all names"},
		{"long full names", longNames(), "16777216 bytes in all names"},
		{"many enums in one message", encode(t, service(t, m(strings.Repeat(`enum_type {}`, MaxEnums+1)))), "256 enums in one message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			s, err := parse(test.encoded)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, %v; want %q", s, err, test.want)
			}
			if err != nil && len(err.Error()) > 1000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			if took := time.Since(began); took > soon {
				t.Errorf("it took %v", took)
			}
			if !bytes.Equal(test.encoded, good) {
				if _, err := Parse(test.encoded, sha256.Sum256(good)); len(test.encoded) <= MaxBytes && !errors.Is(err, ErrHash) {
					t.Errorf("by another's hash: %v", err)
				}
			}
		})
	}
}

// wrapped returns a set of one file with these fields.
func wrapped(fields []byte) []byte {
	return protowire.AppendBytes([]byte{0x0a}, fields)
}

// nest returns a set with a message at a depth.
func nest(depth int) []byte {
	b := []byte{}
	for i := range depth {
		tag := byte(0x1a) // nested_type
		switch depth - i {
		case 1:
			tag = 0x0a // file
		case 2:
			tag = 0x22 // message_type
		}
		b = protowire.AppendBytes([]byte{tag}, b)
	}
	return b
}

// longJSONNames returns a set whose fields have short names and long ones in JSON.
func longJSONNames() []byte {
	var m []byte
	for i := range 1 << 15 {
		f := protowire.AppendString([]byte{0x0a}, fmt.Sprintf("f%d", i))
		f = protowire.AppendString(append(f, 0x52), strings.Repeat("j", 100))
		m = protowire.AppendBytes(append(m, 0x12), f)
	}
	name := strings.Repeat("M", MaxName-10)
	m = protowire.AppendString(append(m, 0x0a), name)
	return wrapped(protowire.AppendBytes([]byte{0x22}, m))
}

// longNames returns a set that has a lot in messages with long names.
func longNames() []byte {
	var m []byte
	for i := range 60_000 {
		m = protowire.AppendBytes(append(m, 0x12), protowire.AppendString([]byte{0x0a}, fmt.Sprintf("f%d", i)))
	}
	name := strings.Repeat("M", MaxName-10)
	m = protowire.AppendString(append(m, 0x0a), name)
	return wrapped(protowire.AppendBytes([]byte{0x22}, m))
}

// TestBounds: what is just within the limits is taken, and soon.
func TestBounds(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds megabytes")
	}
	chain := make([]*descriptorpb.FileDescriptorProto, MaxDepth+1)
	for i := range chain {
		chain[i] = &descriptorpb.FileDescriptorProto{Name: new(fmt.Sprint(i))}
		if i > 0 {
			chain[i].Dependency, chain[i].PublicDependency = []string{fmt.Sprint(i - 1)}, []int32{0}
		}
	}
	many := &descriptorpb.DescriptorProto{Name: new("M")}
	for i := range MaxEnums {
		many.EnumType = append(many.EnumType, &descriptorpb.EnumDescriptorProto{
			Name: new(fmt.Sprintf("E%d", i)), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: new(fmt.Sprintf("V%d", i)), Number: proto.Int32(0)}},
		})
	}
	many.NestedType = []*descriptorpb.DescriptorProto{{Name: new("N")}}
	user := &descriptorpb.DescriptorProto{Name: new("U")}
	for i := range 50_000 {
		user.Field = append(user.Field, &descriptorpb.FieldDescriptorProto{
			Name: new(fmt.Sprintf("f%d", i)), Number: new(int32(20_000 + i)), TypeName: new(".M.N"),
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
	}
	for name, files := range map[string][]*descriptorpb.FileDescriptorProto{
		"a chain of public imports": chain,
		"references into a message full of enums": {
			{Name: new("a"), MessageType: []*descriptorpb.DescriptorProto{many}},
			{Name: new("b"), Dependency: []string{"a"}, MessageType: []*descriptorpb.DescriptorProto{user}},
		},
	} {
		encoded := encode(t, files...)
		began := time.Now()
		if _, err := parse(encoded); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); took > soon {
			t.Errorf("%s: %d bytes took %v", name, len(encoded), took)
		}
	}
}

// FuzzParse: whatever a peer sends is refused or makes a set that can be used and passed on.
func FuzzParse(f *testing.F) {
	for _, file := range []protoreflect.FileDescriptor{
		greetv1.File_example_greet_v1_greet_proto, linkv1.File_rpcmesh_link_v1_link_proto, descriptorpb.File_google_protobuf_descriptor_proto,
	} {
		s, err := Of(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(s.Encoded())
	}
	f.Add(encode(f, service(f, mapped("TYPE_STRING"))))
	f.Add(encode(f, service(f, `syntax: "editions" edition: EDITION_2023 `+m(field(1, `name: "a" type: TYPE_INT32 options { features { field_presence: LEGACY_REQUIRED } }`)))))
	f.Add(encode(f, service(f, `syntax: "proto3" `+m(field(1, `name: "a" type: TYPE_INT32 oneof_index: 0 proto3_optional: true`)+`oneof_decl { name: "_a" }`))))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		if _, err := Parse(encoded, Hash{}); err == nil {
			t.Fatal("they fit no hash, and were taken")
		}
		s, err := parse(encoded)
		if err != nil {
			return
		}
		services := s.root.Services()
		for i := range services.Len() {
			for j := range services.Get(i).Methods().Len() {
				md := services.Get(i).Methods().Get(j)
				procedure := "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
				got, err := s.Method(procedure, md.IsStreamingClient(), md.IsStreamingServer())
				if err != nil || got != md {
					t.Errorf("%s: %v, %v", procedure, got, err)
				}
				if text := Difference(md, md); text != "" {
					t.Errorf("%s differs from itself: %s", procedure, text)
				}
			}
		}
		if again, err := Of(s.root); err != nil {
			t.Errorf("it cannot be passed on: %v", err)
		} else if _, err := Parse(again.Encoded(), again.Hash()); err != nil {
			t.Errorf("passed on, it is refused: %v", err)
		}
	})
}
