package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

const pluginPackage = "github.com/rpcmesh/rpcmesh/cmd/protoc-gen-rpcmesh-go"

// TestPlugin drives the built plugin as buf and protoc do.
func TestPlugin(t *testing.T) {
	plugin := build(t, pluginPackage)
	res := runPlugin(t, plugin, request(t, goldenModule, "proto2/proto2.proto"))
	const name = "proto2/proto2rpcmesh/proto2.rpcmesh.go"
	if len(res.GetFile()) != 1 || res.GetFile()[0].GetName() != name {
		t.Fatalf("want %s, got %v", name, res)
	}
	if want := readGolden(t)[name]; res.GetFile()[0].GetContent() != want {
		t.Errorf("%s differs from what is checked in", name)
	}
	if res.GetMinimumEdition() != 998 || res.GetMaximumEdition() != 1001 || res.GetSupportedFeatures() != 3 {
		t.Errorf("editions %d to %d, features %b", res.GetMinimumEdition(), res.GetMaximumEdition(), res.GetSupportedFeatures())
	}
}

// TestPluginRefuses gives the built plugin what it cannot use. It reports this as protoc's interface
// has it: in the response where the .proto file or its options are at fault, on standard error and by
// its exit code otherwise. It never crashes.
func TestPluginRefuses(t *testing.T) {
	plugin := build(t, pluginPackage)
	marshal := func(req *pluginpb.CodeGeneratorRequest) []byte {
		data, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	noImports := request(t, "", "kinds/kinds.proto")
	for _, file := range noImports.GetProtoFile() {
		if file.GetName() == "kinds/kinds.proto" {
			file.Dependency = nil
		}
	}
	noGoPackage := request(t, "", "nopackage/nopackage.proto")
	for _, file := range noGoPackage.GetProtoFile() {
		file.Options = nil
	}
	tests := []struct {
		name  string
		args  []string
		stdin []byte
		want  string
	}{
		{"garbage", nil, []byte("GET / HTTP/1.1\r\n\r\n"), "cannot parse"},
		{"an argument", []string{"greet.proto"}, nil, `unknown argument "greet.proto"`},
		{"an unknown flag", []string{"-o", "gen"}, nil, "flag provided but not defined: -o"},
		{"an unknown option", nil, marshal(request(t, "package_sufix=x", "same/same.proto")), `unknown option "package_sufix"`},
		{"an unknown path type", nil, marshal(request(t, "paths=here", "same/same.proto")), `unknown path type "here"`},
		{"a bad suffix", nil, marshal(request(t, "package_suffix=-mesh", "same/same.proto")), `"same-mesh" is no Go package name`},
		{"another module", nil, marshal(request(t, "module=example.com/m", "same/same.proto")), "does not match prefix"},
		{"a file that is not there", nil, marshal(request(t, "", "none.proto")), "none.proto"},
		{"missing imports", nil, marshal(noImports), "kinds/kinds.proto"},
		{"no Go package", nil, marshal(noGoPackage), "unable to determine Go import path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := run(exec.Command(plugin, test.args...), test.stdin)
			said := stderr
			if err == nil {
				res := new(pluginpb.CodeGeneratorResponse)
				if err := proto.Unmarshal([]byte(stdout), res); err != nil {
					t.Fatal(err)
				}
				if said = res.GetError(); len(res.GetFile()) > 0 {
					t.Errorf("wrote %d files", len(res.GetFile()))
				}
			}
			if !strings.Contains(said, test.want) || strings.Contains(said, "goroutine ") {
				t.Errorf("said %q (%v), want %q", said, err, test.want)
			}
		})
	}
}

// TestPluginWarnsOfClash generates into the messages' package, where protoc-gen-go-grpc has the same names.
func TestPluginWarnsOfClash(t *testing.T) {
	plugin := build(t, pluginPackage)
	for _, test := range []struct {
		options, file string
		warns         bool
	}{
		{goldenModule + ",package_suffix=", "proto2/proto2.proto", true},
		{goldenModule + ",package_suffix=", "noservice/noservice.proto", false},
		{goldenModule, "proto2/proto2.proto", false},
	} {
		stdin, err := proto.Marshal(request(t, test.options, test.file))
		if err != nil {
			t.Fatal(err)
		}
		_, stderr, err := run(exec.Command(plugin), stdin)
		if err != nil || strings.Contains(stderr, "protoc-gen-go-grpc") != test.warns || !test.warns && stderr != "" {
			t.Errorf("%s with %q: said %q, %v", test.file, test.options, stderr, err)
		}
	}
}

func TestPluginSpeaksForItself(t *testing.T) {
	plugin := build(t, pluginPackage)
	if stdout, stderr, err := run(exec.Command(plugin, "--version"), nil); err != nil || !strings.HasPrefix(stdout, pluginName+" ") {
		t.Errorf("--version: %q, %q, %v", stdout, stderr, err)
	}
	if stdout, stderr, err := run(exec.Command(plugin, "--help"), nil); err != nil || !strings.Contains(stderr, "buf") {
		t.Errorf("--help: %q, %q, %v", stdout, stderr, err)
	}
}

// TestProtoc runs protoc with the plugin on its path.
func TestProtoc(t *testing.T) {
	protoc, err := exec.LookPath("protoc")
	if err != nil {
		t.Skip("there is no protoc here: install it (Debian: protobuf-compiler) to run this test")
	}
	path := filepath.Dir(build(t, pluginPackage)) + string(os.PathListSeparator) +
		filepath.Dir(build(t, "google.golang.org/protobuf/cmd/protoc-gen-go"))
	out := t.TempDir()
	cmd := exec.Command(protoc, "--proto_path=testdata/proto",
		"--go_out="+out, "--go_opt="+goldenModule, "--rpcmesh-go_out="+out, "--rpcmesh-go_opt="+goldenModule,
		"imports/imports.proto", "imports/ctx/m.proto", "proto2/proto2.proto", "collide/a.proto", "collide/b.proto")
	cmd.Env = append(os.Environ(), "PATH="+path)
	if stdout, stderr, err := run(cmd, nil); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	for _, name := range []string{
		"imports/importsrpcmesh/imports.rpcmesh.go",
		"proto2/proto2rpcmesh/proto2.rpcmesh.go",
		"collide/colliderpcmesh/a.rpcmesh.go",
		"collide/colliderpcmesh/b.rpcmesh.go",
	} {
		got, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(name)))
		if err != nil {
			t.Error(err)
		} else if string(got) != readGolden(t)[name] {
			t.Errorf("%s differs from what buf's descriptors give", name)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "imports", "ctx", "ctxrpcmesh")); err == nil {
		t.Error("a file without services gave output")
	}
}

// runPlugin gives a plugin a request and returns its response.
func runPlugin(t *testing.T, plugin string, req *pluginpb.CodeGeneratorRequest) *pluginpb.CodeGeneratorResponse {
	t.Helper()
	stdin, err := proto.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr, err := run(exec.Command(plugin), stdin)
	if err != nil {
		t.Fatalf("%s: %v\n%s", plugin, err, stderr)
	}
	res := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal([]byte(stdout), res); err != nil {
		t.Fatal(err)
	}
	return res
}

func run(cmd *exec.Cmd, stdin []byte) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// built holds the commands that the tests have built, in a folder of this process.
var built struct {
	sync.Mutex
	folder string
	paths  map[string]string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
	os.Exit(code)
}

// build builds a command, once, and returns where it is.
func build(t *testing.T, pkg string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[pkg]; ok {
		return path
	}
	if built.folder == "" {
		folder, err := os.MkdirTemp("", pluginName) //nolint:usetesting // shared by tests: it outlives each
		if err != nil {
			t.Fatal(err)
		}
		built.folder, built.paths = folder, make(map[string]string)
	}
	cmd := exec.Command("go", "build", "-o", built.folder+string(filepath.Separator), pkg)
	if stdout, stderr, err := run(cmd, nil); err != nil {
		t.Fatalf("building %s: %v\n%s%s", pkg, err, stdout, stderr)
	}
	path := filepath.Join(built.folder, filepath.Base(pkg))
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	built.paths[pkg] = path
	return path
}
