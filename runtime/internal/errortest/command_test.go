package errortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// program is the command line, built.
type program struct{ path string }

func build(t *testing.T) program {
	t.Helper()
	p := program{filepath.Join(t.TempDir(), "rpcmesh")}
	if runtime.GOOS == "windows" {
		p.path += ".exe"
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", p.path, ".")
	cmd.Dir = "../../../cmd/rpcmesh"
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

// run runs the program, in a folder of its own with a file node.json that has text, and returns how it ends.
func (p program) run(t *testing.T, secret, text string, args ...string) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.path, args...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "RPCMESH_SECRET="+secret)
	if err := os.WriteFile(filepath.Join(cmd.Dir, "node.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	return Outcome{Code: fmt.Sprintf("exit %d", cmd.ProcessState.ExitCode()), Text: lines[len(lines)-1]}
}

// TestCommand holds the rows of the command line.
func TestCommand(t *testing.T) {
	p := build(t)
	node := func(text string) func(*testing.T) Outcome {
		return func(t *testing.T) Outcome { return p.run(t, "s", text, "node", "-config", "node.json") }
	}
	command := func(args ...string) func(*testing.T) Outcome {
		return func(t *testing.T) Outcome { return p.run(t, "s", "", args...) }
	}
	Check(t, &Command, map[string]func(*testing.T) Outcome{
		"no-config": command("node"),
		"no-secret": func(t *testing.T) Outcome {
			return p.run(t, "", `{"listen": ["127.0.0.1:0"]}`, "node", "-config", "node.json")
		},
		"secret-and-anyone": node(`{"accept_anyone": true, "secret_file": "secret"}`),
		"unknown-field":     node("{\n\"named\": \"a\"}"),
		"wrong-type":        node("{\n\"name\": 5}"),
		"duration":          node("{\n\"drain\": \"soon\"}"),
		"alone":             node(`{}`),
		"namespace":         node(`{"namespaces": ["public", "Public"]}`),
		"group":             node(`{"groups": [{"name": "all"}]}`),
		"link":              node(`{"links": [{"url": "host:8220"}]}`),
		"link-namespace":    node(`{"links": [{"url": "http://127.0.0.1:1", "namespaces": ["Public"]}]}`),
		"listen":            node(`{"listen": ["8220"]}`),
		"tls":               node(`{"tls": {"cert_file": "a"}}`),
		"gateway-nobody":    node(`{"gateway": {}}`),
		"gateway-both":      node(`{"gateway": {"open": true, "tokens_file": "a"}}`),
		"gateway-namespace": node(`{"gateway": {"open": true, "namespace": "Public"}}`),
		"adopt-protocol":    node(`{"adopt": [{"url": "http://127.0.0.1:1", "protocol": "soap"}]}`),
		"adopt-policy":      node(`{"adopt": [{"url": "http://127.0.0.1:1", "policy": "all"}]}`),
		"ls-namespace":      command("ls", "-link", "http://127.0.0.1:1", "-namespace", "Public"),
		"token-namespace":   command("token", "-name", "ci", "-namespaces", "Public"),
		"flag":              command("ls", "-lnik", "a"),
		"argument":          command("call", "/a.B/C", "-link", "http://127.0.0.1:1"),
	})
}
