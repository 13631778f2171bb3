package schema

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/types/descriptorpb"
)

// check enforces the limits and the order of a set before its files are built: the builder takes exponential time for
// public imports and quadratic time for long names, and some editions make it exit the process. It returns the number
// of bytes in all names.
func check(files *descriptorpb.FileDescriptorSet) (names int, err error) {
	n := len(files.GetFile())
	switch {
	case n == 0:
		return 0, fmt.Errorf("the descriptors are not valid: there is no file")
	case n > MaxFiles:
		return 0, &LimitError{What: "files", Limit: MaxFiles}
	}
	ck := checker{files: map[string]*imports{}, maxNames: MaxNames}
	for _, f := range files.GetFile() {
		if err := ck.file(f); err != nil {
			return 0, err
		}
	}
	return ck.names, nil
}

// CheckDefinitions enforces the limits of definitions and of their names, for files in any order: what builds them takes
// no more than their size lets expect. maxNames bounds the bytes of all names. Errors: *LimitError, and others where a
// type's name is not a full one.
func CheckDefinitions(files *descriptorpb.FileDescriptorSet, maxNames int) error {
	ck := checker{maxNames: maxNames}
	for _, f := range files.GetFile() {
		if len(f.GetPackage()) > MaxName {
			return errName
		}
		if err := ck.definitions(f); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	files    map[string]*imports
	names    int // bytes of full names
	maxNames int
	steps    int // of resolving public imports
}

// imports is what a file contributes to the limits of those that import it.
type imports struct {
	depth int
	steps int
}

func (ck *checker) file(f *descriptorpb.FileDescriptorProto) error {
	path := f.GetName()
	switch f.GetSyntax() {
	case "", "proto2", "proto3":
	case "editions":
		if e := f.GetEdition(); e != descriptorpb.Edition_EDITION_2023 && e != descriptorpb.Edition_EDITION_2024 {
			return fmt.Errorf("the descriptors are not valid: edition %d is not known here", e)
		}
	default:
		return fmt.Errorf("the descriptors are not valid: syntax %.20q", f.GetSyntax())
	}
	if len(path) > MaxName || len(f.GetPackage()) > MaxName {
		return errName
	}
	if ck.files[path] != nil {
		return fmt.Errorf("the descriptors are not valid: file %q is there twice", path)
	}
	if err := ck.imports(f); err != nil {
		return err
	}
	return ck.definitions(f)
}

// imports checks that all imports of a file came before it, so that no file imports itself, and how long the chains of
// imports are.
func (ck *checker) imports(f *descriptorpb.FileDescriptorProto) error {
	own := &imports{}
	for _, path := range f.GetDependency() {
		imported := ck.files[path]
		if imported == nil {
			return fmt.Errorf("the descriptors are not valid: %q imports %.*q, which is not before it", f.GetName(), MaxName, path)
		}
		own.depth = max(own.depth, imported.depth+1)
		ck.steps += imported.steps
		if own.depth > MaxDepth {
			return &LimitError{What: "imports in a chain", Limit: MaxDepth}
		}
	}
	own.steps = 1 + len(f.GetDependency())
	for _, i := range f.GetPublicDependency() {
		if i < 0 || int(i) >= len(f.GetDependency()) {
			return fmt.Errorf("the descriptors are not valid: %q has no import %d", f.GetName(), i)
		}
		own.steps = min(own.steps+ck.files[f.GetDependency()[i]].steps, MaxImports+1)
	}
	if ck.steps > MaxImports {
		return &LimitError{What: "steps of public imports", Limit: MaxImports}
	}
	ck.files[f.GetName()] = own
	return nil
}

var errName = &LimitError{What: "bytes in a name", Limit: MaxName}

// name counts the full name of something called name within a scope whose full name has scope bytes, and returns its
// length.
func (ck *checker) name(scope int, name string) (int, error) {
	full := scope + 1 + len(name)
	if full > MaxName+1 { // the scope may be empty
		return 0, errName
	}
	return full, ck.count(full)
}

// count counts bytes of names.
func (ck *checker) count(n int) error {
	ck.names += n
	if ck.names > ck.maxNames {
		return &LimitError{What: "bytes in all names", Limit: ck.maxNames}
	}
	return nil
}

// jsonName checks and counts a field's name in JSON, which is written with each message.
func (ck *checker) jsonName(name string) error {
	if len(name) > MaxName {
		return errName
	}
	return ck.count(len(name))
}

// reference checks the name of a type. A full name, as compilers write it, takes one look-up; any other takes one for
// each of its parts.
func reference(name string) error {
	if len(name) > MaxName {
		return errName
	}
	if name != "" && !strings.HasPrefix(name, ".") {
		return fmt.Errorf("the descriptors are not valid: type %q is not a full name", name)
	}
	return nil
}

func (ck *checker) definitions(f *descriptorpb.FileDescriptorProto) error {
	scope := len(f.GetPackage())
	for _, m := range f.GetMessageType() {
		if err := ck.message(scope, m, 1); err != nil {
			return err
		}
	}
	for _, e := range f.GetEnumType() {
		if err := ck.enum(scope, e); err != nil {
			return err
		}
	}
	if err := ck.fields(scope, f.GetExtension()); err != nil {
		return err
	}
	for _, s := range f.GetService() {
		if err := ck.service(scope, s); err != nil {
			return err
		}
	}
	return nil
}

func (ck *checker) message(scope int, m *descriptorpb.DescriptorProto, depth int) error {
	if depth > MaxNesting {
		return &LimitError{What: "messages in one another", Limit: MaxNesting}
	}
	scope, err := ck.name(scope, m.GetName())
	if err != nil {
		return err
	}
	if len(m.GetEnumType()) > MaxEnums {
		return &LimitError{What: "enums in one message", Limit: MaxEnums}
	}
	if err := ck.fields(scope, m.GetField()); err != nil {
		return err
	}
	if err := ck.fields(scope, m.GetExtension()); err != nil {
		return err
	}
	for _, o := range m.GetOneofDecl() {
		if _, err := ck.name(scope, o.GetName()); err != nil {
			return err
		}
	}
	for _, e := range m.GetEnumType() {
		if err := ck.enum(scope, e); err != nil {
			return err
		}
	}
	for _, n := range m.GetNestedType() {
		if err := ck.message(scope, n, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (ck *checker) fields(scope int, fields []*descriptorpb.FieldDescriptorProto) error {
	for _, f := range fields {
		if _, err := ck.name(scope, f.GetName()); err != nil {
			return err
		}
		if err := ck.jsonName(f.GetJsonName()); err != nil {
			return err
		}
		if err := reference(f.GetTypeName()); err != nil {
			return err
		}
		if err := reference(f.GetExtendee()); err != nil {
			return err
		}
	}
	return nil
}

func (ck *checker) enum(scope int, e *descriptorpb.EnumDescriptorProto) error {
	if _, err := ck.name(scope, e.GetName()); err != nil {
		return err
	}
	for _, v := range e.GetValue() {
		if _, err := ck.name(scope, v.GetName()); err != nil {
			return err
		}
	}
	return nil
}

func (ck *checker) service(scope int, s *descriptorpb.ServiceDescriptorProto) error {
	scope, err := ck.name(scope, s.GetName())
	if err != nil {
		return err
	}
	for _, m := range s.GetMethod() {
		if _, err := ck.name(scope, m.GetName()); err != nil {
			return err
		}
		if err := reference(m.GetInputType()); err != nil {
			return err
		}
		if err := reference(m.GetOutputType()); err != nil {
			return err
		}
	}
	return nil
}
