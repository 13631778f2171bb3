package rpcmesh

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/rpcmesh/rpcmesh/runtime/internal/schema"
)

// Types finds messages, extensions and files by their names among the schemas of a namespace, as protojson,
// prototext and protodesc ask for them: in the schema that it was made with, then in those of all functions
// that can be called, and what an Any may hold also in the Go program itself. Where versions of a file
// differ, a name leads into the one whose function's name has the most in common with it, of these the first
// in order. Schemas are fetched as they are needed; what they define is remembered by the node.
//
// What is nowhere is [protoregistry.NotFound]. A schema that cannot be had is an error only where the name
// is not found elsewhere. A Types may be used concurrently, while its context lasts.
type Types struct {
	ctx   context.Context //nolint:containedctx // the resolvers' interfaces have none
	ns    *Namespace
	first *Schema
}

// A Types is a resolver of all kinds.
var (
	_ protodesc.Resolver                  = (*Types)(nil)
	_ protoregistry.MessageTypeResolver   = (*Types)(nil)
	_ protoregistry.ExtensionTypeResolver = (*Types)(nil)
)

// Types returns a resolver that looks into first, which may be nil, before all other schemas of the
// namespace.
func (ns *Namespace) Types(ctx context.Context, first *Schema) *Types {
	return &Types{ctx: ctx, ns: ns, first: first}
}

// Types returns a resolver. See [Namespace.Types].
func (p *Proxy) Types(ctx context.Context, first *Schema) *Types { return p.ns.Types(ctx, first) }

// search returns what find first finds in a schema that defines the symbol.
func search[T any](t *Types, symbol schema.Symbol, name string, find func(*schema.Set) (T, bool)) (found T, err error) {
	if t.first != nil {
		if found, ok := find(t.first.set); ok {
			return found, nil
		}
	}
	ok := false
	err = t.ns.findDefining(t.ctx, symbol, name, func(set *schema.Set) bool {
		found, ok = find(set)
		return !ok
	})
	switch {
	case ok:
		return found, nil
	case err == nil:
		err = protoregistry.NotFound
	default:
		err = fmt.Errorf("no schema that can be had defines %.200q: %w", name, err)
	}
	return found, err
}

// FindDescriptorByName returns what has a full name: a message, a field, an enum, a service, a method...
func (t *Types) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	return search(t, schema.NameSymbol(name), string(name), func(set *schema.Set) (protoreflect.Descriptor, bool) {
		d, err := set.Registry().FindDescriptorByName(name)
		return d, err == nil
	})
}

// FindFileByPath returns the file that is imported by that path.
func (t *Types) FindFileByPath(path string) (protoreflect.FileDescriptor, error) {
	return search(t, schema.PathSymbol(path), path, func(set *schema.Set) (protoreflect.FileDescriptor, bool) {
		file, err := set.Registry().FindFileByPath(path)
		return file, err == nil
	})
}

// FindMessageByName returns the type of a message.
func (t *Types) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	md, err := search(t, schema.NameSymbol(name), string(name), func(set *schema.Set) (protoreflect.MessageDescriptor, bool) {
		d, _ := set.Registry().FindDescriptorByName(name)
		md, ok := d.(protoreflect.MessageDescriptor)
		return md, ok
	})
	if err == nil {
		return dynamicpb.NewMessageType(md), nil
	}
	if mt, global := protoregistry.GlobalTypes.FindMessageByName(name); global == nil {
		return mt, nil
	}
	return nil, err
}

// FindMessageByURL returns the type of a message by the URL that an Any has, of whose path only the last part
// counts.
func (t *Types) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	return t.FindMessageByName(protoreflect.FullName(url[lastSlash(url)+1:]))
}

func lastSlash(s string) int {
	i := len(s) - 1
	for i >= 0 && s[i] != '/' {
		i--
	}
	return i
}

// FindExtensionByName returns the type of an extension. It fails with [protoregistry.NotFound] only.
func (t *Types) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	xd, err := search(t, schema.NameSymbol(name), string(name), func(set *schema.Set) (protoreflect.ExtensionDescriptor, bool) {
		d, _ := set.Registry().FindDescriptorByName(name)
		xd, ok := d.(protoreflect.ExtensionDescriptor)
		return xd, ok && xd.IsExtension()
	})
	if err != nil {
		return nil, protoregistry.NotFound
	}
	return dynamicpb.NewExtensionType(xd), nil
}

// FindExtensionByNumber returns the type of the extension of a message that has a field number. It fails with
// [protoregistry.NotFound] only, so that what is unknown in a message stays so where a schema can't be had.
func (t *Types) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	xd, err := search(t, schema.ExtensionSymbol(message, number), string(message), func(set *schema.Set) (protoreflect.ExtensionDescriptor, bool) {
		xd := set.Extension(message, number)
		return xd, xd != nil
	})
	if err != nil {
		return nil, protoregistry.NotFound
	}
	return dynamicpb.NewExtensionType(xd), nil
}

// RangeExtensionsByMessage yields the extensions of a message that any schema has, one for each number.
func (t *Types) RangeExtensionsByMessage(message protoreflect.FullName, yield func(protoreflect.ExtensionType) bool) {
	seen := map[protoreflect.FieldNumber]bool{}
	_, _ = search(t, schema.ExtendedSymbol(message), string(message), func(set *schema.Set) (struct{}, bool) {
		for xd := range set.Extensions(message) {
			if !seen[xd.Number()] && !yield(dynamicpb.NewExtensionType(xd)) {
				return struct{}{}, true
			}
			seen[xd.Number()] = true
		}
		return struct{}{}, false
	}) // it finds nothing, so that all schemas are searched
}
