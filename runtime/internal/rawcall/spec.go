package rawcall

import (
	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// SpecOf returns the Spec of a method by its descriptor, which it has as Schema.
func SpecOf(md protoreflect.MethodDescriptor) connect.Spec {
	return connect.Spec{
		StreamType:       StreamTypeOf(md),
		IdempotencyLevel: idempotencyOf(md),
		Schema:           md,
		Procedure:        ProcedureOf(md),
	}
}

// ProcedureOf returns the procedure of a method, "/pkg.Service/Method".
func ProcedureOf(md protoreflect.MethodDescriptor) string {
	return "/" + string(md.Parent().FullName()) + "/" + string(md.Name())
}

// StreamTypeOf returns which sides of a method stream.
func StreamTypeOf(md protoreflect.MethodDescriptor) connect.StreamType {
	streamType := connect.StreamTypeUnary
	if md.IsStreamingClient() {
		streamType |= connect.StreamTypeClient
	}
	if md.IsStreamingServer() {
		streamType |= connect.StreamTypeServer
	}
	return streamType
}

func idempotencyOf(md protoreflect.MethodDescriptor) connect.IdempotencyLevel {
	opts, _ := md.Options().(*descriptorpb.MethodOptions)
	switch opts.GetIdempotencyLevel() {
	case descriptorpb.MethodOptions_NO_SIDE_EFFECTS:
		return connect.IdempotencyNoSideEffects
	case descriptorpb.MethodOptions_IDEMPOTENT:
		return connect.IdempotencyIdempotent
	default:
		return connect.IdempotencyUnknown
	}
}
