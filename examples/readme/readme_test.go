// Package readme holds the README to what it says: its programs are generated, compiled and run as they
// stand.
package readme

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

var withBuf = flag.Bool("buf", false, "follow the README's steps with buf, which takes minutes to build the first time and needs the port 8220")

const (
	modulePath = "github.com/rpcmesh/rpcmesh"
	protoFile  = "greet/v1/greet.proto"
	complete   = "A complete program"
)

// plugins are what the README's buf.gen.yaml runs.
var plugins = map[string]string{
	"protoc-gen-go":         "google.golang.org/protobuf/cmd/protoc-gen-go",
	"protoc-gen-rpcmesh-go": modulePath + "/cmd/protoc-gen-rpcmesh-go",
}

// TestProgram generates the README's program, compiles each of its blocks of Go, and runs it. The
// descriptors come from testdata, where protoc and buf are not to be had.
func TestProgram(t *testing.T) {
	user := module(t)
	request := &pluginpb.CodeGeneratorRequest{
		FileToGenerate: []string{protoFile},
		Parameter:      new("paths=source_relative"),
		ProtoFile:      descriptors(t).GetFile(),
	}
	for name, plugin := range buildPlugins() {
		if !strings.Contains(textOf(t, "buf.gen.yaml"), "[go, tool, "+name+"]") {
			t.Errorf("buf.gen.yaml does not run %s", name)
		}
		generate(t, plugin, request, filepath.Join(user, "gen"))
	}
	run(t, user, "go", "vet", "./...")
	greet(t, user)
}

// TestProtoc generates the README's program by the README's command of protoc. It also holds testdata to
// the README's .proto file.
func TestProtoc(t *testing.T) {
	if _, err := exec.LookPath("protoc"); err != nil {
		t.Skip("there is no protoc here: install it (Debian: protobuf-compiler) to run this test")
	}
	user := module(t)
	buildPlugins()
	t.Setenv("PATH", pluginFolder+string(filepath.ListSeparator)+os.Getenv("PATH"))
	run(t, user, "bash", "-euc", shell(t, "Generating code"))
	run(t, user, "go", "vet", "./...")

	set := filepath.Join(t.TempDir(), "set")
	run(t, user, "protoc", "--descriptor_set_out="+set, protoFile)
	encoded, err := os.ReadFile(set)
	if err != nil {
		t.Fatal(err)
	}
	fresh := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(encoded, fresh); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(fresh, descriptors(t)) {
		t.Errorf("%s is not what the README's %s compiles to: write it anew with protoc --descriptor_set_out", descriptorsFile, protoFile)
	}
}

// TestSteps follows the README's steps to the letter, in a folder beside this clone.
func TestSteps(t *testing.T) {
	if !*withBuf {
		t.Skip("run with -buf to have this test")
	}
	beside := t.TempDir()
	if err := os.Symlink(root(t), filepath.Join(beside, "rpcmesh")); err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, b := range blocks(t) {
		if b.section == complete && b.language == "sh" {
			steps = append(steps, b.text)
		}
	}
	run(t, beside, "bash", "-euc", steps[0])
	user := filepath.Join(beside, "hello")
	saveFiles(t, user)
	beforeServer, server, _ := strings.Cut(steps[1], "go run ./server")
	if server != "\n" || steps[2] != "go run ./client\n" {
		t.Fatalf("the README's steps have changed: %q", steps)
	}
	run(t, user, "bash", "-euc", beforeServer)
	greet(t, user)
}

// TestBufVersion holds the README's buf to the one that this repository is generated with.
func TestBufVersion(t *testing.T) {
	mod, err := os.ReadFile("../../.ci/buf/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`github\.com/bufbuild/buf (v\S+)`).FindSubmatch(mod)[1]
	if !strings.Contains(shell(t, complete), "cmd/buf@"+string(version)+" generate") {
		t.Errorf("the README's buf is not %s", version)
	}
}
