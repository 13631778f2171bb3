package reflection_test

import (
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

const (
	common1 = `name: "shared/common.proto" package: "shared" syntax: "proto3"
		message_type { name: "Page" field { name: "size" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 json_name: "size" } } `
	common2 = common1 + `message_type { name: "Cursor" } `
	middle  = `name: "shared/middle.proto" package: "middle" syntax: "proto3" dependency: "shared/common.proto"
		message_type { name: "M" field { name: "page" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".shared.Page" json_name: "page" } } `
	accounts = `name: "accounts/v1/accounts.proto" package: "accounts.v1" syntax: "proto3" dependency: ["shared/common.proto", "shared/middle.proto"]
		service { name: "Accounts" method { name: "List" input_type: ".shared.Page" output_type: ".middle.M" } }`
	orders = `name: "orders/v1/orders.proto" package: "orders.v1" syntax: "proto3" dependency: ["shared/common.proto", "shared/middle.proto"]
		service { name: "Orders" method { name: "List" input_type: ".shared.Cursor" output_type: ".middle.M" } }`
)

// client keeps files by their path as tools do: the first that comes stands.
type client map[string]*descriptorpb.FileDescriptorProto

func (c client) take(files []*descriptorpb.FileDescriptorProto) {
	for _, f := range files {
		if c[f.GetName()] == nil {
			c[f.GetName()] = f
		}
	}
}

// resolve builds a file and what it imports from what is kept.
func (c client) resolve(t *testing.T, path string, into *protoregistry.Files) protoreflect.FileDescriptor {
	t.Helper()
	if file, err := into.FindFileByPath(path); err == nil {
		return file
	}
	described := c[path]
	if described == nil {
		t.Fatalf("%s was not told", path)
	}
	for _, imported := range described.GetDependency() {
		c.resolve(t, imported, into)
	}
	file, err := protodesc.NewFile(described, into)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := into.RegisterFile(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestVersionsOfAnImport: services that import different versions of one file can both be resolved on one stream,
// whichever is asked for first, and again.
func TestVersionsOfAnImport(t *testing.T) {
	for _, order := range [][]protoreflect.FullName{
		{"accounts.v1.Accounts", "orders.v1.Orders", "accounts.v1.Accounts", "orders.v1.Orders"},
		{"orders.v1.Orders", "accounts.v1.Accounts.List", "orders.v1.Orders.List"},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.offer(t, files(t, common1, middle, accounts)[2])
			w.offer(t, files(t, common2, middle, orders)[2])
			kept := client{}
			for _, symbol := range order {
				told, err := w.FileContainingSymbol(symbol)
				if err != nil {
					t.Fatalf("%s: %v", symbol, err)
				}
				kept.take(told)
				into := new(protoregistry.Files)
				kept.resolve(t, told[0].GetName(), into)
				if _, err := into.FindDescriptorByName(symbol); err != nil {
					t.Errorf("%s: %v", symbol, err)
				}
				for path := range kept {
					again, err := w.FileByFilename(path)
					if err != nil || again[0].GetName() != path {
						t.Errorf("%s by its path: %v, %v", path, paths(again), err)
					}
				}
			}
			if len(kept) != 6 {
				t.Errorf("%d files were told, want 6: two of each", len(kept))
			}
		})
	}
}
