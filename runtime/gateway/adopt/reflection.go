package adopt

import (
	"context"
	"maps"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// reflection reads a server's schema by one stream of its reflection service.
type reflection struct {
	stream *grpcreflect.ClientStream
	limits *Limits
	files  map[string]*descriptorpb.FileDescriptorProto
	bytes  int      // of files
	wanted []string // what files import, and was not there when they came
}

// readSchema asks the server for its services, or those called names if there are any, and for their files
// with all that these import. ctx must have a deadline.
func readSchema(ctx context.Context, client *connect.Client, names []string, limits *Limits) (*schema, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &reflection{
		stream: grpcreflect.NewClient(client).NewStream(ctx),
		limits: limits, files: map[string]*descriptorpb.FileDescriptorProto{},
	}
	defer func() {
		cancel() // closing waits for the server's end of the stream, unless this one is cut off
		_ = r.stream.Close()
	}()
	if len(names) == 0 {
		var err error
		if names, err = r.list(); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		got, err := r.stream.FileContainingSymbol(protoreflect.FullName(name))
		if err != nil {
			return nil, reflectionError(err, "the server's reflection has no file for its service "+name+
				": to do without it, name the services to adopt")
		}
		if err := r.add(got); err != nil {
			return nil, err
		}
	}
	if err := r.complete(); err != nil {
		return nil, err
	}
	return buildSchema(&descriptorpb.FileDescriptorSet{File: slices.Collect(maps.Values(r.files))}, names, limits)
}

func (r *reflection) list() ([]string, error) {
	listed, err := r.stream.ListServices()
	if err != nil {
		return nil, reflectionError(err, "the server's reflection cannot be read: give its descriptors, or its other protocol")
	}
	if len(listed) > r.limits.MaxServices+8 { // a server's own come on top
		return nil, connect.Errorf(connect.CodeInvalidArgument,
			"adopt: the server has more than %d services: name those to adopt", r.limits.MaxServices)
	}
	var names []string
	for _, name := range listed {
		if !name.IsValid() {
			return nil, connect.Errorf(connect.CodeInvalidArgument, "adopt: the server's reflection lists a service %.100q, which is no name", name)
		}
		if !isOwn(string(name)) {
			names = append(names, string(name))
		}
	}
	if len(names) == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, "adopt: the server's reflection lists no service to adopt")
	}
	return names, nil
}

// add takes files in; of two by one name, the first.
func (r *reflection) add(files []*descriptorpb.FileDescriptorProto) error {
	for _, f := range files {
		if _, ok := r.files[f.GetName()]; ok {
			continue
		}
		r.bytes += proto.Size(f)
		switch {
		case r.bytes > r.limits.MaxDescriptors:
			return connect.Errorf(connect.CodeInvalidArgument, "adopt: the server's schema is longer than %d bytes", r.limits.MaxDescriptors)
		case len(r.files) == r.limits.MaxFiles:
			return connect.Errorf(connect.CodeInvalidArgument, "adopt: the server's schema has more than %d files", r.limits.MaxFiles)
		}
		r.files[f.GetName()] = f
		r.wanted = append(r.wanted, f.GetDependency()...)
	}
	return nil
}

// complete fetches what the files import until nothing is missing.
func (r *reflection) complete() error {
	for len(r.wanted) > 0 {
		name := r.wanted[len(r.wanted)-1]
		r.wanted = r.wanted[:len(r.wanted)-1]
		if r.files[name] != nil {
			continue
		}
		got, err := r.stream.FileByFilename(name)
		if err != nil {
			return reflectionError(err, "the server's reflection has no file "+name+", which another imports")
		}
		if err := r.add(got); err != nil {
			return err
		}
		if r.files[name] == nil {
			return connect.Errorf(connect.CodeInvalidArgument,
				"adopt: the server's reflection was asked for the file %.200q and sent others", name)
		}
	}
	return nil
}

// reflectionError takes what ended the stream or was answered for a mistake in the server's schema, unless its
// code says that it may pass or that the node is not let in.
func reflectionError(err error, text string) error {
	code := connect.CodeInvalidArgument
	if c := connect.CodeOf(err); grpcreflect.IsReflectionStreamBroken(err) &&
		(isTransient(c) || c == connect.CodeUnauthenticated || c == connect.CodePermissionDenied) {
		code = c
	}
	return connect.Errorf(code, "adopt: %.400s: %.400s", text, err.Error()).WithCause(err)
}

func isReflection(spec connect.Spec) bool {
	return strings.HasPrefix(spec.Procedure, "/grpc.reflection.")
}
