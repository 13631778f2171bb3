package schema

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// index resolves references among a set's files. [protoregistry.Files] alone would examine every enum of a message
// for each reference.
type index struct {
	*protoregistry.Files

	types map[protoreflect.FullName]protoreflect.Descriptor // messages and enums
}

func newIndex() *index {
	return &index{Files: new(protoregistry.Files), types: map[protoreflect.FullName]protoreflect.Descriptor{}}
}

// FindDescriptorByName finds a message or an enum; files refer to nothing else.
func (x *index) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, ok := x.types[name]; ok {
		return d, nil
	}
	return nil, protoregistry.NotFound
}

// add registers a file. It fails where another file defines the same name.
func (x *index) add(file protoreflect.FileDescriptor) error {
	if err := x.RegisterFile(file); err != nil {
		return err
	}
	x.addTypes(file)
	return nil
}

// addTypes adds the types that a file or message declares.
func (x *index) addTypes(scope interface {
	Messages() protoreflect.MessageDescriptors
	Enums() protoreflect.EnumDescriptors
},
) {
	for i := range scope.Enums().Len() {
		e := scope.Enums().Get(i)
		x.types[e.FullName()] = e
	}
	for i := range scope.Messages().Len() {
		m := scope.Messages().Get(i)
		x.types[m.FullName()] = m
		x.addTypes(m)
	}
}
