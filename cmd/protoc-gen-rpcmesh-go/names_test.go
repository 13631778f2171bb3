package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

// FuzzNames makes services of names that come as words: a word that begins with '*' is a service, any
// other a method of the last one, a stream if '+' precedes it, and "|" begins another file of the
// package. Whatever the names are, no Go name may be declared twice; and they are declared as often as
// methods are there.
func FuzzNames(f *testing.F) {
	f.Add("*A +BC *AB +C | *ABC D *A_ +BC")
	f.Add("*foo get_x GetX getX GetX_ *Foo +x *FOO *foo_ | *_foo _")
	f.Add("*New a *NewNew a *Unimplemented a *UnimplementedNew a *Register a")
	f.Add("*M | *MClient Server *M_ Name +Client")
	f.Add("*x_y +z *x +y_z *xY +Z *XY_ +_z")
	f.Fuzz(func(t *testing.T, words string) {
		req, methods := requestOf(words)
		if req == nil {
			t.Skip("not a valid .proto file")
		}
		for _, suffix := range []string{"rpcmesh", ""} {
			req.Parameter = new("package_suffix=" + suffix)
			res := respond(t, req)
			if res.Error != nil {
				t.Fatal(res.GetError())
			}
			declared := map[string]bool{"M": suffix == "", "File_0_proto": suffix == ""}
			procedures := 0
			for _, file := range res.GetFile() {
				names := declarationsOf(t, file.GetContent())
				for i, name := range names {
					if declared[name] || slices.Contains(names[:i], name) {
						t.Errorf("%s is declared twice:\n%s", name, file.GetContent())
					}
					if strings.HasSuffix(name, "Procedure") && token.IsExported(name) {
						procedures++
					}
				}
				for _, name := range names {
					declared[name] = true
				}
			}
			if procedures < methods {
				t.Errorf("%d procedures of %d methods", procedures, methods)
			}
		}
	})
}

// requestOf makes a request of words, or none if they give no valid files.
func requestOf(words string) (req *pluginpb.CodeGeneratorRequest, methods int) {
	req = new(pluginpb.CodeGeneratorRequest)
	goPackage := &descriptorpb.FileOptions{GoPackage: new("example.com/p")}
	message := "M"
	seen := make(map[string]bool)
	valid := func(name string) bool {
		isNew := !seen[name]
		seen[name] = true
		plain := strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.") == ""
		local := name[strings.LastIndex(name, ".")+1:]
		return isNew && plain && local != "" && strings.Trim(local[:1], "0123456789.") != ""
	}
	valid(message)
	for i, part := range strings.Split(words, "|") {
		file := &descriptorpb.FileDescriptorProto{
			Name: new(fmt.Sprint(i, ".proto")), Package: new("p"), Syntax: new("proto3"), Options: goPackage,
		}
		if i == 0 {
			file.MessageType = []*descriptorpb.DescriptorProto{{Name: &message}}
		} else {
			file.Dependency = []string{"0.proto"}
		}
		for word := range strings.FieldsSeq(part) {
			if name, isService := strings.CutPrefix(word, "*"); isService {
				if strings.Contains(name, ".") || !valid(name) {
					return nil, 0
				}
				file.Service = append(file.Service, &descriptorpb.ServiceDescriptorProto{Name: &name})
				continue
			}
			name, isStream := strings.CutPrefix(word, "+")
			if len(file.Service) == 0 || strings.Contains(name, ".") {
				return nil, 0
			}
			service := file.Service[len(file.Service)-1]
			if !valid(service.GetName() + "." + name) {
				return nil, 0
			}
			service.Method = append(service.Method, &descriptorpb.MethodDescriptorProto{
				Name: &name, InputType: new(".p.M"), OutputType: new(".p.M"), ServerStreaming: &isStream,
			})
			methods++
		}
		req.ProtoFile = append(req.ProtoFile, file)
		req.FileToGenerate = append(req.FileToGenerate, file.GetName())
	}
	return req, methods
}

// declarationsOf returns the names that a Go file declares in its package and, as "T.m", in its
// interfaces, and as "(T).m" for methods.
func declarationsOf(t *testing.T, source string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.SkipObjectResolution)
	if err != nil {
		t.Fatalf("%v\n%s", err, source)
	}
	var names []string
	for _, decl := range file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			name := decl.Name.Name
			if decl.Recv != nil {
				receiver := decl.Recv.List[0].Type
				if pointer, ok := receiver.(*ast.StarExpr); ok {
					receiver = pointer.X
				}
				name = fmt.Sprintf("(%s).%s", receiver, name)
			}
			names = append(names, name)
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				names = append(names, specNames(spec)...)
			}
		}
	}
	return names
}

func specNames(spec ast.Spec) []string {
	var names []string
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if name.Name != "_" {
				names = append(names, name.Name)
			}
		}
	case *ast.TypeSpec:
		names = append(names, spec.Name.Name)
		if methods, ok := spec.Type.(*ast.InterfaceType); ok {
			for _, method := range methods.Methods.List {
				names = append(names, spec.Name.Name+"."+method.Names[0].Name)
			}
		}
	}
	return names
}
