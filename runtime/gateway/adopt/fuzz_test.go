package adopt

import (
	"bytes"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
)

// FuzzSchema: whatever bytes a schema is made of, it builds or is refused, and what it has can be registered.
func FuzzSchema(f *testing.F) {
	greeter := protodesc.ToFileDescriptorProto(greetv1.File_example_greet_v1_greet_proto)
	b, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{greeter}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	limits := &Limits{MaxServices: 4, MaxFiles: 8, MaxDescriptors: 1 << 16}
	f.Fuzz(func(t *testing.T, b []byte) {
		set, err := parseSet(b, limits)
		if err != nil {
			return
		}
		s, err := buildSchema(set, nil, limits)
		if err != nil {
			return
		}
		if len(s.services) == 0 || len(s.services) > limits.MaxServices {
			t.Errorf("it has %d services", len(s.services))
		}
		again, err := buildSchema(set, nil, limits)
		if err != nil || again.sum != s.sum {
			t.Errorf("the same set is another schema: %v", err)
		}
	})
}

// FuzzHealthResponse: an answer is a state or an error.
func FuzzHealthResponse(f *testing.F) {
	f.Add([]byte{8, 1})
	f.Add([]byte{8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	f.Add([]byte{10, 2, 8, 1, 8, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := healthResponse(b); err == nil && s < 0 {
			t.Errorf("state %d", s)
		}
	})
}

// FuzzGoaway: GOAWAY is found in whatever pieces the frames come, and nowhere else.
func FuzzGoaway(f *testing.F) {
	f.Add([]byte{0, 0, 1, 4, 7, 0, 0, 8, 7, 0, 0, 0, 0, 0}, uint8(3))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, lengthsAndTypes []byte, piece uint8) {
		var sent []byte
		want := false
		for i := 0; i+1 < len(lengthsAndTypes); i += 2 {
			length, kind := lengthsAndTypes[i], lengthsAndTypes[i+1]
			sent = append(sent, 0, 0, length, kind, 7, 7, 7, 7, 7)
			sent = append(sent, bytes.Repeat([]byte{7}, int(length))...)
			want = want || kind == 7
		}
		var g goaway
		found := false
		for b := range slices.Chunk(sent, int(piece)+1) {
			found = g.scan(b) || found
		}
		if found != want {
			t.Errorf("found %v in %x", found, sent)
		}
	})
}
