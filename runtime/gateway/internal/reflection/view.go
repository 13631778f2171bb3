package reflection

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// view is what one stream sees of the namespace. It is asked one thing at a time, and what has changed
// between is seen.
type view struct {
	*reflector
	ctx   context.Context //nolint:containedctx // the stream's: the library asks without one
	types *rpcmesh.Types
	told  versions
}

// Names lists the services.
func (v *view) Names() []string {
	names := slices.Collect(v.ns.Services())
	for name := range v.ownServices {
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// FindFileByPath returns the file of that name which a service is defined in or imports.
func (v *view) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	if file, ok := v.told.find(path); ok {
		return file, nil
	}
	file, err := v.own.FindFileByPath(path)
	if err != nil {
		file, err = v.types.FindFileByPath(path)
	}
	if err != nil {
		return nil, v.explain(path, err)
	}
	return v.told.consistent(file)
}

// FindDescriptorByName returns what has that name in the files of any service.
func (v *view) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	d, err := v.find(name)
	if err != nil {
		return nil, err
	}
	file, err := v.told.consistent(d.ParentFile())
	if err != nil || file == d.ParentFile() {
		return d, err
	}
	return findIn(file, name)
}

func (v *view) find(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, err := v.own.FindDescriptorByName(name); err == nil {
		return d, nil
	}
	if procedure, ok := v.procedure(name); ok {
		schema, err := v.ns.Schema(v.ctx, procedure)
		if err != nil {
			return nil, v.tell(err, string(name))
		}
		return schema.Method(), nil
	}
	d, err := v.types.FindDescriptorByName(name)
	if err != nil {
		return nil, v.explain(string(name), err)
	}
	return d, nil
}

// procedure returns the function whose schema defines name if that is a service's or a method's.
func (v *view) procedure(name protoreflect.FullName) (string, bool) {
	if f, ok := v.ns.FindService(string(name)); ok {
		return f.Procedure, true
	}
	procedure := "/" + string(name.Parent()) + "/" + string(name.Name())
	_, ok := v.ns.Find(procedure)
	return procedure, ok
}

func (v *view) explain(name string, err error) error {
	if err == protoregistry.NotFound { //nolint:errorlint // it is returned as it is
		return fmt.Errorf("no service in namespace %q knows %q", v.ns.Name(), name)
	}
	return v.tell(err, name)
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
	x, err := v.types.FindExtensionByNumber(message, number)
	if err != nil {
		return nil, fmt.Errorf("no service in namespace %q knows an extension %d of %q", v.ns.Name(), number, message)
	}
	return v.FindExtensionByName(x.TypeDescriptor().FullName())
}

// RangeExtensionsByMessage yields the extensions of a message.
func (v *view) RangeExtensionsByMessage(message protoreflect.FullName, yield func(protoreflect.ExtensionType) bool) {
	v.types.RangeExtensionsByMessage(message, yield)
}
