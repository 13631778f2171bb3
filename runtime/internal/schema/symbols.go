package schema

import (
	"crypto/sha256"
	"hash/maphash"
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Symbol stands for something that a file defines: a hash of this process, so that a name can be looked for
// among many files in little memory. Two names may have the same.
type Symbol uint64

// symbolSeed keeps peers from choosing names that collide.
var symbolSeed = maphash.MakeSeed()

func symbolOf(kind byte, name string) Symbol {
	var h maphash.Hash
	h.SetSeed(symbolSeed)
	_ = h.WriteByte(kind)      // never fails
	_, _ = h.WriteString(name) // never fails
	return Symbol(h.Sum64())
}

// NameSymbol is that of a full name.
func NameSymbol(name protoreflect.FullName) Symbol { return symbolOf('n', string(name)) }

// PathSymbol is that of a file.
func PathSymbol(path string) Symbol { return symbolOf('f', path) }

// ExtensionSymbol is that of the extension of a message by a field number.
func ExtensionSymbol(message protoreflect.FullName, number protoreflect.FieldNumber) Symbol {
	return symbolOf('x', string(message)+"#"+strconv.Itoa(int(number)))
}

// ExtendedSymbol is that of any extension of a message.
func ExtendedSymbol(message protoreflect.FullName) Symbol { return symbolOf('m', string(message)) }

// FileSymbols are those of one file.
type FileSymbols struct {
	// Content is the SHA-256 of the file's descriptor: sets that share a file share it.
	Content [sha256.Size]byte
	// Symbols are sorted, each once.
	Symbols []Symbol
}

// Symbols returns those of each of the set's files.
func (s *Set) Symbols() []FileSymbols {
	all := make([]FileSymbols, 0, len(s.files.GetFile()))
	for _, file := range s.files.GetFile() {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(file)
		if err != nil {
			continue // cannot happen: it was decoded from an encoding
		}
		c := symbolCollector{PathSymbol(file.GetName())}
		all = append(all, FileSymbols{Content: sha256.Sum256(encoded), Symbols: c.file(file)})
	}
	return all
}

type symbolCollector []Symbol

func (c *symbolCollector) add(scope protoreflect.FullName, name string) protoreflect.FullName {
	full := protoreflect.FullName(name)
	if scope != "" {
		full = scope + "." + full
	}
	*c = append(*c, NameSymbol(full))
	return full
}

func (c *symbolCollector) file(f *descriptorpb.FileDescriptorProto) []Symbol {
	pkg := protoreflect.FullName(f.GetPackage())
	for _, m := range f.GetMessageType() {
		c.message(pkg, m)
	}
	for _, e := range f.GetEnumType() {
		c.enum(pkg, e)
	}
	c.extensions(pkg, f.GetExtension())
	for _, s := range f.GetService() {
		service := c.add(pkg, s.GetName())
		for _, m := range s.GetMethod() {
			c.add(service, m.GetName())
		}
	}
	slices.Sort(*c)
	return slices.Clip(slices.Compact(*c))
}

func (c *symbolCollector) message(scope protoreflect.FullName, m *descriptorpb.DescriptorProto) {
	full := c.add(scope, m.GetName())
	for _, f := range m.GetField() {
		c.add(full, f.GetName())
	}
	for _, o := range m.GetOneofDecl() {
		c.add(full, o.GetName())
	}
	c.extensions(full, m.GetExtension())
	for _, e := range m.GetEnumType() {
		c.enum(full, e)
	}
	for _, n := range m.GetNestedType() {
		c.message(full, n)
	}
}

// enum adds an enum and its values, whose scope is that of the enum itself.
func (c *symbolCollector) enum(scope protoreflect.FullName, e *descriptorpb.EnumDescriptorProto) {
	c.add(scope, e.GetName())
	for _, v := range e.GetValue() {
		c.add(scope, v.GetName())
	}
}

func (c *symbolCollector) extensions(scope protoreflect.FullName, extensions []*descriptorpb.FieldDescriptorProto) {
	for _, x := range extensions {
		c.add(scope, x.GetName())
		extendee := x.GetExtendee()
		if extendee != "" && extendee[0] == '.' {
			extendee = extendee[1:]
		}
		message := protoreflect.FullName(extendee)
		*c = append(*c, ExtensionSymbol(message, protoreflect.FieldNumber(x.GetNumber())), ExtendedSymbol(message))
	}
}
