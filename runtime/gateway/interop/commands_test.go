package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// goTool returns a tool that is built from a Go module's tool line; folder is the module's.
func goTool(t *testing.T, folder, tool string) string {
	t.Helper()
	path := run(t, true, nil, "go", "-C", folder, "tool", "-n", tool)
	path = filepath.Clean(path[:len(path)-1])
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGRPCurl(t *testing.T) {
	m := start(t)
	grpcurl := goTool(t, ".", "grpcurl")
	call := func(ok bool, args ...string) string {
		return run(t, ok, nil, grpcurl, append([]string{"-plaintext"}, args...)...)
	}
	const service = "interop.v1.EchoService"
	wantText(t, call(true, m.address, "list"), service, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection")
	wantText(t, call(true, m.address, "list", service), service+".Echo", service+".Chat")
	wantText(t, call(true, m.address, "describe"), "service EchoService {", "service Health {", "service ServerReflection {")
	wantText(t, call(true, m.address, "describe", service+".Chat"), "rpc Chat ( stream .interop.v1.ChatRequest ) returns ( stream .interop.v1.ChatResponse )")
	wantText(t, call(true, m.address, "describe", "interop.v1.FailDetail"), "string reason = 1;")
	wantText(t, call(false, m.address, "describe", "no.Such"), "no.Such")
	wantText(t, call(true, "-d", `{"text":"hello","data":"AAEC"}`, "-v", "-H", markHeader+": curl", m.address, service+"/Echo"),
		`"text": "hello"`, `"data": "AAEC"`, markHeader+": curl", markTrailer+": curl")
	wantText(t, call(false, "-d", `{"text":"fail"}`, m.address, service+"/Echo"), "FailedPrecondition", "as you wish: ✓", `"reason": "wished"`)
	wantText(t, call(true, "-d", `{"text":"again","times":2}`, m.address, service+"/Repeat"), `"time": 1`, `"time": 2`)
	wantText(t, call(true, "-d", `{"text":"one"}{"text":"two"}`, m.address, service+"/Join"), `"text": "one two"`)
	wantText(t, call(true, "-d", `{"text":"ping"}{"text":"pong"}`, m.address, service+"/Chat"), `"text": "ping"`, `"text": "pong"`)
	wantText(t, call(true, "-d", `{"service":"`+service+`"}`, m.address, "grpc.health.v1.Health/Check"), `"status": "SERVING"`)
}

// packed returns a text without its spaces.
func packed(text string) string { return strings.Join(strings.Fields(text), "") }

func TestBufCurl(t *testing.T) {
	m := start(t)
	buf := goTool(t, "../../../.ci/buf", "buf")
	const service = "/interop.v1.EchoService"
	for _, protocol := range []string{"connect", "grpc", "grpcweb"} {
		t.Run(protocol, func(t *testing.T) {
			call := func(ok bool, data, method string, more ...string) string {
				args := []string{"curl", "--http2-prior-knowledge", "--protocol", protocol, "-d", data}
				return packed(run(t, ok, nil, buf, append(append(args, more...), m.url+service+method)...))
			}
			wantText(t, call(true, `{"text":"hello"}`, "/Echo"), `"text":"hello"`)
			wantText(t, call(false, `{"text":"fail"}`, "/Echo"), "failed_precondition", "asyouwish:✓", "interop.v1.FailDetail")
			wantText(t, call(true, `{"text":"again","times":2}`, "/Repeat"), `"time":1`, `"time":2`)
			wantText(t, call(true, `{"text":"one"}{"text":"two"}`, "/Join"), `"text":"onetwo"`)
			wantText(t, call(true, `{"text":"ping"}{"text":"pong"}`, "/Chat"), `"text":"ping"`, `"text":"pong"`)
		})
	}
	wantText(t, run(t, true, nil, buf, "curl", "--http2-prior-knowledge", "--list-methods", m.url), "interop.v1.EchoService/Echo")
}

func TestCurl(t *testing.T) {
	m := start(t)
	curl := need(t, "curl")
	call := func(args ...string) string {
		return run(t, true, nil, curl, append([]string{"--silent", "--show-error", "--max-time", "10"}, args...)...)
	}
	const method = "/interop.v1.EchoService/Echo"
	post := []string{"--http1.1", "-H", "Content-Type: application/json", "-w", " %{http_code} HTTP/%{http_version}"}
	wantText(t, call(append(post, "-d", `{"text":"hello","number":"7"}`, m.url+method)...), `"text":"hello"`, `"number":"7"`, " 200 HTTP/1.1")
	wantText(t, call(append(post, "-d", `{"text":"fail"}`, m.url+method)...), `"code":"failed_precondition"`, "as you wish", "FailDetail", " 400 ")
	wantText(t, call(append(post, "-d", `{"text":`, m.url+method)...), `"code":"invalid_argument"`, " 400 ")
	wantText(t, call(append(post, "-d", `{}`, m.url+"/interop.v1.EchoService/Nope")...), `"code":"unimplemented"`)
	wantText(t, call(append(post, "-H", "Rpcmesh-Namespace: public", "-d", `{"text":"named"}`, m.url+method)...), `"text":"named"`)
	wantText(t, call(append(post, "-d", `{"text":"path"}`, m.url+"/ns/public"+method)...), `"text":"path"`)
	wantText(t, call("--http1.1", "--get", "--data-urlencode", `message={"text":"got"}`, "-d", "encoding=json", "-d", "connect=v1", m.url+method), `"text":"got"`)
	wantText(t, call("-i", "--http2-prior-knowledge", "-H", "Content-Type: application/json", "-H", markHeader+": curl", "-d", `{"text":"two"}`, m.url+method),
		"HTTP/2 200", markHeader+": curl", "trailer-"+markTrailer+": curl", `"text":"two"`)
}
