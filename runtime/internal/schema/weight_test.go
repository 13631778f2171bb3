package schema

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/descriptorpb"
)

// TestWeight: a set takes no more memory than it weighs, and not a small part of it, whatever is in it.
func TestWeight(t *testing.T) {
	const n = 5000
	message := func(name string) (*descriptorpb.FileDescriptorProto, *descriptorpb.DescriptorProto) {
		m := &descriptorpb.DescriptorProto{Name: new(name)}
		return &descriptorpb.FileDescriptorProto{Name: new("a"), MessageType: []*descriptorpb.DescriptorProto{m}}, m
	}
	fields := func(name string) *descriptorpb.FileDescriptorProto {
		f, m := message(name)
		for i := range n {
			m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
				Name: new(fmt.Sprint("f", i)), Number: new(int32(20_000 + i)), JsonName: new(fmt.Sprint("j", i)),
				Type: descriptorpb.FieldDescriptorProto_TYPE_BOOL.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			})
		}
		return f
	}
	for name, build := range map[string]func() *descriptorpb.FileDescriptorProto{
		"messages": func() *descriptorpb.FileDescriptorProto {
			f := &descriptorpb.FileDescriptorProto{Name: new("a")}
			for i := range n {
				f.MessageType = append(f.MessageType, &descriptorpb.DescriptorProto{Name: new(fmt.Sprint("m", i))})
			}
			return f
		},
		"fields":            func() *descriptorpb.FileDescriptorProto { return fields("M") },
		"fields, long name": func() *descriptorpb.FileDescriptorProto { return fields(strings.Repeat("M", MaxName-10)) },
		"values": func() *descriptorpb.FileDescriptorProto {
			e := &descriptorpb.EnumDescriptorProto{Name: new("E")}
			for i := range n {
				e.Value = append(e.Value, &descriptorpb.EnumValueDescriptorProto{Name: new(fmt.Sprint("v", i)), Number: new(int32(i))})
			}
			return &descriptorpb.FileDescriptorProto{Name: new("a"), EnumType: []*descriptorpb.EnumDescriptorProto{e}}
		},
		"a long default": func() *descriptorpb.FileDescriptorProto {
			f, m := message("M")
			m.Field = []*descriptorpb.FieldDescriptorProto{{
				Name: new("f"), Number: new(int32(1)), DefaultValue: new(strings.Repeat("d", MaxBytes/2)),
				Type: descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}}
			return f
		},
	} {
		file := build()
		before := held()
		s, err := parse(encode(t, file))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if took := held() - before; took > s.Weight()+64<<10 || took < s.Weight()/8 {
			t.Errorf("%s: %d bytes are held of a set that weighs %d", name, took, s.Weight())
		}
		runtime.KeepAlive(file)
		runtime.KeepAlive(s)
	}
}

// held returns how much memory is in use.
func held() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
