package gateway_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	_ "google.golang.org/protobuf/types/known/structpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// strange is a service that no Go code was generated for.
const strange = `
name: "strange.proto" package: "strange.v1" syntax: "proto2"
dependency: ["google/protobuf/any.proto", "google/protobuf/timestamp.proto", "google/protobuf/struct.proto"]
message_type {
  name: "Thing"
  field { name: "any_thing" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Any" }
  field { name: "at" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" }
  field { name: "free" number: 3 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Struct" }
  field { name: "big" number: 4 label: LABEL_OPTIONAL type: TYPE_INT64 }
  field { name: "octets" number: 5 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "colour" number: 6 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".strange.v1.Colour" }
  field { name: "needed" number: 7 label: LABEL_REQUIRED type: TYPE_BOOL }
  field { name: "inner" number: 8 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".strange.v1.Thing" }
  extension_range { start: 100 end: 200 }
}
enum_type { name: "Colour" value { name: "RED" number: 0 } value { name: "BLUE" number: 7 } }
extension { name: "extra" number: 100 label: LABEL_OPTIONAL type: TYPE_STRING extendee: ".strange.v1.Thing" }
service {
  name: "Strange"
  method { name: "Same" input_type: ".strange.v1.Thing" output_type: ".strange.v1.Thing" }
  method { name: "All" input_type: ".strange.v1.Thing" output_type: ".strange.v1.Thing" client_streaming: true server_streaming: true }
}`

func strangeMethods(t *testing.T) protoreflect.MethodDescriptors {
	t.Helper()
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(strange), &file); err != nil {
		t.Fatal(err)
	}
	fd, err := protodesc.NewFile(&file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return fd.Services().Get(0).Methods()
}

// same sends back what it receives, or whatever the header Instead has.
func same(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
	info, _ := connect.CallInfoForServerContext(ctx)
	for {
		var msg rawcall.Message
		if err := s.Receive(&msg); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if instead := info.RequestHeader().Get("Instead-Bin"); instead != "" {
			msg.B, _ = connect.DecodeBinaryHeader(instead)
		}
		if err := s.Send(&msg); err != nil || info.Spec.StreamType == connect.StreamTypeUnary {
			return err
		}
	}
}

// TestJSON calls functions by JSON through a node that has no code for them, two relays away.
func TestJSON(t *testing.T) {
	methods := strangeMethods(t)
	c := rpcmeshtest.New(t)
	for _, link := range [][2]string{{"a", "b"}, {"b", "c"}, {"c", "d"}} {
		c.Link(link[0], link[1], "public")
	}
	unary := connect.Spec{Procedure: "/strange.v1.Strange/Same", Schema: methods.Get(0)}
	bidi := connect.Spec{Procedure: "/strange.v1.Strange/All", Schema: methods.Get(1), StreamType: connect.StreamTypeBidi}
	bare := connect.Spec{Procedure: "/strange.v1.Bare/Same"}
	if _, err := c.Node("d").Namespace("public").Register(
		connect.Method{Spec: unary, Handler: same}, connect.Method{Spec: bidi, Handler: same}, connect.Method{Spec: bare, Handler: same},
	); err != nil {
		t.Fatal(err)
	}
	if err := c.Node("a").Namespace("public").WaitFor(limited(t), unary.Procedure, bidi.Procedure, bare.Procedure); err != nil {
		t.Fatal(err)
	}
	d := open(t, "h2c", c.Node("a"), public)
	const thing = `{
		"anyThing": {"@type": "type.googleapis.com/strange.v1.Thing", "needed": false, "[strange.v1.extra]": "in any"},
		"at": "2026-01-02T03:04:05.000000006Z", "free": {"a": [1, null, {"b": "c"}]}, "big": "9007199254740993",
		"octets": "AP8=", "colour": "BLUE", "needed": true, "inner": {"needed": false}, "[strange.v1.extra]": "é"
	}`
	status, _, body := d.post(t, unary.Procedure, "application/json", thing)
	if diff := cmp.Diff(decoded(t, thing), decoded(t, body)); diff != "" || status != 200 {
		t.Errorf("status %d (-want +got):\n%s", status, diff)
	}
	const message = "\x00\x00\x00\x00\x0f{\"needed\":true}"
	if _, header, body := d.post(t, bidi.Procedure, "application/grpc+json", strings.Repeat(message, 2)); body != strings.Repeat(message, 2) || header.Get("Grpc-Status") != "0" {
		t.Errorf("by gRPC: %q, %v", body, header)
	}

	for _, test := range []struct {
		name, body, want string
		status           int
	}{
		{"unknown field", `{"needed": true, "new": {"x": [1]}}`, `{"needed":true}`, 200},
		{"field by its proto name", `{"needed": true, "any_thing": null}`, `{"needed":true}`, 200},
		{"required field", `{}`, "needed", 400},
		{"unknown enum value", `{"needed": true, "colour": "PINK"}`, `{"needed":true}`, 200},
		{"Any of an unknown type", `{"needed": true, "anyThing": {"@type": "x/a.B"}}`, "a.B", 400},
		{"not an object", `[]`, "line 1:1", 400},
		{"two objects", `{"needed": true}{}`, "line 1:17", 400},
		{"not UTF-8", "{\"needed\": true, \"[strange.v1.extra]\": \"\xff\"}", "UTF-8", 400},
	} {
		status, _, body := d.post(t, unary.Procedure, "application/json", test.body)
		if body = strings.NewReplacer("\u00a0", " ", `": `, `":`).Replace(body); status != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%s: %d, %s", test.name, status, body)
		}
	}
	if status, _, body := d.post(t, unary.Procedure, "application/json", `{"needed":true}`, "Instead-Bin", "Cv8"); status != 500 || !strings.Contains(body, "internal") {
		t.Errorf("a response that is no message: %d, %s", status, body)
	}
	if status, _, body := d.post(t, bare.Procedure, "application/json", `{}`); status != 404 || !strings.Contains(body, "without a schema") {
		t.Errorf("without a schema: %d, %s", status, body)
	}
	if status, _, body := d.post(t, bare.Procedure, "application/proto", "\x08\x01"); status != 200 || body != "\x08\x01" {
		t.Errorf("without a schema, proto: %d, %q", status, body)
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Errorf("%v: %s", err, text)
	}
	return v
}

// TestJSONOfALiar calls a function whose schema has a well-known type without its fields, over which
// protojson panics, and on a goroutine of the gateway's own.
func TestJSONOfALiar(t *testing.T) {
	const text = `
name: "lie.proto" package: "google.protobuf" syntax: "proto3"
message_type { name: "Timestamp" }
message_type { name: "Lie" field { name: "at" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" } }
service {
  name: "Liar"
  method { name: "One" input_type: ".google.protobuf.Lie" output_type: ".google.protobuf.Lie" }
  method { name: "All" input_type: ".google.protobuf.Lie" output_type: ".google.protobuf.Lie" client_streaming: true server_streaming: true }
}`
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(text), &file); err != nil {
		t.Fatal(err)
	}
	fd, err := protodesc.NewFile(&file, nil)
	if err != nil {
		t.Fatal(err)
	}
	methods := fd.Services().Get(0).Methods()
	node := rpcmeshtest.New(t).Node("n")
	if _, err := node.Namespace("public").Register(
		connect.Method{Spec: connect.Spec{Procedure: "/google.protobuf.Liar/One", Schema: methods.Get(0)}, Handler: same},
		connect.Method{Spec: connect.Spec{Procedure: "/google.protobuf.Liar/All", Schema: methods.Get(1), StreamType: connect.StreamTypeBidi}, Handler: same},
	); err != nil {
		t.Fatal(err)
	}
	d := open(t, "h2c", node, public)
	const at = `{"at":"2026-01-02T03:04:05Z"}`
	if status, _, body := d.post(t, "/google.protobuf.Liar/One", "application/json", at); status != 400 || !strings.Contains(body, "schema") {
		t.Errorf("a request: %d, %s", status, body)
	}
	if status, _, body := d.post(t, "/google.protobuf.Liar/One", "application/json", "{}", "Instead-Bin", "CgA"); status != 500 || !strings.Contains(body, "schema") {
		t.Errorf("a response: %d, %s", status, body)
	}
	if _, header, body := d.post(t, "/google.protobuf.Liar/All", "application/grpc+json", "\x00\x00\x00\x00\x1d"+at); header.Get("Grpc-Status") != "3" {
		t.Errorf("in a stream: %v, %q", header, body)
	}
}

// speech is a service whose message another service's Any holds.
const speech = `
name: "speech.proto" package: "speech.v1" syntax: "proto3"
message_type { name: "Result" field { name: "text" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING json_name: "text" } }
service { name: "Speech" method { name: "Recognize" input_type: ".speech.v1.Result" output_type: ".speech.v1.Result" } }`

// TestJSONAnyOfAnotherService: what an Any holds is known by any schema of the namespace.
func TestJSONAnyOfAnotherService(t *testing.T) {
	c := rpcmeshtest.New(t)
	c.Link("a", "b", "public")
	c.Link("b", "c", "public")
	var file descriptorpb.FileDescriptorProto
	if err := prototext.Unmarshal([]byte(speech), &file); err != nil {
		t.Fatal(err)
	}
	fd, err := protodesc.NewFile(&file, nil)
	if err != nil {
		t.Fatal(err)
	}
	recognize := connect.Spec{Procedure: "/speech.v1.Speech/Recognize", Schema: fd.Services().Get(0).Methods().Get(0)}
	unary := connect.Spec{Procedure: "/strange.v1.Strange/Same", Schema: strangeMethods(t).Get(0)}
	for node, spec := range map[string]connect.Spec{"b": recognize, "c": unary} {
		if _, err := c.Node(node).Namespace("public").Register(connect.Method{Spec: spec, Handler: same}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Node("a").Namespace("public").WaitFor(limited(t), recognize.Procedure, unary.Procedure); err != nil {
		t.Fatal(err)
	}
	d := open(t, "h2c", c.Node("a"), public)
	for _, held := range []string{
		`{"@type": "type.googleapis.com/speech.v1.Result", "text": "hello"}`,
		`{"@type": "type.googleapis.com/google.protobuf.Timestamp", "value": "2026-01-02T03:04:05Z"}`,
	} {
		body := `{"needed": true, "anyThing": ` + held + `}`
		status, _, got := d.post(t, unary.Procedure, "application/json", body)
		if diff := cmp.Diff(decoded(t, body), decoded(t, got)); diff != "" || status != 200 {
			t.Errorf("status %d (-want +got):\n%s", status, diff)
		}
	}
}
