// Package reflection serves gRPC's server reflection, v1 and v1alpha, for the functions of a namespace,
// those of other nodes included: https://github.com/grpc/grpc/blob/master/doc/server-reflection.md.
package reflection

import (
	"context"
	"slices"

	"connectrpc.com/connect/v2"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// Methods returns the methods of both versions for ns. Beside the namespace's functions and itself,
// reflection tells of the services of also, by their schemas. told is what callers are told of an error by which the
// schema of a name cannot be had. The methods may be called concurrently.
func Methods(ns *rpcmesh.Namespace, told func(err error, name string) error, also ...connect.Method) []connect.Method {
	r := &reflector{ns: ns, tell: told, own: new(protoregistry.Files), ownServices: map[string]bool{}}
	described := connect.NewServer()
	grpcreflect.Register(described)
	var methods []connect.Method
	for spec := range described.Specs() {
		methods = append(methods, connect.Method{Spec: spec, Handler: r.serve})
	}
	for _, m := range slices.Concat(methods, also) {
		if method, ok := m.Spec.Schema.(protoreflect.MethodDescriptor); ok {
			register(r.own, method.ParentFile())
			r.ownServices[string(method.Parent().FullName())] = true
		}
	}
	return methods
}

type reflector struct {
	ns          *rpcmesh.Namespace
	tell        func(err error, name string) error
	own         *protoregistry.Files // of services that are not the namespace's
	ownServices map[string]bool
}

// serve answers one stream. The library asks its resolvers without a context: each stream has its own.
func (r *reflector) serve(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
	v := &view{reflector: r, ctx: ctx, types: r.ns.Types(ctx, nil)}
	server := connect.NewServer()
	grpcreflect.Register(server,
		grpcreflect.WithNamer(v), grpcreflect.WithDescriptorResolver(v), grpcreflect.WithExtensionResolver(v))
	info, _ := connect.CallInfoForServerContext(ctx)
	return server.Call(ctx, spec.Procedure, info, stream)
}

// register adds file and all that it imports to files.
func register(files *protoregistry.Files, file protoreflect.FileDescriptor) {
	if _, err := files.FindFileByPath(file.Path()); err == nil || file.IsPlaceholder() {
		return
	}
	if files.RegisterFile(file) != nil {
		return // it says otherwise what an earlier file says: that one stays
	}
	for i := range file.Imports().Len() {
		register(files, file.Imports().Get(i).FileDescriptor)
	}
}
