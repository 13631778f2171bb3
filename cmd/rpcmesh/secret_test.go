package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// TestSecretsReadAgain: two processes go from one secret to another, while a call through both goes on.
func TestSecretsReadAgain(t *testing.T) {
	const another = "another secret of the tests"
	server := newGreeter(t)
	file := write(t, "secret", secret+"\n")
	entry := start(t, "", "node", "-config", write(t, "node.json",
		`{"name": "entry", "listen": ["127.0.0.1:0"], "namespaces": ["public"], "secret_file": "`+file+`"}`))
	adopter := start(t, "", "adopt", "-secret-file", file, "-name", "adopter", "-namespace", "public", "-link", entry.addr(), server.url)
	adopter.await("adopted server up")
	entry.await("member joined.*member=adopter")
	call := start(t, "", "call", "-link", entry.addr(), "-namespace", "public", "-d", `{"name": "wait"}`, "-timeout", "1m", greet)
	<-server.waiting

	list := func(secret string) (string, int) {
		_, log, code := do(t, "", "ls", "-link", entry.addr(), "-namespace", "public", "-secret-file", write(t, "secret", secret))
		return log, code
	}
	change := func(text, result string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*process{entry, adopter} {
			p.signal(syscall.SIGHUP)
			p.await(result)
		}
	}
	change("", `level=ERROR msg="SIGHUP: the secrets stay as they were" error=.*is empty`)
	change(another+"\n"+secret+"\n", `msg="SIGHUP: secrets read again" secrets=2`)
	for _, s := range []string{secret, another} {
		if log, code := list(s); code != exitOK {
			t.Errorf("with both secrets, one is refused: %s", log)
		}
	}
	change(another+"\n", `msg="SIGHUP: secrets read again" secrets=1`)
	if log, code := list(another); code != exitOK {
		t.Errorf("the new secret is refused: %s", log)
	}
	if log, code := list(secret); code != exitFailed || !strings.Contains(log, "wrong secret") {
		t.Errorf("with the old secret: %d: %s", code, log)
	}
	close(server.release)
	if out, code := call.wait(); code != exitOK || !strings.Contains(out, "Hello, wait") {
		t.Errorf("the call ended with %d: %s", code, out)
	}
	for _, p := range []*process{entry, adopter} {
		if log := p.log.text(); strings.Contains(log, "link down") && p == adopter || strings.Contains(log, secret) || strings.Contains(log, another) {
			t.Errorf("a link fell, or a secret is told:\n%s", log)
		}
	}
}

// TestSecretFromElsewhere: the node's file may name another file with secrets by the time of the signal; a node
// that accepts anyone has none to read.
func TestSecretFromElsewhere(t *testing.T) {
	config := func(secretFile string) string {
		return `{"listen": ["127.0.0.1:0"], "secret_file": "` + secretFile + `"}`
	}
	path := write(t, "node.json", config(write(t, "secret", secret)))
	node := start(t, "", "node", "-config", path)
	url := node.addr()
	for _, c := range []struct{ text, result string }{
		{`{"accept_anyone": true}`, "changes only when it starts again"},
		{`{"listen": `, "the secrets stay as they were.*line 1"},
		{config(write(t, "moved", "a secret that is new")), `msg="SIGHUP: secrets read again" secrets=1`},
	} {
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		node.signal(syscall.SIGHUP)
		node.await(c.result)
	}
	if _, log, code := do(t, "", "ls", "-link", url, "-secret-file", write(t, "secret", "a secret that is new")); code != exitOK {
		t.Errorf("the new secret is refused: %s", log)
	}
}

// TestShortSecret: it does for the loopback, and for nothing else.
func TestShortSecret(t *testing.T) {
	file := write(t, "secret", "change me")
	near := start(t, "", "adopt", "-secret-file", file, "-listen", "127.0.0.1:0", "http://127.0.0.1:1")
	if _, log, code := do(t, "", "ls", "-secret-file", file, "-link", near.addr()); code != exitOK {
		t.Errorf("on the loopback: %s", log)
	}
	_, log, code := do(t, "", "adopt", "-secret-file", file, "-listen", "0.0.0.0:0", "http://127.0.0.1:1")
	if code != exitFailed || !strings.Contains(log, "openssl rand -hex 16") || strings.Contains(log, "change me") {
		t.Errorf("on all addresses: %d: %s", code, log)
	}
}
