package readme

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"
)

const descriptorsFile = "testdata/greet.binpb"

// module makes a user's module, with the README's files and fragments in it. It needs no network: what
// it requires is what this module does.
func module(t *testing.T) string {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOWORK", "off")
	user := t.TempDir()
	saveFiles(t, user)
	fragments := 0
	for _, b := range blocks(t) {
		if b.language == "go" && b.file == "" {
			fragments++
			name := fmt.Sprintf("fragment%d.go", fragments)
			save(t, filepath.Join(user, "fragments", name), inFunction(t, b.text, fragments))
		}
	}
	if fragments == 0 {
		t.Fatal("the README has no fragments of Go any more")
	}
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	sum, err := os.ReadFile("../../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(user, "go.sum"), string(sum))
	save(t, filepath.Join(user, "go.mod"), strings.Replace(string(mod), "module "+modulePath, "module example.com/hello", 1)+
		fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %[1]s => %s\n", modulePath, root(t)))
	return user
}

// saveFiles saves the blocks of the README that are files.
func saveFiles(t *testing.T, user string) {
	t.Helper()
	for _, b := range blocks(t) {
		if b.file != "" {
			save(t, filepath.Join(user, b.file), b.text)
		}
	}
	for _, name := range []string{protoFile, "buf.gen.yaml", "server/main.go", "client/main.go"} {
		if _, err := os.Stat(filepath.Join(user, name)); err != nil {
			t.Fatalf("the README has no %s any more: %v", name, err)
		}
	}
}

// greet runs the server and the client and checks the greeting. Only the port is another one.
func greet(t *testing.T, user string) {
	t.Helper()
	const port = "127.0.0.1:8220"
	inFile(t, filepath.Join(user, "server", "main.go"), port, "127.0.0.1:0")
	run(t, user, "go", "build", "-o", "bin/", "./server")
	server := exec.CommandContext(t.Context(), filepath.Join(user, "bin", "server"))
	stderr, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait() // it was killed
	})
	line, err := bufio.NewReader(stderr).ReadString('\n')
	addr := regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(line)
	if addr == "" {
		t.Fatalf("the server does not say where it listens: %q, %v", line, err)
	}
	inFile(t, filepath.Join(user, "client", "main.go"), port, addr)
	if got, want := run(t, user, "go", "run", "./client"), "Hello, Ada!\n"; got != want {
		t.Errorf("the client printed %q, want %q", got, want)
	}
}

// inFile replaces what comes once in a file.
func inFile(t *testing.T, path, from, to string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(text, []byte(from)) != 1 {
		t.Fatalf("%s does not have %s once", path, from)
	}
	save(t, path, strings.Replace(string(text), from, to, 1))
}

// descriptors returns the README's .proto file as it compiles.
func descriptors(t *testing.T) *descriptorpb.FileDescriptorSet {
	t.Helper()
	encoded, err := os.ReadFile(descriptorsFile)
	if err != nil {
		t.Fatal(err)
	}
	set := new(descriptorpb.FileDescriptorSet)
	if err := proto.Unmarshal(encoded, set); err != nil {
		t.Fatal(err)
	}
	return set
}

// buildPlugins builds the plugins, once for all tests, and returns where they are, by their names.
var buildPlugins = sync.OnceValue(func() map[string]string {
	built := map[string]string{}
	for name, pkg := range plugins {
		built[name] = filepath.Join(pluginFolder, name)
		output, err := exec.Command("go", "build", "-o", built[name], pkg).CombinedOutput()
		if err != nil {
			panic(fmt.Sprintf("go build %s: %v\n%s", pkg, err, output))
		}
	}
	return built
})

// pluginFolder is where buildPlugins puts them.
var pluginFolder string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "rpcmesh-readme-")
	if err != nil {
		panic(err)
	}
	pluginFolder = folder
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

// generate runs a plugin as protoc does and saves what it generates.
func generate(t *testing.T, plugin string, request *pluginpb.CodeGeneratorRequest, folder string) {
	t.Helper()
	encoded, err := proto.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), plugin)
	cmd.Stdin = bytes.NewReader(encoded)
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	response := new(pluginpb.CodeGeneratorResponse)
	if err := proto.Unmarshal(output, response); err != nil || response.Error != nil {
		t.Fatalf("%s: %v, %s", plugin, err, response.GetError())
	}
	for _, f := range response.GetFile() {
		save(t, filepath.Join(folder, f.GetName()), f.GetContent())
	}
}

// run runs a command in a folder and returns what it prints.
func run(t *testing.T, folder, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = folder
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// shell returns the commands of a section.
func shell(t *testing.T, section string) string {
	t.Helper()
	var commands strings.Builder
	for _, b := range blocks(t) {
		if b.section == section && b.language == "sh" {
			commands.WriteString(b.text)
		}
	}
	if commands.Len() == 0 {
		t.Fatalf("the README has no commands in %q", section)
	}
	return commands.String()
}

// textOf returns the README's text of a file.
func textOf(t *testing.T, file string) string {
	t.Helper()
	for _, b := range blocks(t) {
		if b.file == file {
			return b.text
		}
	}
	t.Fatalf("the README has no file %s", file)
	return ""
}

func save(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// root is where this module is.
func root(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
