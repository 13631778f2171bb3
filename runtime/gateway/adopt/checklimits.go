package adopt

import (
	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	// maxNesting bounds how deep the messages of a descriptor may lie in each other.
	maxNesting = 100
	// maxExpansion bounds how many bytes the full names in a schema may have, for each that its encoding
	// may have. Names that lie in long names are what makes a schema of a few kilobytes one of gigabytes.
	maxExpansion = 16
)

// limitChecker estimates the size of a schema when it is built.
type limitChecker struct{ bytesLeft int }

// checkLimits refuses a schema that is small only while it is not built. limit is what its encoding may have, in
// bytes.
func checkLimits(set *descriptorpb.FileDescriptorSet, limit int) error {
	s := &limitChecker{bytesLeft: limit * maxExpansion}
	for _, f := range set.GetFile() {
		if !s.file(f) {
			return connect.Errorf(connect.CodeInvalidArgument,
				"adopt: the schema is too large when it is built: its messages lie more than %d deep in each other, or its names are too long", maxNesting)
		}
	}
	return nil
}

func (s *limitChecker) file(f *descriptorpb.FileDescriptorProto) bool {
	scope := len(f.GetPackage())
	for _, m := range f.GetMessageType() {
		if !s.message(m, scope, 1) {
			return false
		}
	}
	for _, e := range f.GetEnumType() {
		s.enum(e, scope)
	}
	for _, x := range f.GetExtension() {
		s.name(scope, x.GetName())
	}
	for _, sd := range f.GetService() {
		inside := s.name(scope, sd.GetName())
		for _, m := range sd.GetMethod() {
			s.name(inside, m.GetName())
		}
	}
	return s.bytesLeft >= 0
}

func (s *limitChecker) message(m *descriptorpb.DescriptorProto, scope, depth int) bool {
	if depth > maxNesting {
		return false
	}
	inside := s.name(scope, m.GetName())
	for _, f := range m.GetField() {
		s.name(inside, f.GetName())
	}
	for _, x := range m.GetExtension() {
		s.name(inside, x.GetName())
	}
	for _, o := range m.GetOneofDecl() {
		s.name(inside, o.GetName())
	}
	for _, e := range m.GetEnumType() {
		s.enum(e, inside)
	}
	for _, n := range m.GetNestedType() {
		if !s.message(n, inside, depth+1) {
			return false
		}
	}
	return s.bytesLeft >= 0
}

func (s *limitChecker) enum(e *descriptorpb.EnumDescriptorProto, scope int) {
	s.name(scope, e.GetName())
	for _, v := range e.GetValue() {
		s.name(scope, v.GetName()) // a value's scope is that of its enum
	}
}

// name counts a name in a scope whose own name has that many bytes, and returns how many the two have.
func (s *limitChecker) name(scope int, name string) int {
	full := scope + 1 + len(name)
	s.bytesLeft = max(s.bytesLeft-full, -1)
	return full
}
