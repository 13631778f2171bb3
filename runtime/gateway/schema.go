package gateway

import (
	"context"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// schema describes a function of ns.
func schema(_ context.Context, _ *rpcmesh.Namespace, procedure string) (protoreflect.MethodDescriptor, error) {
	name := strings.ReplaceAll(strings.TrimPrefix(procedure, "/"), "/", ".")
	if d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name)); err == nil {
		if m, ok := d.(protoreflect.MethodDescriptor); ok {
			return m, nil
		}
	}
	return nil, connect.Errorf(connect.CodeNotFound, "no schema of %s is known: call it with the codec proto", procedure)
}
