package main

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

//go:generate go tool -modfile=../../.ci/buf/go.mod buf build testdata --as-file-descriptor-set -o testdata/descriptors.binpb
//go:generate go test -run=TestGolden -update

var update = flag.Bool("update", false, "write internal/golden anew")

const (
	descriptorsFile = "testdata/descriptors.binpb"
	goldenFolder    = "internal/golden"
	goldenModule    = "module=github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/" + goldenFolder
)

// TestGolden compares what the plugin makes of testdata/proto with what is checked in. That is code of
// packages of its own, so that every build of the module proves that it compiles.
func TestGolden(t *testing.T) {
	var all []string
	for _, file := range descriptors(t).GetFile() {
		if name := file.GetName(); !strings.HasPrefix(name, "google/") && !strings.HasPrefix(name, "same/") {
			all = append(all, name)
		}
	}
	got := make(map[string]string)
	collect := func(res *pluginpb.CodeGeneratorResponse) {
		t.Helper()
		if res.Error != nil {
			t.Fatal(res.GetError())
		}
		for _, file := range res.GetFile() {
			got[file.GetName()] = file.GetContent()
		}
	}
	collect(respond(t, request(t, goldenModule, all...)))
	collect(respond(t, request(t, goldenModule+",package_suffix=", "same/same.proto")))
	protocGenGo := build(t, "google.golang.org/protobuf/cmd/protoc-gen-go")
	collect(runPlugin(t, protocGenGo, request(t, goldenModule, append(all, "same/same.proto")...)))

	if *update {
		writeGolden(t, got)
	}
	if diff := cmp.Diff(readGolden(t), got); diff != "" {
		t.Errorf("if the new output is right, run this test with -update (-checked in, +generated):\n%s", diff)
	}
}

// TestGeneratedTwice holds the plugin to giving one output for one input, in whatever order it comes.
func TestGeneratedTwice(t *testing.T) {
	forth := request(t, goldenModule, "collide/a.proto", "collide/b.proto", "imports/imports.proto")
	back := request(t, goldenModule, "imports/imports.proto", "collide/b.proto", "collide/a.proto")
	contents := func(res *pluginpb.CodeGeneratorResponse) map[string]string {
		m := make(map[string]string)
		for _, file := range res.GetFile() {
			m[file.GetName()] = file.GetContent()
		}
		return m
	}
	want := contents(respond(t, forth))
	if len(want) != 3 {
		t.Fatalf("%d files, want 3", len(want))
	}
	if diff := cmp.Diff(want, contents(respond(t, back))); diff != "" {
		t.Error(diff)
	}
}

func TestOutputNames(t *testing.T) {
	const golden = "github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go/internal/golden/"
	tests := []struct {
		name, param string
		files       []string
		want        []string
	}{
		{"by import path", "", []string{"shared/shared.proto", "edition2023/edition2023.proto"}, []string{
			golden + "edition2023/edition2023rpcmesh/edition2023.rpcmesh.go",
		}},
		{"beside the source", "paths=source_relative", []string{"odd-dir/odd.name-1.proto"}, []string{
			"odd-dir/odd_pkgrpcmesh/odd.name-1.rpcmesh.go",
		}},
		{"within a module", goldenModule, []string{"odd-dir/odd.name-1.proto"}, []string{
			"odd-dir/v1.2/odd_pkgrpcmesh/odd.name-1.rpcmesh.go",
		}},
		{"with M", "Mproto2/proto2.proto=example.com/else/where;name", []string{"proto2/proto2.proto"}, []string{
			"example.com/else/where/namerpcmesh/proto2.rpcmesh.go",
		}},
		{"with another suffix", goldenModule + ",package_suffix=mesh", []string{"proto2/proto2.proto"}, []string{
			"proto2/proto2mesh/proto2.rpcmesh.go",
		}},
		{"in the messages' package", goldenModule + ",package_suffix", []string{"proto2/proto2.proto"}, []string{
			"proto2/proto2.rpcmesh.go",
		}},
		{"with annotations", goldenModule + ",annotate_code", []string{"proto2/proto2.proto"}, []string{
			"proto2/proto2rpcmesh/proto2.rpcmesh.go", "proto2/proto2rpcmesh/proto2.rpcmesh.go.meta",
		}},
		{"without services", goldenModule, []string{"noservice/noservice.proto"}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			res := respond(t, request(t, test.param, test.files...))
			for _, file := range res.GetFile() {
				got = append(got, file.GetName())
			}
			if diff := cmp.Diff(test.want, got); diff != "" || res.Error != nil {
				t.Errorf("error %q, names (-want +got):\n%s", res.GetError(), diff)
			}
		})
	}
}

// descriptors returns testdata/proto as buf has compiled it.
func descriptors(t *testing.T) *descriptorpb.FileDescriptorSet {
	t.Helper()
	data, err := os.ReadFile(descriptorsFile)
	if err != nil {
		t.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(data, set); err != nil {
		t.Fatal(err)
	}
	return set
}

func request(t *testing.T, param string, files ...string) *pluginpb.CodeGeneratorRequest {
	t.Helper()
	return &pluginpb.CodeGeneratorRequest{
		FileToGenerate: files,
		Parameter:      new(param),
		ProtoFile:      descriptors(t).GetFile(),
	}
}

// respond runs the generator in this process.
func respond(t *testing.T, req *pluginpb.CodeGeneratorRequest) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	opts := defaultOptions()
	plugin, err := protogen.Options{ParamFunc: opts.set, ImportRewriteFunc: importPathOf}.New(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := generate(plugin, opts); err != nil {
		plugin.Error(err)
	}
	return plugin.Response()
}

func readGolden(t *testing.T) map[string]string {
	t.Helper()
	files := make(map[string]string)
	err := filepath.WalkDir(goldenFolder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(goldenFolder, path)
		files[filepath.ToSlash(name)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func writeGolden(t *testing.T, files map[string]string) {
	t.Helper()
	if err := os.RemoveAll(goldenFolder); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		writeFile(t, filepath.Join(goldenFolder, filepath.FromSlash(name)), content)
	}
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
