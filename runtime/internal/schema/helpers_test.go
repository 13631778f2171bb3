package schema

import (
	"crypto/sha256"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// fileOf returns the file that text describes.
func fileOf(t testing.TB, text string) *descriptorpb.FileDescriptorProto {
	t.Helper()
	f := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(text), f); err != nil {
		t.Fatal(err)
	}
	return f
}

// encode returns the files as a peer would send them.
func encode(t testing.TB, files ...*descriptorpb.FileDescriptorProto) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&descriptorpb.FileDescriptorSet{File: files})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(encoded []byte) (*Set, error) { return Parse(encoded, sha256.Sum256(encoded)) }

// service returns a file whose service calls the message p.M, which is in it.
func service(t testing.TB, rest string) *descriptorpb.FileDescriptorProto {
	t.Helper()
	return fileOf(t, `name: "s.proto" package: "p"
		service { name: "S" method { name: "Do" input_type: ".p.M" output_type: ".p.M" } } `+rest)
}

// method returns what p.S/Do is among files.
func method(t testing.TB, client, server bool, files ...*descriptorpb.FileDescriptorProto) protoreflect.MethodDescriptor {
	t.Helper()
	s, err := parse(encode(t, files...))
	if err != nil {
		t.Fatal(err)
	}
	md, err := s.Method("/p.S/Do", client, server)
	if err != nil {
		t.Fatal(err)
	}
	return md
}
