package stub

import (
	"context"
	"errors"
	"io"
	"reflect"
	"sync"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// GeneratedV1 holds generated code and this package together: every generated file refers to the constant of the
// version that it was written for. The version rises when generated code begins to need something new of this package,
// and an old constant goes when this package stops carrying what that version needs. So code too new for the package,
// and code too old for it, both fail to compile with "undefined: stub.GeneratedV…" instead of failing in a call.
const GeneratedV1 = true

// A MethodSpec gives the [connect.Spec] of a generated service's method. It is a function because a
// descriptor is complete only once its package is initialised; the work is done once. It is safe for
// concurrent use.
type MethodSpec func() (connect.Spec, error)

// NewMethodSpec returns the MethodSpec of the named method of a service: procedure, stream type,
// idempotency level and, as Schema, the [protoreflect.MethodDescriptor]. Where the service has no
// such method, which is so when a message package and its stubs were generated from different
// .proto files, the MethodSpec fails with failed_precondition, and with it every registration and
// call that uses it.
func NewMethodSpec(service func() protoreflect.ServiceDescriptor, method protoreflect.Name) MethodSpec {
	return sync.OnceValues(func() (connect.Spec, error) {
		var md protoreflect.MethodDescriptor
		if sd := service(); sd != nil {
			md = sd.Methods().ByName(method)
		}
		if md == nil {
			return connect.Spec{}, connect.Errorf(connect.CodeFailedPrecondition,
				"the messages' package knows no method %s of this service: generate it and the stubs from the same .proto file", method)
		}
		return rawcall.SpecOf(md), nil
	})
}

// of returns the Spec, whose kind must be the one that the stub was generated for.
func (m MethodSpec) of(kind connect.StreamType) (connect.Spec, error) {
	spec, err := m()
	if err != nil {
		return connect.Spec{}, err
	}
	if spec.StreamType != kind {
		return connect.Spec{}, connect.Errorf(connect.CodeFailedPrecondition,
			"%s is a %s method in the messages' package and a %s method in the stubs: generate both from the same .proto file",
			spec.Procedure, spec.StreamType, kind)
	}
	return spec, nil
}

// A ServiceMethod binds one method of the server interface S to the function that it serves. Make
// one with [UnaryMethod], [ServerStreamMethod], [ClientStreamMethod] or [BidiStreamMethod].
type ServiceMethod[S any] func(srv S) (connect.Method, error)

// RegisterService registers the methods of srv at reg, all or none. Generated Register…Origin
// functions call it. It fails with invalid_argument when reg or srv is nil, or a nil pointer, and otherwise
// as reg does.
func RegisterService[S any](reg rpcmesh.Registrar, srv S, methods ...ServiceMethod[S]) (*rpcmesh.Origin, error) {
	if isNil(reg) {
		return nil, connect.Errorf(connect.CodeInvalidArgument,
			"rpcmesh: nowhere to register: the Registrar is nil (%T): give it a namespace of a node", reg)
	}
	if isNil(srv) {
		return nil, connect.Errorf(connect.CodeInvalidArgument,
			"rpcmesh: nothing to register: the server is nil (%T): give it one whose methods can run", srv)
	}
	bound := make([]connect.Method, len(methods))
	for i, method := range methods {
		var err error
		if bound[i], err = method(srv); err != nil {
			return nil, err
		}
	}
	return reg.Register(bound...)
}

// isNil reports whether v is nil, or holds a nil pointer or function.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return v == nil || (r.Kind() == reflect.Pointer || r.Kind() == reflect.Func) && r.IsNil()
}

// UnimplementedError is what the methods of a generated Unimplemented…Server return: unimplemented,
// with a text that tells it from a function that the mesh does not know.
func UnimplementedError(procedure string) error {
	return connect.Errorf(connect.CodeUnimplemented, "%s is registered but its server does not implement it: give the server that method", procedure)
}

// bindMethod makes a ServiceMethod of what serves one call of kind.
func bindMethod[S any](
	method MethodSpec,
	kind connect.StreamType,
	serve func(ctx context.Context, srv S, spec connect.Spec, stream connect.ServerStream) error,
) ServiceMethod[S] {
	return func(srv S) (connect.Method, error) {
		spec, err := method.of(kind)
		if err != nil {
			return connect.Method{}, err
		}
		handler := func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
			return serve(ctx, srv, spec, stream)
		}
		return connect.Method{Spec: spec, Handler: handler}, nil
	}
}

// messageReceiver is the half that connect's two kinds of stream have in common.
type messageReceiver interface{ Receive(msg any) error }

// receiveOnly reads the only message of its direction, and the end behind it, into msg. A count
// other than one is unimplemented, as Connect and gRPC have it. side is "request" or "response".
func receiveOnly(stream messageReceiver, msg any, procedure, side string) error {
	if err := stream.Receive(msg); errors.Is(err, io.EOF) {
		return noMessageError(procedure, side)
	} else if err != nil {
		return err
	}
	// A second message may overwrite msg: nobody sees it then.
	err := stream.Receive(msg)
	switch {
	case err == nil:
		return connect.Errorf(connect.CodeUnimplemented, "%s has more than one %s message: it takes exactly one", procedure, side)
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

func noMessageError(procedure, side string) error {
	return connect.Errorf(connect.CodeUnimplemented, "%s has no %s message: it takes exactly one", procedure, side)
}
