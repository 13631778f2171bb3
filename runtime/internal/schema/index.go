package schema

import (
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// index finds what the files of a set refer to. A [protoregistry.Files] alone takes a look at every enum of a
// message to find a name in it, for each reference anew.
type index struct {
	*protoregistry.Files

	types map[protoreflect.FullName]protoreflect.Descriptor // messages and enums
}

func newIndex() *index {
	return &index{Files: new(protoregistry.Files), types: map[protoreflect.FullName]protoreflect.Descriptor{}}
}

// FindDescriptorByName finds a message or an enum, which is all that files refer to.
func (x *index) FindDescriptorByName(name protoreflect.FullName) (protoreflect.Descriptor, error) {
	if d, ok := x.types[name]; ok {
		return d, nil
	}
	return nil, protoregistry.NotFound
}

// add registers a file. It fails where one that is there has something of the same name.
func (x *index) add(file protoreflect.FileDescriptor) error {
	if err := x.RegisterFile(file); err != nil {
		return err
	}
	x.addTypes(file)
	return nil
}

// addTypes notes the types that are declared in a file or message.
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
