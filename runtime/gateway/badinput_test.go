package gateway_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestBadInput sends what is wrong in one way each. After all of it the gateway works.
func TestBadInput(t *testing.T) {
	const limit = 64 << 10
	c := rpcmeshtest.New(t)
	node := c.Node("entry", func(cfg *rpcmesh.Config) { cfg.Limits.MaxMessage = limit })
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), greeter{}); err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(make([]byte, 100*limit))
	_ = z.Close()
	const (
		json, proto = "application/json", "application/proto"
		grpc        = "application/grpc"
		sum         = greetv1rpcmesh.GreeterSumProcedure
	)
	tests := map[string]struct {
		path, contentType, body string
		header                  []string
		status                  int    // of HTTP
		grpc                    string // its status
		want                    string // in the body, or in grpc-message
	}{
		"unknown function":            {path: "/a.B/C", contentType: json, body: "{}", status: 404, want: "unimplemented"},
		"unknown function, gRPC":      {path: "/a.B/C", contentType: grpc, status: 200, grpc: "12", want: "/a.B/C"},
		"unknown function, gRPC-Web":  {path: "/a.B/C", contentType: grpc + "-web", status: 200, grpc: "12", want: "/a.B/C"},
		"unknown function, stream":    {path: "/a.B/C", contentType: "application/connect+proto", status: 200, want: "unimplemented"},
		"no function's path":          {path: "/a", contentType: json, body: "{}", status: 404, want: "/pkg.Service/Method"},
		"no function's path, gRPC":    {path: "/a/b/c", contentType: grpc, status: 200, grpc: "12"},
		"escaped path":                {path: "/example.greet.v1.Greeter%2FGreet", contentType: json, body: "{}", status: 404},
		"not an RPC":                  {path: "/a", contentType: "text/html", status: 404},
		"unknown codec":               {path: greetPath, contentType: "application/cbor", status: 415, want: "application/grpc-web+proto"},
		"unknown codec, gRPC":         {path: greetPath, contentType: "application/grpc+cbor", status: 415, want: "application/json"},
		"no codec":                    {path: greetPath, status: 415, want: "application/proto"},
		"a unary type, stream":        {path: sum, contentType: json, status: 415, want: "application/connect+json"},
		"a stream's type, unary":      {path: greetPath, contentType: "application/connect+json", status: 415, want: "application/json"},
		"unknown compression":         {path: greetPath, contentType: json, header: []string{"Content-Encoding", "zip"}, body: "{}", status: 501, want: "zip"},
		"unknown compression, gRPC":   {path: sum, contentType: grpc, header: []string{"Grpc-Encoding", "zip"}, status: 200, grpc: "12", want: "zip"},
		"not gzip":                    {path: greetPath, contentType: json, header: []string{"Content-Encoding", "gzip"}, body: "{}", status: 400},
		"too long":                    {path: greetPath, contentType: proto, body: strings.Repeat("a", limit+1), status: 429, want: "resource_exhausted"},
		"too long, gRPC":              {path: greetPath, contentType: grpc, body: "\x00\x00\x01\x00\x01" + strings.Repeat("a", limit+1), status: 200, grpc: "8"},
		"too long in a stream":        {path: sum, contentType: "application/connect+proto", body: "\x00\x00\x01\x00\x01" + strings.Repeat("a", limit+1), status: 200, want: "resource_exhausted"},
		"decompression bomb":          {path: greetPath, contentType: proto, header: []string{"Content-Encoding", "gzip"}, body: zipped.String(), status: 429, want: "resource_exhausted"},
		"four gigabytes announced":    {path: greetPath, contentType: grpc, body: "\x00\xff\xff\xff\xffa", status: 200, grpc: "8"},
		"truncated envelope":          {path: greetPath, contentType: grpc, body: "\x00\x00\x00\x00\x05ab", status: 200, grpc: "13"},
		"truncated prefix":            {path: sum, contentType: grpc, body: "\x00\x00\x00", status: 200, grpc: "13"},
		"truncated in a stream":       {path: sum, contentType: "application/connect+proto", body: "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05ab", status: 200, want: "promised 5 bytes"},
		"no message":                  {path: greetPath, contentType: grpc, status: 200, grpc: "12"},
		"two messages":                {path: greetPath, contentType: grpc, body: strings.Repeat("\x00\x00\x00\x00\x00", 2), status: 200, grpc: "12"},
		"unknown flags":               {path: sum, contentType: grpc, body: "\x10\x00\x00\x00\x00", status: 200, grpc: "13"},
		"compressed, not announced":   {path: sum, contentType: grpc, body: "\x01\x00\x00\x00\x01a", status: 200, grpc: "13"},
		"malformed JSON":              {path: greetPath, contentType: json, body: `{"name": "a",}`, status: 400, want: "line 1:14"},
		"JSON of another type":        {path: greetPath, contentType: json, body: "{\n \"name\": 5}", status: 400, want: "line 2:10"},
		"JSON in a stream":            {path: sum, contentType: "application/connect+json", body: "\x00\x00\x00\x00\x0d{\"number\":{}}", status: 200, want: "line 1:11"},
		"JSON, deep":                  {path: greetPath, contentType: json, body: strings.Repeat(`{"a":`, 10_050), status: 400, want: "invalid_argument"},
		"no JSON":                     {path: greetPath, contentType: json, status: 400, want: "zero-length"},
		"malformed message":           {path: greetPath, contentType: proto, body: "\x0a\xff", status: 400, want: "invalid_argument"},
		"long header":                 {path: greetPath, contentType: proto, header: []string{"Long", strings.Repeat("a", 100_000)}, status: 429, want: "resource_exhausted"},
		"namespace not offered":       {path: "/ns/secret" + greetPath, contentType: json, body: "{}", status: 404, want: "not_found"},
		"namespace not held":          {path: "/ns/later" + greetPath, contentType: json, body: "{}", status: 404, want: "not_found"},
		"namespace not offered, gRPC": {path: greetPath, contentType: grpc, header: []string{"Rpcmesh-Namespace", "secret"}, status: 200, grpc: "5"},
		"no namespace":                {path: "/ns/" + greetPath, contentType: json, body: "{}", status: 404},
		"two namespaces":              {path: "/ns/public" + greetPath, contentType: json, header: []string{"Rpcmesh-Namespace", "other"}, body: "{}", status: 400, want: "two namespaces"},
		"two headers":                 {path: greetPath, contentType: json, header: []string{"Rpcmesh-Namespace", "public", "Rpcmesh-Namespace", "public"}, body: "{}", status: 400, want: "rpcmesh-namespace"},
	}
	cfg := public
	cfg.Namespaces = []string{"later"}
	for _, kind := range allDoors() {
		d := open(t, kind, node, cfg)
		for name, test := range tests {
			t.Run(kind+"/"+name, func(t *testing.T) {
				status, header, body := d.post(t, test.path, test.contentType, test.body, test.header...)
				body += header.Get("Grpc-Message")
				if status != test.status || !strings.Contains(strings.ReplaceAll(body, "\u00a0", " "), test.want) ||
					test.grpc != header.Get("Grpc-Status") && !strings.Contains(body, "grpc-status: "+test.grpc) {
					t.Errorf("status %d, want %d; headers %v; body %q, want %q", status, test.status, header, body, test.want)
				}
			})
		}
		kinds(t, d.greet(), kind != "http/1.1")
	}
	if _, ok := node.FindNamespace("later"); ok {
		t.Error("a request made the node join a namespace")
	}
}

func TestBidirectionalOverHTTP1(t *testing.T) {
	d := open(t, "http/1.1", entry(t, 0, greeter{}), public)
	status, _, _ := d.post(t, greetv1rpcmesh.GreeterChatProcedure, "application/connect+proto", "")
	if status != http.StatusHTTPVersionNotSupported {
		t.Errorf("status %d", status)
	}
}

func TestGET(t *testing.T) {
	for _, relays := range []int{0, 2} {
		d := open(t, "http/1.1", entry(t, relays, greeter{}), public)
		query := url.Values{"connect": {"v1"}, "encoding": {"json"}, "message": {`{"name":"Ada"}`}}
		status, header, body := d.do(t, http.MethodGet, greetPath+"?"+query.Encode(), "")
		if status != 200 || strings.ReplaceAll(body, " ", "") != `{"greeting":"Hello,Ada"}` || header.Get("Vary") == "" {
			t.Errorf("JSON: %d, %v, %s", status, header, body)
		}
		query = url.Values{"connect": {"v1"}, "encoding": {"proto"}, "base64": {"1"}, "message": {"CgNBZGE"}}
		if status, _, body := d.do(t, http.MethodGet, "/ns/public"+greetPath+"?"+query.Encode(), ""); status != 200 || body != "\x0a\x0aHello, Ada" {
			t.Errorf("proto: %d, %q", status, body)
		}
		res, err := d.greet(connecthttp.WithHTTPGet()).Greet(limited(t), &greetv1.GreetRequest{Name: "stock"})
		if err != nil || res.GetGreeting() != "Hello, stock" {
			t.Errorf("by a client: %v, %v", res, err)
		}
		for _, path := range []string{greetv1rpcmesh.GreeterSumProcedure, greetv1rpcmesh.GreeterCountProcedure} {
			if status, header, _ := d.do(t, http.MethodGet, path+"?"+query.Encode(), ""); status != http.StatusMethodNotAllowed || header.Get("Allow") != "POST" {
				t.Errorf("%s: %d, %v", path, status, header)
			}
		}
		query.Set("base64", "2")
		query.Set("message", "{")
		query.Set("encoding", "json")
		if status, _, body := d.do(t, http.MethodGet, greetPath+"?"+query.Encode(), ""); status != 400 {
			t.Errorf("malformed: %d, %s", status, body)
		}
		if status, _, _ := d.do(t, http.MethodGet, "/favicon.ico", ""); status != 404 {
			t.Errorf("not a function's: %d", status)
		}
	}
}

// TestSideEffects checks that a GET never reaches a unary function that may have some.
func TestSideEffects(t *testing.T) {
	node := rpcmeshtest.New(t).Node("entry")
	spec := connect.Spec{Procedure: "/test.S/Do", StreamType: connect.StreamTypeUnary}
	if _, err := node.Namespace("public").Register(connect.Method{Spec: spec, Handler: func(context.Context, connect.Spec, connect.ServerStream) error {
		t.Error("called")
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	d := open(t, "h2c", node, public)
	if status, header, _ := d.do(t, http.MethodGet, "/test.S/Do?connect=v1&encoding=proto&message=", ""); status != http.StatusMethodNotAllowed || header.Get("Allow") != "POST" {
		t.Errorf("%d, %v", status, header)
	}
}

func TestCallsAreBounded(t *testing.T) {
	for _, kind := range []string{"h2c", "node, h2c"} {
		t.Run(kind, func(t *testing.T) { callsAreBounded(t, kind) })
	}
}

func callsAreBounded(t *testing.T, kind string) {
	running, finish := make(chan struct{}), make(chan struct{})
	node := entry(t, 0, scripted{greet: func(context.Context) error {
		running <- struct{}{}
		<-finish
		return nil
	}})
	cfg := public
	cfg.MaxCalls = 1
	client := open(t, kind, node, cfg).greet(protocols["grpc"]...)
	first := make(chan error, 1)
	go func() {
		_, err := client.Greet(t.Context(), &greetv1.GreetRequest{})
		first <- err
	}()
	<-running
	for range 2 {
		if _, err := client.Greet(limited(t), &greetv1.GreetRequest{}); connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("one more: %v", err)
		}
	}
	close(finish)
	if err := <-first; err != nil {
		t.Error(err)
	}
	go func() { <-running }()
	if _, err := client.Greet(limited(t), &greetv1.GreetRequest{}); err != nil {
		t.Errorf("the next: %v", err)
	}
}

func TestMistakesInConfig(t *testing.T) {
	node := rpcmeshtest.New(t).Node("n")
	check := new(gateway.Tokens).Authorize
	for name, cfg := range map[string]gateway.Config{
		"nobody decides":   {},
		"open, and not":    {Open: true, Authorize: check},
		"open, and tokens": {Open: true, Tokens: new(gateway.Tokens)},
		"tokens twice":     {Authorize: check, Tokens: new(gateway.Tokens)},
		"negative bound":   {Open: true, MaxCalls: -1},
		"empty namespace":  {Open: true, Namespaces: []string{""}},
		"CORS for nobody":  {Open: true, CORS: &gateway.CORS{}},
		"CORS for nothing": {Open: true, CORS: &gateway.CORS{Origins: []string{""}}},
		"many namespaces":  {Open: true, Namespaces: make([]string, 257)},
	} {
		if _, err := gateway.New(node, cfg); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
