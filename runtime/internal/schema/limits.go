package schema

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// What a set may have at most.
const (
	// MaxBytes is of its encoding, which is never compressed: 4 MiB.
	MaxBytes = 4 << 20
	// MaxFiles is of files.
	MaxFiles = 1024
	// MaxDepth is of imports in a chain.
	MaxDepth = 128
	// MaxElements is of messages in its encoding (a definition or its options is one) and of strings in
	// lists: an empty one takes two bytes there and hundreds in memory.
	MaxElements = 1 << 17
	// MaxNesting is of messages in messages in its encoding.
	MaxNesting = 64
	// MaxName is of bytes of a name, qualified or not, of one in JSON, and of a path.
	MaxName = 512
	// MaxNames is of bytes of all full names and those in JSON: a long prefix counts for everything that is in it.
	MaxNames = 4 * MaxBytes
	// MaxEnums is of enums in one message: looking up a name in a message takes a look at each.
	MaxEnums = 256
	// MaxImports is of steps to find out what all files see by public imports, which doubles with each
	// diamond of these.
	MaxImports = 1 << 20
)

// LimitError says that a set has more of something than it may.
type LimitError struct {
	What  string
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("descriptors may have %d %s at most", e.Limit, e.What)
}

// elementWeight is how many bytes of memory one element takes with all that is built for it: as measured for an empty
// message, which takes most.
const elementWeight = 1 << 10

// estimateMemory returns about how many bytes of memory a set takes.
func estimateMemory(encoded []byte, elements, names int) int {
	return elementWeight*elements + names + 2*len(encoded)
}

// countElements enforces the limits that must hold before an encoding is decoded, and returns its number of elements.
func countElements(encoded []byte) (elements int, err error) {
	m := elementCounter{}
	err = m.countMessage(encoded, (*descriptorpb.FileDescriptorSet)(nil).ProtoReflect().Descriptor(), 0)
	return m.elements, err
}

type elementCounter struct{ elements int }

func (m *elementCounter) countMessage(b []byte, md protoreflect.MessageDescriptor, depth int) error {
	if depth > MaxNesting {
		return &LimitError{What: "messages in one another", Limit: MaxNesting}
	}
	fields := md.Fields()
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return invalid(protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return invalid(protowire.ParseError(size))
		}
		value := b[n : n+size]
		b = b[n+size:]
		field := fields.ByNumber(num)
		if field == nil || typ != protowire.BytesType {
			continue
		}
		if field.Message() == nil && (field.Kind() != protoreflect.StringKind || !field.IsList()) {
			continue
		}
		m.elements++
		if m.elements > MaxElements {
			return &LimitError{What: "elements", Limit: MaxElements}
		}
		if field.Message() == nil {
			continue
		}
		inner, _ := protowire.ConsumeBytes(value)
		if err := m.countMessage(inner, field.Message(), depth+1); err != nil {
			return err
		}
	}
	return nil
}
