package schema

import (
	"iter"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// extensions are the extensions that a set's files define, by the extended message and field number. Of several with
// one number, the first by name counts.
type extensions map[protoreflect.FullName]map[protoreflect.FieldNumber]protoreflect.ExtensionDescriptor

// Extension returns the extension of a message that has a field number, or nil.
func (s *Set) Extension(message protoreflect.FullName, number protoreflect.FieldNumber) protoreflect.ExtensionDescriptor {
	return s.extensions[message][number]
}

// Extensions yields the extensions of a message, in no order.
func (s *Set) Extensions(message protoreflect.FullName) iter.Seq[protoreflect.ExtensionDescriptor] {
	return func(yield func(protoreflect.ExtensionDescriptor) bool) {
		for _, xd := range s.extensions[message] {
			if !yield(xd) {
				return
			}
		}
	}
}

func extensionsOf(files *protoregistry.Files) extensions {
	all := extensions{}
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		all.collect(file)
		return true
	})
	return all
}

// scope is a file or a message.
type scope interface {
	Extensions() protoreflect.ExtensionDescriptors
	Messages() protoreflect.MessageDescriptors
}

func (x extensions) collect(in scope) {
	for i := range in.Extensions().Len() {
		xd := in.Extensions().Get(i)
		message := xd.ContainingMessage().FullName()
		if x[message] == nil {
			x[message] = map[protoreflect.FieldNumber]protoreflect.ExtensionDescriptor{}
		}
		other := x[message][xd.Number()]
		if other == nil || xd.FullName() < other.FullName() {
			x[message][xd.Number()] = xd
		}
	}
	for i := range in.Messages().Len() {
		x.collect(in.Messages().Get(i))
	}
}
