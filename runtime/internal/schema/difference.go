package schema

import (
	"fmt"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// Difference returns the first thing in which the method as it is here differs from the one there so that
// the one here cannot be called in its stead, or "". The rules are those of buf's category WIRE
// (https://buf.build/docs/breaking/rules), except that fields may be missing whether or not their numbers are
// reserved: replicas keep what they do not know. Extensions are not looked at.
func Difference(there, here protoreflect.MethodDescriptor) string {
	if text := methodDifference(there, here); text != "" {
		return text
	}
	w := comparison{seen: map[protoreflect.FullName]bool{}}
	w.enqueue(there.Input(), here.Input())
	w.enqueue(there.Output(), here.Output())
	for len(w.todo) > 0 {
		pair := w.todo[0]
		w.todo = w.todo[1:]
		if text := w.message(pair.there, pair.here); text != "" {
			return text
		}
	}
	return ""
}

func methodDifference(there, here protoreflect.MethodDescriptor) string {
	kind := func(m protoreflect.MethodDescriptor) string {
		return kindOf(m.IsStreamingClient(), m.IsStreamingServer())
	}
	switch {
	case kind(there) != kind(here):
		return fmt.Sprintf("it is a %s method there, a %s one here", kind(there), kind(here))
	case there.Input().FullName() != here.Input().FullName():
		return fmt.Sprintf("its request is %s there, %s here", there.Input().FullName(), here.Input().FullName())
	case there.Output().FullName() != here.Output().FullName():
		return fmt.Sprintf("its response is %s there, %s here", there.Output().FullName(), here.Output().FullName())
	case idempotency(there) != idempotency(here):
		return fmt.Sprintf("its idempotency_level is %v there, %v here", idempotency(there), idempotency(here))
	}
	return ""
}

func idempotency(m protoreflect.MethodDescriptor) descriptorpb.MethodOptions_IdempotencyLevel {
	options, _ := m.Options().(*descriptorpb.MethodOptions)
	return options.GetIdempotencyLevel()
}

// comparison visits the messages that can be reached, each once, breadth first. Messages in corresponding places have
// the same name, so one name stands for both.
type comparison struct {
	seen map[protoreflect.FullName]bool
	todo []pair
}

type pair struct {
	there, here protoreflect.MessageDescriptor
}

func (w *comparison) enqueue(there, here protoreflect.MessageDescriptor) {
	if name := there.FullName(); !w.seen[name] {
		w.seen[name] = true
		w.todo = append(w.todo, pair{there, here})
	}
}

func (w *comparison) message(there, here protoreflect.MessageDescriptor) string {
	fields := there.Fields()
	for i := range fields.Len() {
		t := fields.Get(i)
		h := here.Fields().ByNumber(t.Number())
		if h == nil {
			if t.Cardinality() == protoreflect.Required {
				return fmt.Sprintf("%s is required there, missing here", nameOf(t))
			}
			continue
		}
		if text := w.field(t, h); text != "" {
			return text
		}
	}
	fields = here.Fields()
	for i := range fields.Len() {
		h := fields.Get(i)
		if h.Cardinality() == protoreflect.Required && there.Fields().ByNumber(h.Number()) == nil {
			return fmt.Sprintf("%s is required here, missing there", nameOf(h))
		}
	}
	return ""
}

// nameOf names a field in texts.
func nameOf(f protoreflect.FieldDescriptor) string {
	return fmt.Sprintf("field %d (%s) of %s", f.Number(), f.Name(), f.Parent().FullName())
}

func (w *comparison) field(t, h protoreflect.FieldDescriptor) string {
	differs := func(there, here any) string { return fmt.Sprintf("%s is %v there, %v here", nameOf(t), there, here) }
	switch {
	case t.Cardinality() != h.Cardinality():
		return differs(typeText(t), typeText(h))
	case !compatible(t.Kind(), h.Kind()):
		return differs(typeText(t), typeText(h))
	case oneofText(t) != oneofText(h):
		return differs(oneofText(t), oneofText(h))
	case t.Message() != nil:
		if t.Message().FullName() != h.Message().FullName() {
			return differs(typeText(t), typeText(h))
		}
		w.enqueue(t.Message(), h.Message())
	case t.Enum() != nil:
		if t.Enum().Name() != h.Enum().Name() {
			return differs(typeText(t), typeText(h))
		}
		return w.enum(t, h)
	}
	return ""
}

// typeText is a field's cardinality and type in texts.
func typeText(f protoreflect.FieldDescriptor) string {
	kind := f.Kind().String()
	switch {
	case f.Message() != nil:
		kind += " " + string(f.Message().FullName())
	case f.Enum() != nil:
		kind += " " + string(f.Enum().FullName())
	}
	return f.Cardinality().String() + " " + kind
}

// oneofText says which oneof a field is in. The synthetic oneof of a proto3 optional field does not count.
func oneofText(f protoreflect.FieldDescriptor) string {
	if o := f.ContainingOneof(); o != nil && !o.IsSynthetic() {
		return "in oneof " + string(o.Name())
	}
	return "in no oneof"
}

// wireGroups maps kinds that can decode each other's encoding to one number. A kind without a number is compatible
// with itself only.
var wireGroups = map[protoreflect.Kind]int{
	protoreflect.Int32Kind: 1, protoreflect.Int64Kind: 1, protoreflect.Uint32Kind: 1, protoreflect.Uint64Kind: 1, protoreflect.BoolKind: 1,
	protoreflect.Sint32Kind: 2, protoreflect.Sint64Kind: 2,
	protoreflect.Fixed32Kind: 3, protoreflect.Sfixed32Kind: 3,
	protoreflect.Fixed64Kind: 4, protoreflect.Sfixed64Kind: 4,
}

func compatible(there, here protoreflect.Kind) bool {
	switch {
	case there == here:
		return true
	case there == protoreflect.StringKind && here == protoreflect.BytesKind:
		return true // but not the other way round: not all bytes are UTF-8
	}
	return wireGroups[there] != 0 && wireGroups[there] == wireGroups[here]
}

// enum compares the enums of a field: a value may be missing only where its number is reserved.
func (w *comparison) enum(t, h protoreflect.FieldDescriptor) string {
	there, here := t.Enum(), h.Enum()
	if w.seen[there.FullName()+">"+here.FullName()] {
		return ""
	}
	w.seen[there.FullName()+">"+here.FullName()] = true
	values := there.Values()
	for i := range values.Len() {
		v := values.Get(i)
		if here.Values().ByNumber(v.Number()) == nil && !here.ReservedRanges().Has(v.Number()) {
			return fmt.Sprintf("%s: value %d (%s) of enum %s there is missing in enum %s here",
				nameOf(t), v.Number(), v.Name(), there.FullName(), here.FullName())
		}
	}
	return ""
}
