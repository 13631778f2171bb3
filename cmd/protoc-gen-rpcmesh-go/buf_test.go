package main

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// buf takes a minute or two to build when Go's build cache does not have it, and is nothing that a user
// of the module should have to download: its tests run when they are asked for.
var withBuf = flag.Bool("buf", false, "run the tests that need buf, building it from .ci/buf")

// TestBufDescriptors holds the checked-in descriptors to testdata/proto.
func TestBufDescriptors(t *testing.T) {
	fresh := filepath.Join(t.TempDir(), "fresh.binpb")
	inFolder(t, ".", bufCommand(t), "build", "testdata", "--as-file-descriptor-set", "-o", fresh)
	want, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(descriptorsFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what testdata/proto compiles to (%v): run go generate", descriptorsFile, err)
	}
}

// userProto and userTemplate are the least that a user needs.
const userProto = `syntax = "proto3";

package greet.v1;

service Greeter {
  rpc Greet(GreetRequest) returns (GreetResponse);
  rpc Chat(stream GreetRequest) returns (stream GreetResponse);
}

message GreetRequest {
  string name = 1;
}

message GreetResponse {
  string greeting = 1;
}
`

const userTemplate = `version: v2
inputs:
  - directory: proto
managed:
  enabled: true
  override:
    - file_option: go_package_prefix
      value: example.com/hello/gen
plugins:
  - local: [go, tool, protoc-gen-go]
    out: gen
    opt: paths=source_relative
  - local: [go, tool, protoc-gen-rpcmesh-go]
    out: gen
    opt: paths=source_relative
`

// TestBufInUsersModule takes a user's steps in a new module: add the plugins as tools, generate, build.
func TestBufInUsersModule(t *testing.T) {
	buf := bufCommand(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	user := t.TempDir()
	writeFile(t, filepath.Join(user, "proto", "greet", "v1", "greet.proto"), userProto)
	writeFile(t, filepath.Join(user, "buf.gen.yaml"), userTemplate)
	inFolder(t, user, "go", "mod", "init", "example.com/hello")
	// In place of "go get -tool", which asks for a published module.
	inFolder(t, user, "go", "mod", "edit", "-tool=google.golang.org/protobuf/cmd/protoc-gen-go", "-tool="+pluginPackage,
		"-require=github.com/rpcmesh/rpcmesh@v0.0.0", "-replace=github.com/rpcmesh/rpcmesh="+root)
	inFolder(t, user, "go", "mod", "tidy")
	inFolder(t, user, buf, "generate")
	inFolder(t, user, "go", "mod", "tidy")
	inFolder(t, user, "go", "vet", "./gen/greet/v1/greetv1rpcmesh")
}

// bufCommand returns where buf is, or skips the test.
func bufCommand(t *testing.T) string {
	t.Helper()
	if !*withBuf {
		t.Skip("run with -buf to have this test")
	}
	return strings.TrimSpace(inFolder(t, "../..", "go", "tool", "-n", "-modfile=.ci/buf/go.mod", "buf"))
}

// inFolder runs a command and returns what it prints.
func inFolder(t *testing.T, folder, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = folder
	stdout, stderr, err := run(cmd, nil)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout
}
