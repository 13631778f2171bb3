package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// asCommand has the test's binary be the command.
const asCommand = "RPCMESH_TEST_AS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

const (
	secret  = "the secret of the tests"
	greet   = "/example.greet.v1.Greeter/Greet"
	count   = "/example.greet.v1.Greeter/Count"
	sum     = "/example.greet.v1.Greeter/Sum"
	patient = 20 * time.Second
)

// process is the command, running.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	log  lockedBuffer
	done chan struct{}
}

// lockedBuffer is written by a process while a test reads it.
type lockedBuffer struct {
	mu    sync.Mutex
	lines []string
	news  chan struct{}
}

func (b *lockedBuffer) add(line string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, line)
	select {
	case b.news <- struct{}{}:
	default:
	}
}

func (b *lockedBuffer) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.lines, "\n")
}

// start runs the command with the secret in its environment.
func start(t *testing.T, input string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0], args...), done: make(chan struct{})}
	p.log.news = make(chan struct{}, 1)
	p.cmd.Env = append(os.Environ(), asCommand+"=1", secretVariable+"="+secret)
	p.cmd.Stdin, p.cmd.Stdout = strings.NewReader(input), &p.out
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.log.add(lines.Text())
		}
		_ = p.cmd.Wait() // the state says it
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("rpcmesh %v:\n%s", args, p.log.text())
		}
	})
	return p
}

// await returns what a line of the log matches, first group.
func (p *process) await(pattern string) string {
	p.t.Helper()
	expr := regexp.MustCompile(pattern)
	timeout := time.After(patient)
	for {
		if m := expr.FindStringSubmatch(p.log.text()); m != nil {
			return m[len(m)-1]
		}
		select {
		case <-p.log.news:
		case <-p.done:
			if !expr.MatchString(p.log.text()) {
				p.t.Fatalf("it ended without %q", pattern)
			}
		case <-timeout:
			p.t.Fatalf("no %q", pattern)
		}
	}
}

// wait returns what the command has written and its exit code.
func (p *process) wait() (out string, code int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patient):
		p.t.Fatal("it does not end")
	}
	return p.out.String(), p.cmd.ProcessState.ExitCode()
}

// addr waits until the node listens and returns its URL.
func (p *process) addr() string {
	p.t.Helper()
	return "http://" + p.await(`msg=listening addr=(\S+)`)
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// do runs the command to its end.
func do(t *testing.T, input string, args ...string) (out, log string, code int) {
	t.Helper()
	p := start(t, input, args...)
	out, code = p.wait()
	return out, p.log.text(), code
}

// visible waits until functions can be called through a node in a namespace.
func visible(t *testing.T, url, namespace string, procedures ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	proxy, err := rpcmesh.Dial(ctx, url, rpcmesh.ProxyConfig{Secret: secret, Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	if err := proxy.WaitFor(ctx, procedures...); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestAdopt: a server adopted by one process is listed and called through another, two links away.
func TestAdopt(t *testing.T) {
	server := newGreeter(t)
	entry := start(t, "", "node", "-config", write(t, "node.json", `{"name": "entry", "listen": ["127.0.0.1:0"], "namespaces": ["public"]}`))
	adopter := start(t, "", "adopt", "-name", "adopter", "-namespace", "public", "-link", entry.addr(), server.url)
	adopter.await("adopted server up.*functions=4")
	visible(t, entry.addr(), "public", greet, count, sum)
	ask := func(command string, args ...string) []string {
		return append([]string{command, "-link", entry.addr(), "-namespace", "public"}, args...)
	}
	out, _, code := do(t, "", ask("ls")...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitOK || len(lines) != 5 || !slices.Equal(strings.Fields(lines[3]), []string{greet, "unary", "adopter", "2", "single"}) {
		t.Errorf("ls: %d\n%s", code, out)
	}
	for _, test := range []struct {
		name, input string
		args        []string
		want        string
		code        int
	}{
		{name: "json", args: ask("ls", "-json"), want: `"procedure":"` + count + `"`},
		{name: "unary", args: ask("call", "-d", `{"name": "Ada"}`, greet), want: "{\"greeting\":\"Hello, Ada\"}\n"},
		{name: "input", input: `{"name": "Bob"}`, args: ask("call", "-d", "-", greet), want: "{\"greeting\":\"Hello, Bob\"}\n"},
		{name: "server stream", args: ask("call", "-d", `{"to": 3}`, count), want: "{\"number\":\"1\"}\n{\"number\":\"2\"}\n{\"number\":\"3\"}\n"},
		{name: "client stream", args: ask("call", "-d", `{"number": 1} {"number": 2}`, sum), want: "{\"sum\":\"3\",\"count\":\"2\"}\n"},
		{name: "error", args: ask("call", "-d", `{"name": "fail"}`, greet), want: "out_of_range: nobody is called that", code: exitFailed},
		{name: "no function", args: ask("call", "/no.Such/Method"), want: "unimplemented", code: exitFailed},
		{name: "details", args: ask("call", "-d", `{"name": "fail"}`, greet), want: `{"type":"google.protobuf.Duration","value":"60s"}`, code: exitFailed},
		{name: "details of an unknown type", args: ask("call", "-d", `{"name": "fail"}`, greet), want: `{"type":"who.knows.It","value":"AQID"}`, code: exitFailed},
		{name: "headers", args: ask("call", "-H", "Title: Dr.", "-H", "title:  h.c.", "-d", `{"name": "Ada"}`, greet), want: "Hello, Dr. h.c. Ada"},
		{name: "without a slash", args: ask("call", "-d", `{"name": "Ada"}`, greet[1:]), want: "Hello, Ada"},
		{name: "what would move the cursor", args: ask("call", "-d", `{"name": "\u009b2J\u202e\ud83d\ude00"}`, greet), want: `Hello, \u009b2J\u202e😀`},
		{name: "an error that would", args: ask("call", "-d", `{"name": "clear"}`, greet), want: `nobody is called \u001b[2J`, code: exitFailed},
		{name: "no JSON", args: ask("call", "-d", "{", greet), want: "no JSON", code: exitUsage},
		{name: "no field", args: ask("call", "-d", `{"nom": "Ada"}`, greet), want: "does not fit example.greet.v1.GreetRequest", code: exitUsage},
		{name: "too many requests", args: ask("call", "-d", "{}{}", greet), want: "there are more", code: exitUsage},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, log, code := do(t, test.input, test.args...)
			if space := strings.ReplaceAll(out+log, ": \"", ":\""); code != test.code || !strings.Contains(strings.ReplaceAll(space, ", \"", ",\""), test.want) {
				t.Errorf("%d: %s%s", code, out, log)
			}
		})
	}
}

// TestStop: told to stop, a node withdraws its functions, lets a call end, and exits well.
func TestStop(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(sig.String(), func(t *testing.T) {
			server := newGreeter(t)
			adopter := start(t, "", "adopt", "-listen", "127.0.0.1:0", server.url)
			adopter.await("adopted server up")
			call := start(t, "", "call", "-link", adopter.addr(), "-d", `{"name": "wait"}`, greet)
			<-server.waiting
			adopter.signal(sig)
			adopter.await("msg=stopping")
			close(server.release)
			if out, code := call.wait(); code != exitOK || !strings.Contains(out, "Hello, wait") {
				t.Errorf("the call ended with %d: %s", code, out)
			}
			if _, code := adopter.wait(); code != exitOK {
				t.Errorf("it ended with %d", code)
			}
		})
	}
}

// TestStopTwice: the second signal does not wait for calls.
func TestStopTwice(t *testing.T) {
	server := newGreeter(t)
	defer close(server.release)
	adopter := start(t, "", "adopt", "-listen", "127.0.0.1:0", server.url)
	adopter.await("adopted server up")
	call := start(t, "", "call", "-link", adopter.addr(), "-d", `{"name": "wait"}`, greet)
	<-server.waiting
	adopter.signal(syscall.SIGTERM)
	adopter.await("msg=stopping")
	adopter.signal(syscall.SIGTERM)
	if _, code := adopter.wait(); code != exitOK {
		t.Errorf("it ended with %d", code)
	}
	if _, code := call.wait(); code != exitFailed || !strings.Contains(call.log.text(), "unavailable") {
		t.Errorf("the call ended with %d: %s", code, call.log.text())
	}
}

// TestNode: a file that makes use of everything.
func TestNode(t *testing.T) {
	server := newGreeter(t)
	set, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(greetv1.File_example_greet_v1_greet_proto),
	}})
	if err != nil {
		t.Fatal(err)
	}
	out, _, code := do(t, "", "token", "-name", "build", "-namespaces", "public")
	token, entry, ok := strings.Cut(strings.TrimSpace(out), "\n")
	if code != exitOK || !ok {
		t.Fatalf("token: %d: %s", code, out)
	}
	tokens := write(t, "tokens.json", `{"tokens": [`+entry+`]}`)
	other := start(t, "", "node", "-config", write(t, "node.json", `{"listen": ["127.0.0.1:0"], "namespaces": ["public", "private"]}`))
	node := start(t, "", "node", "-config", write(t, "node.json", `{
		"name": "edge",
		"secret_file": "`+write(t, "secret", secret+"\n")+`",
		"listen": ["127.0.0.1:0"],
		"groups": [{"name": "all", "members": ["public", "private"]}],
		"links": [{"url": "`+other.addr()+`", "namespaces": ["public", "private"]}],
		"adopt": [{
			"url": "`+server.url+`", "namespace": "all", "protocol": "connect", "policy": "nearest",
			"descriptors_file": "`+write(t, "image.binpb", string(set))+`",
			"services": ["example.greet.v1.Greeter"],
			"header_files": {"Authorization": "`+write(t, "token", "Bearer x")+`"}, "no_caller": true
		}],
		"gateway": {"namespace": "public", "tokens_file": "`+tokens+`", "cors_origins": ["https://app.example.com"],
			"name": "door", "drop_headers": [], "name_nodes": true, "open_health": true},
		"drain": "1s"
	}`))
	node.await("adopted server up.*functions=4")
	for _, namespace := range []string{"public", "private"} {
		visible(t, other.addr(), namespace, greet, count, sum)
		if out, log, code := do(t, "", "ls", "-link", other.addr(), "-namespace", namespace); code != exitOK || strings.Count(out, "edge") != 4 {
			t.Errorf("%s: %d: %s%s", namespace, code, out, log)
		}
	}
	post := func(token string) (string, int) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node.addr()+greet, strings.NewReader(`{"name":"Ada"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body), res.StatusCode
	}
	if body, status := post(token); status != http.StatusOK || !strings.Contains(body, "Hello, Ada") {
		t.Errorf("the gateway answers %d: %s", status, body)
	}
	if body, status := post("wrong"); status != http.StatusUnauthorized {
		t.Errorf("with a wrong token the gateway answers %d: %s", status, body)
	}
	res, err := http.Post(node.addr()+"/grpc.health.v1.Health/Check", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _ = res.Body.Close(); res.StatusCode != http.StatusOK {
		t.Errorf("a probe without a token is answered %d", res.StatusCode)
	}
	if err := os.WriteFile(tokens, []byte(`{"tokens": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	node.signal(syscall.SIGHUP)
	node.await("tokens read again")
	if body, status := post(token); status != http.StatusUnauthorized {
		t.Errorf("with a token that was taken back the gateway answers %d: %s", status, body)
	}
	node.signal(syscall.SIGTERM)
	if _, code := node.wait(); code != exitOK {
		t.Errorf("it ended with %d", code)
	}
	if strings.Contains(node.log.text(), secret) || strings.Contains(node.log.text(), token) {
		t.Error("the log has a secret")
	}
}

// TestMistakes: what is wrong on the command line or in a file is said, and told from what fails.
func TestMistakes(t *testing.T) {
	node := func(text string) []string { return []string{"node", "-config", write(t, "node.json", text)} }
	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	for _, test := range []struct {
		name string
		args []string
		text string
		code int
	}{
		{name: "nothing", text: "usage: rpcmesh COMMAND", code: exitUsage},
		{name: "no command", args: []string{"serve"}, text: `no command "serve"`, code: exitUsage},
		{name: "help", args: []string{"help"}, text: "usage: rpcmesh COMMAND"},
		{name: "a command's help", args: []string{"adopt", "-h"}, text: "-link URL"},
		{name: "version", args: []string{"version"}},
		{name: "no such flag", args: []string{"ls", "-lnik", "x"}, text: "-lnik", code: exitUsage},
		{name: "secret as a flag", args: []string{"ls", "-secret", "x"}, text: "-secret", code: exitUsage},
		{name: "no server", args: []string{"adopt", "-listen", "127.0.0.1:0"}, text: "argument is missing", code: exitUsage},
		{name: "flags behind", args: []string{"adopt", "http://a", "-listen", "127.0.0.1:0"}, text: "flags come before", code: exitUsage},
		{name: "alone", args: []string{"adopt", "http://a"}, text: "-link, -listen or both", code: exitUsage},
		{name: "bad URL", args: []string{"adopt", "-listen", "127.0.0.1:0", "a:b"}, text: "looks like http://host:50051", code: exitUsage},
		{name: "bad link", args: []string{"adopt", "-link", "a", "http://a"}, text: "not the URL of a node", code: exitUsage},
		{name: "bad protocol", args: []string{"adopt", "-listen", "127.0.0.1:0", "-protocol", "soap", "http://a"}, text: `no protocol "soap"`, code: exitUsage},
		{name: "bad policy", args: []string{"adopt", "-listen", "127.0.0.1:0", "-policy", "all", "http://a"}, text: `no policy "all"`, code: exitUsage},
		{name: "bad header", args: []string{"adopt", "-header-file", "a", "http://a"}, text: "KEY=FILE", code: exitUsage},
		{name: "no descriptors", args: []string{"adopt", "-listen", "127.0.0.1:0", "-descriptors", "/no/such", "http://a"}, text: "/no/such", code: exitUsage},
		{name: "no secret file", args: []string{"adopt", "-listen", "127.0.0.1:0", "-secret-file", "/no/such", "http://a"}, text: "/no/such", code: exitUsage},
		{name: "secret and anyone", args: []string{"ls", "-link", "http://a", "-secret-file", "a", "-accept-anyone"}, text: "contradicts", code: exitUsage},
		{name: "address taken", args: []string{"adopt", "-listen", occupied.Addr().String(), "http://127.0.0.1:1"}, text: "address already in use", code: exitFailed},
		{name: "nobody there", args: []string{"ls", "-link", "http://127.0.0.1:1", "-timeout", "200ms"}, text: "connection refused", code: exitFailed},
		{name: "no link", args: []string{"ls"}, text: "-link URL is missing", code: exitUsage},
		{name: "no name", args: []string{"token"}, text: "-name is missing", code: exitUsage},
		{name: "no config", args: []string{"node"}, text: "-config FILE is missing", code: exitUsage},
		{name: "unknown field", args: node("{\n\"named\": \"a\"}"), text: `unknown field "named"`, code: exitUsage},
		{name: "unknown field, its line", args: node("{\n\"links\": [\n{\"url\": \"http://a\"},\n{\"uri\": \"http://b\"}\n]\n}\n"), text: "line 4: ", code: exitUsage},
		{name: "known elsewhere", args: node("{\"name\": \"a\",\n\"links\": [{\"url\": \"http://a\",\n\"name\": \"b\"}]}"), text: "line 3: ", code: exitUsage},
		{name: "wrong type", args: node("{\n\n\"listen\": [\"a\",\n5]}"), text: "line 4: ", code: exitUsage},
		{name: "cut short", args: node("{\n\"name\": \"a\",\n\n"), text: "line 2: ", code: exitUsage},
		{name: "bad duration, its line", args: node("{\"name\": \"a\",\n\"drain\": \"soon\"\n}\n"), text: "line 2: ", code: exitUsage},
		{name: "nothing to do", args: node("{}"), text: "would be alone", code: exitUsage},
		{name: "no address", args: node(`{"listen": ["8220"]}`), text: "0.0.0.0:8220", code: exitUsage},
		{name: "no socket", args: node(`{"listen": ["unix://"]}`), text: "unix:///run/node.sock", code: exitUsage},
		{name: "no time", args: []string{"ls", "-link", "http://a", "-timeout", "0"}, text: "-timeout must be more than 0", code: exitUsage},
		{name: "bad link of ls", args: []string{"ls", "-link", "a"}, text: "not the URL of a node", code: exitUsage},
		{name: "bad namespace of ls", args: []string{"ls", "-link", "http://127.0.0.1:1", "-namespace", "A B"}, text: `"A B"`, code: exitUsage},
		{name: "no function", args: []string{"call", "-link", "http://a", "a"}, text: "/pkg.Service/Method", code: exitUsage},
		{name: "bad header of call", args: []string{"call", "-link", "http://a", "-H", "a b", "/a.B/C"}, text: "KEY: VALUE", code: exitUsage},
		{name: "half of a certificate", args: []string{"ls", "-link", "https://a", "-link-tls-cert", "/no/such"}, text: "open", code: exitUsage},
		{name: "version as a flag", args: []string{"--version"}},
		{name: "no JSON", args: node("{\n\n\"name\": a}"), text: "line 3", code: exitUsage},
		{name: "two values", args: node("{}{}"), text: "more after its end", code: exitUsage},
		{name: "bad duration", args: node(`{"drain": 3}`), text: "a duration is text", code: exitUsage},
		{name: "bad namespace", args: node(`{"namespaces": ["A B"]}`), text: `"A B"`, code: exitUsage},
		{name: "group without members", args: node(`{"groups": [{"name": "a"}]}`), text: "a", code: exitUsage},
		{name: "gateway for no one", args: node(`{"gateway": {}}`), text: "who may call", code: exitUsage},
		{name: "gateway for all and some", args: node(`{"gateway": {"open": true, "tokens_file": "` + write(t, "t", `{"tokens": []}`) + `"}}`), text: "contradicts", code: exitUsage},
		{name: "bad token", args: node(`{"gateway": {"tokens_file": "` + write(t, "t", `{"tokens": [{"name": "a", "sha256": "b", "namespaces": ["c"]}]}`) + `"}}`), text: "64 hexadecimal digits", code: exitUsage},
		{name: "half of TLS", args: node(`{"tls": {"cert_file": "a"}}`), text: "certificate and its key", code: exitUsage},
		{name: "no certificate", args: node(`{"link_tls": {"ca_file": "` + write(t, "ca", "x") + `"}}`), text: "no certificate in PEM", code: exitUsage},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, log, code := do(t, "", test.args...)
			if code != test.code || !strings.Contains(out+log, test.text) {
				t.Errorf("%d: %s%s, want %d and %q", code, out, log, test.code, test.text)
			}
			if test.code != exitOK && out != "" {
				t.Errorf("an error wrote to the standard output: %s", out)
			}
		})
	}
	t.Run("no secret", func(t *testing.T) {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"ls", "-link", "http://a"}, &terminal{err: &stderr, getenv: func(string) string { return "" }})
		if code != exitUsage || !strings.Contains(stderr.String(), secretVariable) {
			t.Errorf("%d: %s", code, stderr.String())
		}
	})
}
