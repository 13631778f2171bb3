package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	_ "google.golang.org/protobuf/types/known/timestamppb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// built returns files that texts describe, each of which may import those before.
func built(t testing.TB, texts ...string) (files []protoreflect.FileDescriptor) {
	t.Helper()
	known := new(protoregistry.Files)
	for _, text := range texts {
		f := new(descriptorpb.FileDescriptorProto)
		if err := prototext.Unmarshal([]byte(text), f); err != nil {
			t.Fatal(err)
		}
		file, err := protodesc.NewFile(f, known)
		if err != nil {
			t.Fatal(err)
		}
		if err := known.RegisterFile(file); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// declared returns all methods of a file's services; their handlers answer with nothing.
func declared(file protoreflect.FileDescriptor) (methods []connect.Method) {
	for i := range file.Services().Len() {
		service := file.Services().Get(i)
		for j := range service.Methods().Len() {
			md := service.Methods().Get(j)
			spec := connect.Spec{Procedure: "/" + string(service.FullName()) + "/" + string(md.Name()), Schema: md}
			methods = append(methods, unary(spec, func(context.Context, string) (string, error) { return "", nil }))
		}
	}
	return methods
}

const (
	pageV1 = `name: "shared/common.proto" package: "shared" ` +
		`message_type { name: "Page" field { name: "size" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 } extension_range { start: 100 end: 200 } } `
	pageV2   = pageV1 + `message_type { name: "Cursor" field { name: "at" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING } } `
	accounts = `name: "accounts/v1/accounts.proto" package: "accounts.v1" dependency: "shared/common.proto"
		service { name: "Accounts" method { name: "List" input_type: ".shared.Page" output_type: ".shared.Page" } }`
	orders = `name: "orders/v1/orders.proto" package: "orders.v1" dependency: "shared/common.proto"
		extension { name: "urgent" number: 100 label: LABEL_OPTIONAL type: TYPE_BOOL extendee: ".shared.Page" }
		enum_type { name: "State" value { name: "NEW" number: 0 } }
		service { name: "Orders" method { name: "List" input_type: ".shared.Cursor" output_type: ".shared.Cursor" } }`
)

// shop is a world with services at two nodes that import two versions of one file.
func shop(t *testing.T, test func(t *testing.T, ns *rpcmesh.Namespace)) {
	synctest.Test(t, func(t *testing.T) {
		c := rpcmeshtest.New(t)
		c.Link("b", "a", "public")
		c.Link("c", "b", "public")
		for node, texts := range map[string][]string{"b": {pageV1, accounts}, "c": {pageV2, orders}} {
			if _, err := c.Node(node).Namespace("public").Register(declared(built(t, texts...)[1])...); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		test(t, c.Node("a").Namespace("public"))
	})
}

// TestTypes finds what the schemas of a namespace define, of whichever node.
func TestTypes(t *testing.T) {
	shop(t, func(t *testing.T, ns *rpcmesh.Namespace) {
		for range 2 { // as schemas come, and once all are known
			types := ns.Types(t.Context(), nil)
			for _, name := range []protoreflect.FullName{
				"shared.Page", "shared.Page.size", "shared.Cursor", "accounts.v1.Accounts", "orders.v1.Orders.List",
				"orders.v1.urgent", "orders.v1.State", "orders.v1.NEW",
			} {
				if d, err := types.FindDescriptorByName(name); err != nil || d.FullName() != name {
					t.Errorf("%s: %v, %v", name, d, err)
				}
			}
			if mt, err := types.FindMessageByURL("type.googleapis.com/shared.Cursor"); err != nil || mt.Descriptor().FullName() != "shared.Cursor" {
				t.Errorf("by URL: %v, %v", mt, err)
			}
			if mt, err := types.FindMessageByName("google.protobuf.Timestamp"); err != nil {
				t.Errorf("of the program: %v, %v", mt, err)
			}
			if xt, err := types.FindExtensionByNumber("shared.Page", 100); err != nil || xt.TypeDescriptor().FullName() != "orders.v1.urgent" {
				t.Errorf("by number: %v, %v", xt, err)
			}
			if xt, err := types.FindExtensionByName("orders.v1.urgent"); err != nil || xt.TypeDescriptor().Number() != 100 {
				t.Errorf("by name: %v, %v", xt, err)
			}
			var numbers []protoreflect.FieldNumber
			types.RangeExtensionsByMessage("shared.Page", func(xt protoreflect.ExtensionType) bool {
				numbers = append(numbers, xt.TypeDescriptor().Number())
				return true
			})
			if diff := cmp.Diff([]protoreflect.FieldNumber{100}, numbers); diff != "" {
				t.Errorf("extensions (-want +got):\n%s", diff)
			}
			if file, err := types.FindFileByPath("orders/v1/orders.proto"); err != nil || file.Package() != "orders.v1" {
				t.Errorf("by path: %v, %v", file, err)
			}
		}
		if diff := cmp.Diff([]string{"accounts.v1.Accounts", "orders.v1.Orders"}, slices.Collect(ns.Services())); diff != "" {
			t.Errorf("services (-want +got):\n%s", diff)
		}
		if f, ok := ns.FindService("orders.v1.Orders"); !ok || f.Procedure != "/orders.v1.Orders/List" {
			t.Errorf("service: %v, %v", f, ok)
		}
	})
}

// TestTypesNotFound: what is nowhere is not found, and says so as the libraries expect it.
func TestTypesNotFound(t *testing.T) {
	shop(t, func(t *testing.T, ns *rpcmesh.Namespace) {
		types := ns.Types(t.Context(), nil)
		for range 2 {
			_, descriptor := types.FindDescriptorByName("shared.Nobody")
			_, message := types.FindMessageByName("orders.v1.Orders") // a service
			_, path := types.FindFileByPath("nowhere.proto")
			_, number := types.FindExtensionByNumber("shared.Page", 101)
			_, name := types.FindExtensionByName("shared.Page")
			for _, err := range []error{descriptor, message, path, number, name} {
				if err != protoregistry.NotFound {
					t.Errorf("got %v", err)
				}
			}
		}
		if _, ok := ns.FindService("shared.Page"); ok {
			t.Error("a message is a service")
		}
	})
}

// TestTypesVersions: where two versions of a file differ, the schema at hand counts, then the name.
func TestTypesVersions(t *testing.T) {
	shop(t, func(t *testing.T, ns *rpcmesh.Namespace) {
		for _, procedure := range []string{"/accounts.v1.Accounts/List", "/orders.v1.Orders/List"} {
			schema, err := ns.Schema(t.Context(), procedure)
			if err != nil {
				t.Fatal(err)
			}
			page, err := ns.Types(t.Context(), schema).FindFileByPath("shared/common.proto")
			if err != nil {
				t.Fatal(err)
			}
			if want := schema.Method().Input().ParentFile(); page.Messages().Len() != want.Messages().Len() {
				t.Errorf("%s: another version's", procedure)
			}
		}
		for range 3 {
			page, err := ns.Types(t.Context(), nil).FindFileByPath("shared/common.proto")
			if err != nil || page.Messages().Len() != 1 {
				t.Errorf("got %v, %v, want that of accounts", page, err)
			}
		}
	})
}

// TestTypesAny turns an Any that holds another service's message into JSON and back.
func TestTypesAny(t *testing.T) {
	shop(t, func(t *testing.T, ns *rpcmesh.Namespace) {
		schema, err := ns.Schema(t.Context(), "/accounts.v1.Accounts/List")
		if err != nil {
			t.Fatal(err)
		}
		types := ns.Types(t.Context(), schema)
		anyType, err := types.FindMessageByName("google.protobuf.Any")
		if err != nil {
			t.Fatal(err)
		}
		msg := dynamicpb.NewMessage(anyType.Descriptor())
		const text = `{"@type":"type.googleapis.com/shared.Cursor","at":"here"}`
		if err := (protojson.UnmarshalOptions{Resolver: types}).Unmarshal([]byte(text), msg); err != nil {
			t.Fatal(err)
		}
		got, err := protojson.MarshalOptions{Resolver: types}.Marshal(msg)
		if err != nil || strings.ReplaceAll(string(got), " ", "") != text {
			t.Errorf("got %s, %v", got, err)
		}
	})
}

// TestTypesUnreachable: a schema that cannot be had hides nothing that others define, and is asked for again.
func TestTypesUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rpcmeshtest.New(t)
		c.Link("b", "a", "public")
		if _, err := c.Node("b").Namespace("public").Register(declared(built(t, pageV2, orders)[1])...); err != nil {
			t.Fatal(err)
		}
		bare := unary(connect.Spec{Procedure: "/bare.v1.Bare/Do"}, func(context.Context, string) (string, error) { return "", nil })
		if _, err := c.Node("b").Namespace("public").Register(bare); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ns := c.Node("a").Namespace("public")
		types := ns.Types(t.Context(), nil)
		for range 2 {
			if _, err := types.FindMessageByName("shared.Cursor"); err != nil {
				t.Error(err)
			}
			if _, err := types.FindMessageByName("bare.v1.Req"); err == nil || errors.Is(err, protoregistry.NotFound) || !strings.Contains(err.Error(), "/bare.v1.Bare/Do") {
				t.Errorf("where not all is known: %v", err)
			}
			if _, err := types.FindExtensionByNumber("shared.Page", 150); err != protoregistry.NotFound {
				t.Errorf("an extension where not all is known: %v", err)
			}
		}
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Node("a").Namespace("public").Types(canceled, nil).FindMessageByName("shared.Cursor"); err != nil {
			t.Errorf("what is known needs no waiting: %v", err)
		}
	})
}

// TestTypesFollow: what functions come and go with is found and not found any more.
func TestTypesFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := rpcmeshtest.New(t)
		c.Link("b", "a", "public")
		ns := c.Node("a").Namespace("public")
		types := ns.Types(t.Context(), nil)
		for range 2 {
			if _, err := types.FindMessageByName("shared.Cursor"); err != protoregistry.NotFound {
				t.Errorf("before: %v", err)
			}
			origin, err := c.Node("b").Namespace("public").Register(declared(built(t, pageV2, orders)[1])...)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if _, err := types.FindMessageByName("shared.Cursor"); err != nil {
				t.Error(err)
			}
			if err := origin.Unregister(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
	})
}

// BenchmarkTypes looks up a name that is nowhere, and one that is far away, among 10,620 functions of 1,391
// services.
func BenchmarkTypes(b *testing.B) {
	c := rpcmeshtest.New(b)
	c.Link("b", "a", "public")
	const services, functions = 1391, 10_620
	for i := range services {
		var text strings.Builder
		fmt.Fprintf(&text, `name: "s%d.proto" package: "p%d.v1" service { name: "S" `, i, i)
		for j := range functions/services + 1 {
			if i*(functions/services+1)+j < functions {
				fmt.Fprintf(&text, `method { name: "M%d" input_type: ".p%d.v1.Req" output_type: ".p%[2]d.v1.Req" } `, j, i)
			}
		}
		text.WriteString("} " + fields("Req", 20))
		for j := range 20 {
			text.WriteString(fields(fmt.Sprintf("Other%d", j), 10))
		}
		if _, err := c.Node("b").Namespace("public").Register(declared(built(b, text.String())[0])...); err != nil {
			b.Fatal(err)
		}
	}
	ns := c.Node("a").Namespace("public")
	if err := c.Node("b").Namespace("public").WaitVisible(b.Context()); err != nil {
		b.Fatal(err)
	}
	types := ns.Types(b.Context(), nil)
	b.Run("first", func(b *testing.B) {
		for b.Loop() {
			if _, err := types.FindMessageByName("nowhere.v1.Nothing"); err != protoregistry.NotFound {
				b.Fatal(err)
			}
		}
	})
	b.Run("unknown", func(b *testing.B) {
		for b.Loop() {
			if _, err := types.FindMessageByName("nowhere.v1.Nothing"); err != protoregistry.NotFound {
				b.Fatal(err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		for b.Loop() {
			if _, err := types.FindMessageByName("p700.v1.Other7"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
