package reflection

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const (
	// fetches is how many schemas are asked for at a time.
	fetches = 8
	// maxBytes bounds the schemas that one stream has looked into.
	maxBytes = 64 << 20
)

// view is what one stream sees of the namespace. It is asked one thing at a time, and what has changed
// between is seen.
type view struct {
	*reflector
	ctx        context.Context //nolint:containedctx // the stream's: the library asks without one
	registries map[rpcmesh.SchemaHash]*protoregistry.Files
	bytes      int
}

// Names lists the services.
func (v *view) Names() []string {
	names := slices.Collect(maps.Keys(v.services()))
	names = slices.AppendSeq(names, maps.Keys(v.ownServices))
	slices.Sort(names)
	return names
}

// FindFileByPath returns the file of that name which a service is defined in or imports.
func (v *view) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	return search(v, path, func(files *protoregistry.Files) (protoreflect.FileDescriptor, bool) {
		file, err := files.FindFileByPath(path)
		return file, err == nil
	})
}

// FindDescriptorByName returns what has that name in the files of any service.
func (v *view) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if procedure, ok := v.procedure(name); ok {
		schema, err := v.ns.Schema(v.ctx, procedure)
		if err != nil {
			return nil, err
		}
		return schema.Method(), nil
	}
	return search(v, string(name), func(files *protoregistry.Files) (protoreflect.Descriptor, bool) {
		d, err := files.FindDescriptorByName(name)
		return d, err == nil
	})
}

// FindExtensionByName returns the extension of that name.
func (v *view) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	d, err := v.FindDescriptorByName(name)
	if err != nil {
		return nil, err
	}
	x, ok := d.(protoreflect.ExtensionDescriptor)
	if !ok || !x.IsExtension() {
		return nil, fmt.Errorf("%s is no extension", name)
	}
	return dynamicpb.NewExtensionType(x), nil
}

// FindExtensionByNumber returns the extension of a message by a field number.
func (v *view) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return search(v, string(message), func(files *protoregistry.Files) (protoreflect.ExtensionType, bool) {
		for x := range extensions(files) {
			if x.ContainingMessage().FullName() == message && x.Number() == number {
				return dynamicpb.NewExtensionType(x), true
			}
		}
		return nil, false
	})
}

// RangeExtensionsByMessage yields the extensions of a message.
func (v *view) RangeExtensionsByMessage(message protoreflect.FullName, yield func(protoreflect.ExtensionType) bool) {
	found := map[protoreflect.FieldNumber]protoreflect.ExtensionDescriptor{}
	_, _ = search(v, string(message), func(files *protoregistry.Files) (struct{}, bool) { // finds none, so sees all
		for x := range extensions(files) {
			if x.ContainingMessage().FullName() == message {
				found[x.Number()] = x
			}
		}
		return struct{}{}, false
	})
	for _, x := range found {
		if !yield(dynamicpb.NewExtensionType(x)) {
			return
		}
	}
}

// search returns what find first finds in the files of the gateway's own services and then of the
// namespace's, those with names like name first.
func search[T any](v *view, name string, find func(*protoregistry.Files) (T, bool)) (T, error) {
	if found, ok := find(v.own); ok {
		return found, nil
	}
	var failed error
	for procedures := range slices.Chunk(v.closest(name), fetches) {
		schemas, err := v.fetch(procedures)
		if failed == nil {
			failed = err
		}
		for _, schema := range schemas {
			files, err := v.files(schema)
			if err != nil {
				return *new(T), err
			}
			if found, ok := find(files); ok {
				return found, nil
			}
		}
	}
	if failed != nil {
		return *new(T), fmt.Errorf("no service whose schema can be had knows %q: %w", name, failed)
	}
	return *new(T), fmt.Errorf("no service in namespace %q knows %q", v.ns.Name(), name)
}

// fetch returns the schemas of procedures, as far as they can be had, and the first error.
func (v *view) fetch(procedures []string) ([]*rpcmesh.Schema, error) {
	schemas := make([]*rpcmesh.Schema, len(procedures))
	errs := make([]error, len(procedures))
	var fetching sync.WaitGroup
	for i, procedure := range procedures {
		fetching.Go(func() { schemas[i], errs[i] = v.ns.Schema(v.ctx, procedure) })
	}
	fetching.Wait()
	schemas = slices.DeleteFunc(schemas, func(s *rpcmesh.Schema) bool { return s == nil })
	for _, err := range errs {
		if err != nil {
			return schemas, err
		}
	}
	return schemas, nil
}

// files returns the files of a schema.
func (v *view) files(schema *rpcmesh.Schema) (*protoregistry.Files, error) {
	if files, ok := v.registries[schema.Hash()]; ok {
		return files, nil
	}
	if v.bytes += proto.Size(schema.Files()); v.bytes > maxBytes {
		return nil, fmt.Errorf("the schemas of namespace %q are too large to be searched: name a service or a method", v.ns.Name())
	}
	files := new(protoregistry.Files)
	register(files, schema.Method().ParentFile())
	v.registries[schema.Hash()] = files
	return files, nil
}

// extensions yields those that files define, at any depth.
func extensions(files *protoregistry.Files) func(yield func(protoreflect.ExtensionDescriptor) bool) {
	return func(yield func(protoreflect.ExtensionDescriptor) bool) {
		files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
			return extensionsIn(file.Extensions(), file.Messages(), yield)
		})
	}
}

func extensionsIn(own protoreflect.ExtensionDescriptors, messages protoreflect.MessageDescriptors, yield func(protoreflect.ExtensionDescriptor) bool) bool {
	for i := range own.Len() {
		if !yield(own.Get(i)) {
			return false
		}
	}
	for i := range messages.Len() {
		if m := messages.Get(i); !extensionsIn(m.Extensions(), m.Messages(), yield) {
			return false
		}
	}
	return true
}
