package reflection_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectinprocess"
	"connectrpc.com/grpcreflect/v2"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/health"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/reflection"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a chain of three nodes, the Greeter at c, and a caller of a's reflection.
type world struct {
	*rpcmeshtest.Cluster
	server *connect.Server
	*grpcreflect.ClientStream
}

func inBubble(t *testing.T, test func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{Cluster: rpcmeshtest.New(t), server: connect.NewServer()}
		for _, name := range []string{"a", "b", "c"} {
			w.Node(name)
		}
		w.Link("b", "a", "public")
		w.Link("c", "b", "public")
		if _, err := greetv1rpcmesh.RegisterGreeterOrigin(w.Node("c").Namespace("public"), greetv1rpcmesh.UnimplementedGreeterServer{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		ns := w.Node("a").Namespace("public")
		w.server.Register(reflection.Methods(ns, func(err error, _ string) error { return err }, health.Methods(ns, nil)...)...)
		w.ClientStream = w.open(t.Context())
		defer func() {
			if err := w.ClientStream.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(t, w)
	})
}

func (w *world) open(ctx context.Context) *grpcreflect.ClientStream {
	client := connect.NewClient(connectinprocess.New(w.server))
	return grpcreflect.NewClient(client).NewStream(ctx)
}

// files describes files to each other, in order, each in the text format.
func files(t *testing.T, texts ...string) (all []protoreflect.FileDescriptor) {
	t.Helper()
	known := new(protoregistry.Files)
	for _, text := range texts {
		file := new(descriptorpb.FileDescriptorProto)
		if err := prototext.Unmarshal([]byte(text), file); err != nil {
			t.Fatal(err)
		}
		described, err := protodesc.NewFile(file, known)
		if err != nil {
			t.Fatal(err)
		}
		if err := known.RegisterFile(described); err != nil {
			t.Fatal(err)
		}
		all = append(all, described)
	}
	return all
}

// offer registers the methods of a file's first service at b.
func (w *world) offer(t *testing.T, file protoreflect.FileDescriptor) *rpcmesh.Origin {
	t.Helper()
	var methods []connect.Method
	service := file.Services().Get(0)
	for i := range service.Methods().Len() {
		m := service.Methods().Get(i)
		methods = append(methods, connect.Method{
			Spec:    connect.Spec{Procedure: "/" + string(service.FullName()) + "/" + string(m.Name()), Schema: m},
			Handler: func(context.Context, connect.Spec, connect.ServerStream) error { return nil },
		})
	}
	o, err := w.Node("b").Namespace("public").Register(methods...)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return o
}

// paths are the paths of files, the first as it is and the others sorted.
func paths(files []*descriptorpb.FileDescriptorProto) (paths []string) {
	for _, f := range files {
		paths = append(paths, f.GetName())
	}
	if len(paths) > 1 {
		slices.Sort(paths[1:])
	}
	return paths
}

func want[T any](t *testing.T, what string, got, want T, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	} else if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantMissing[T any](t *testing.T, what string, got T, err error, parts ...string) {
	t.Helper()
	if connect.CodeOf(err) != connect.CodeNotFound || grpcreflect.IsReflectionStreamBroken(err) {
		t.Errorf("%s: got %v, %v", what, got, err)
	}
	for _, part := range parts {
		if err != nil && !strings.Contains(err.Error(), part) {
			t.Errorf("%s: no %q in %v", what, part, err)
		}
	}
}

const greetFile = "example/greet/v1/greet.proto"

func TestServices(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		own := []protoreflect.FullName{
			"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		}
		names, err := w.ListServices()
		want(t, "services", names, append([]protoreflect.FullName{"example.greet.v1.Greeter"}, own...), err)
		w.Cut("b", "c")
		synctest.Wait()
		names, err = w.ListServices()
		want(t, "services behind a cut link", names, own, err)
		for _, name := range own {
			files, err := w.FileContainingSymbol(name)
			if err != nil || len(files) != 1 {
				t.Errorf("%s: %v, %v", name, paths(files), err)
			}
		}
	})
}

func TestSymbols(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for _, name := range []protoreflect.FullName{
			"example.greet.v1.Greeter", "example.greet.v1.Greeter.Chat", "example.greet.v1.SumRequest", "example.greet.v1.SumRequest.number",
		} {
			files, err := w.FileContainingSymbol(name)
			want(t, string(name), paths(files), []string{greetFile}, err)
		}
		files, err := w.FileByFilename(greetFile)
		want(t, greetFile, paths(files), []string{greetFile}, err)
		for _, name := range []protoreflect.FullName{"example.greet.v1.Nobody", "example.greet.v1", "", "google.protobuf.Any"} {
			files, err := w.FileContainingSymbol(name)
			wantMissing(t, string(name), files, err)
		}
		_, err = w.FileByFilename("google/protobuf/any.proto")
		wantMissing(t, "a file that is only linked in", files, err, "any.proto", "public")
	})
}

const (
	base = `name: "base.proto" package: "base.v1" syntax: "proto2"
		message_type { name: "Other" extension_range { start: 100 end: 200 } }
		message_type { name: "Options" extension_range { start: 100 end: 200 } nested_type { name: "Inner" } }`
	first = `name: "service.proto" package: "first.v1" syntax: "proto2" dependency: "base.proto"
		message_type { name: "Req"
			extension { name: "deep" number: 101 label: LABEL_OPTIONAL type: TYPE_STRING extendee: ".base.v1.Options" } }
		extension { name: "flat" number: 100 label: LABEL_OPTIONAL type: TYPE_INT32 extendee: ".base.v1.Options" }
		service { name: "First" method { name: "Do" input_type: ".first.v1.Req" output_type: ".base.v1.Options" } }`
	second = `name: "service.proto" package: "second.v1" syntax: "proto2"
		message_type { name: "Req" }
		service { name: "Second" method { name: "Do" input_type: ".second.v1.Req" output_type: ".second.v1.Req" } }`
)

// TestFilesOfOneName: two origins may have files of one path, which have nothing to do with each other.
func TestFilesOfOneName(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.offer(t, files(t, base, first)[1])
		w.offer(t, files(t, second)[0])
		for _, tt := range []struct {
			name protoreflect.FullName
			pkg  string
		}{{"first.v1.First", "first.v1"}, {"second.v1.Second", "second.v1"}, {"first.v1.Req", "first.v1"}, {"second.v1.Req", "second.v1"}} {
			files, err := w.open(t.Context()).FileContainingSymbol(tt.name)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			want(t, string(tt.name), files[0].GetPackage(), tt.pkg, nil)
		}
		files, err := w.FileContainingSymbol("first.v1.First")
		want(t, "with imports", paths(files), []string{"service.proto", "base.proto"}, err)
		files, err = w.FileContainingSymbol("base.v1.Options.Inner")
		want(t, "in an import", paths(files), []string{"base.proto"}, err)
	})
}

func TestExtensions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		origin := w.offer(t, files(t, base, first)[1])
		numbers, err := w.AllExtensionNumbers("base.v1.Options")
		want(t, "numbers", numbers, []protoreflect.FieldNumber{100, 101}, err)
		numbers, err = w.AllExtensionNumbers("first.v1.Req")
		want(t, "numbers of what has none", numbers, []protoreflect.FieldNumber{}, err)
		for _, number := range []protoreflect.FieldNumber{100, 101} {
			files, err := w.open(t.Context()).FileContainingExtension("base.v1.Options", number)
			want(t, "extension", paths(files), []string{"service.proto", "base.proto"}, err)
		}
		files, err := w.FileContainingExtension("base.v1.Options", 102)
		wantMissing(t, "no such extension", files, err)
		files, err = w.FileContainingExtension("base.v1.Other", 101)
		wantMissing(t, "an extension of another message", files, err)
		if err := origin.Unregister(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		numbers, err = w.AllExtensionNumbers("base.v1.Options")
		wantMissing(t, "withdrawn", numbers, err)
	})
}

// TestTwoVersions: where two origins share a service, each method is described as it was registered.
func TestTwoVersions(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.offer(t, files(t, second)[0])
		w.offer(t, files(t, strings.NewReplacer("Do", "Redo", "service.proto", "newer.proto").Replace(second))[0])
		for method, path := range map[protoreflect.FullName]string{
			"second.v1.Second.Do": "service.proto", "second.v1.Second.Redo": "newer.proto",
		} {
			files, err := w.FileContainingSymbol(method)
			want(t, string(method), paths(files), []string{path}, err)
		}
	})
}

// TestOwnFirst: the services that come with reflection hide those of the namespace by the same name.
func TestOwnFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.offer(t, files(t, strings.NewReplacer("second.v1", "grpc.health.v1", "Second", "Health").Replace(second))[0])
		names, err := w.ListServices()
		if err != nil || len(names) != 4 {
			t.Errorf("services: %v, %v", names, err)
		}
	})
}

// TestNoSchema: a function that was registered without a schema is listed, and hides nothing.
func TestNoSchema(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		_, err := w.Node("b").Namespace("public").Register(connect.Method{
			Spec:    connect.Spec{Procedure: "/example.greet.v1.Bare/Do"},
			Handler: func(context.Context, connect.Spec, connect.ServerStream) error { return nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		names, err := w.ListServices()
		if err != nil || !slices.Contains(names, "example.greet.v1.Bare") {
			t.Errorf("services: %v, %v", names, err)
		}
		found, err := w.FileContainingSymbol("example.greet.v1.Bare")
		wantMissing(t, "a service without a schema", found, err, "schema")
		found, err = w.FileContainingSymbol("example.greet.v1.SumRequest")
		want(t, "beside it", paths(found), []string{greetFile}, err)
		found, err = w.FileContainingSymbol("example.greet.v1.Nobody")
		wantMissing(t, "where not all is known", found, err, "schema")
	})
}

// TestMany: what is looked for is found among many services, and no more is fetched than is needed.
func TestMany(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for i := range 100 {
			name := string(rune('a'+i/26)) + string(rune('a'+i%26))
			w.offer(t, files(t, strings.NewReplacer("second", "p"+name, "service.proto", name+".proto").Replace(second))[0])
		}
		files, err := w.FileContainingSymbol("pcv.v1.Req")
		want(t, "the last", paths(files), []string{"cv.proto"}, err)
		files, err = w.FileByFilename("cv.proto")
		want(t, "by path", paths(files), []string{"cv.proto"}, err)
		_, err = w.FileContainingSymbol("nobody.Knows")
		wantMissing(t, "none", files, err)
	})
}

// TestOldVersion: tools that know v1alpha alone are answered alike.
func TestOldVersion(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		old := connect.NewServer()
		for spec := range w.server.Specs() {
			if strings.Contains(spec.Procedure, "v1alpha") {
				old.Register(connect.Method{Spec: spec, Handler: func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
					info, _ := connect.CallInfoForServerContext(ctx)
					return w.server.Call(ctx, spec.Procedure, info, stream)
				}})
			}
		}
		stream := grpcreflect.NewClient(connect.NewClient(connectinprocess.New(old))).NewStream(t.Context())
		files, err := stream.FileContainingSymbol("example.greet.v1.Greeter")
		want(t, "by v1alpha", paths(files), []string{greetFile}, err)
		if err := stream.Close(); err != nil {
			t.Error(err)
		}
	})
}
