package coded

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// The tests' errors look as those of the other libraries do; package interop has the real ones.

// grpcStatus is like *status.Status.
type grpcStatus struct{ message proto.Message }

func (s *grpcStatus) Proto() proto.Message { return s.message }

// grpcError is like *status.Error.
type grpcError struct{ status *grpcStatus }

func (e *grpcError) Error() string           { return "rpc error" }
func (e *grpcError) GRPCStatus() *grpcStatus { return e.status }

type v1Code uint32

type oldDetail struct{ m *anypb.Any }

func (d *oldDetail) Type() string  { return string(d.m.MessageName()) }
func (d *oldDetail) Bytes() []byte { return d.m.GetValue() }

// v1Error is like *connect.Error of connectrpc.com/connect.
type v1Error struct {
	code    v1Code
	text    string
	details []*oldDetail
}

func (e *v1Error) Error() string         { return "v1: " + e.text }
func (e *v1Error) Code() v1Code          { return e.code }
func (e *v1Error) Message() string       { return e.text }
func (e *v1Error) Details() []*oldDetail { return e.details }

// otherError has methods of these names that are something else.
type otherError struct{}

func (otherError) Error() string       { return "other" }
func (otherError) Code() int           { return 5 }
func (otherError) Message() string     { return "other" }
func (otherError) Details(int) []int   { return nil }
func (otherError) GRPCStatus() *string { return nil }

// asError is a *connect.Error by its method As.
type asError struct{ error }

func (e asError) As(target any) bool {
	p, ok := target.(**connect.Error)
	if ok {
		*p = connect.NewError(connect.CodeAborted, "as")
	}
	return ok
}

// statusOf returns a google.rpc.Status.
func statusOf(t *testing.T, code int32, text string, details ...*anypb.Any) proto.Message {
	t.Helper()
	label := func(l descriptorpb.FieldDescriptorProto_Label) *descriptorpb.FieldDescriptorProto_Label {
		return l.Enum()
	}
	one, many := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL, descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: new("google/rpc/status.proto"), Package: new("google.rpc"), Syntax: new("proto3"),
		Dependency: []string{"google/protobuf/any.proto"},
		MessageType: []*descriptorpb.DescriptorProto{{
			Name: new("Status"),
			Field: []*descriptorpb.FieldDescriptorProto{
				{Name: new("code"), Number: proto.Int32(1), Label: label(one), Type: descriptorpb.FieldDescriptorProto_TYPE_INT32.Enum()},
				{Name: new("message"), Number: proto.Int32(2), Label: label(one), Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()},
				{
					Name: new("details"), Number: proto.Int32(3), Label: label(many),
					Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: new(".google.protobuf.Any"),
				},
			},
		}},
	}, resolver{})
	if err != nil {
		t.Fatal(err)
	}
	m := dynamicpb.NewMessage(file.Messages().ByName("Status"))
	fields := m.Descriptor().Fields()
	m.Set(fields.ByName("code"), protoreflect.ValueOfInt32(code))
	m.Set(fields.ByName("message"), protoreflect.ValueOfString(text))
	for _, d := range details {
		m.Mutable(fields.ByName("details")).List().Append(protoreflect.ValueOfMessage(d.ProtoReflect()))
	}
	return m
}

// resolver knows any.proto.
type resolver struct{}

func (resolver) FindFileByPath(string) (protoreflect.FileDescriptor, error) {
	return anypb.File_google_protobuf_any_proto, nil
}

func (resolver) FindDescriptorByName(protoreflect.FullName) (protoreflect.Descriptor, error) {
	return (&anypb.Any{}).ProtoReflect().Descriptor(), nil
}

func TestOf(t *testing.T) {
	detail, err := anypb.New(durationpb.New(5))
	if err != nil {
		t.Fatal(err)
	}
	want := &connect.ErrorDetail{Type: "google.protobuf.Duration", Value: detail.GetValue()}
	plain := errors.New("plain")
	grpc := &grpcError{&grpcStatus{statusOf(t, 5, "no book", detail)}}
	v1 := &v1Error{5, "no book", []*oldDetail{{detail}}}
	v2 := connect.NewError(connect.CodeNotFound, "no book").WithDetail(want)
	for name, err := range map[string]error{
		"connect": v2, "gRPC": grpc, "connect v1": v1,
		"wrapped": fmt.Errorf("here: %w", grpc), "wrapped twice": fmt.Errorf("here: %w", fmt.Errorf("there: %w", v1)),
		"joined": errors.Join(plain, grpc, connect.NewError(connect.CodeInternal, "later")),
		"outer":  connect.NewError(connect.CodeNotFound, "no book").WithDetail(want).WithCause(&v1Error{code: 3}),
	} {
		e := Of(err)
		if e == nil || e.Code() != connect.CodeNotFound || e.Message() != "no book" {
			t.Errorf("%s: %v", name, e)
			continue
		}
		if diff := cmp.Diff([]*connect.ErrorDetail{want}, e.Details()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if e := Of(asError{plain}); e == nil || e.Message() != "as" {
		t.Errorf("As: %v", e)
	}
	var none *connect.Error
	for name, err := range map[string]error{
		"nil": nil, "plain": plain, "other": otherError{}, "no status": &grpcError{}, "no message": &grpcError{&grpcStatus{}},
		"another message": &grpcError{&grpcStatus{detail}}, "no code": &grpcError{&grpcStatus{statusOf(t, 0, "fine")}},
		"no such code": &grpcError{&grpcStatus{statusOf(t, 17, "")}}, "no such code, v1": &v1Error{code: 99},
		"negative": &grpcError{&grpcStatus{statusOf(t, -1, "")}}, "a nil one": none,
	} {
		if e := Of(err); e != nil {
			t.Errorf("%s: %v", name, e)
		}
	}
}
