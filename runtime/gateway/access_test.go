package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func TestTokens(t *testing.T) {
	t.Run("JSON", func(t *testing.T) {
		testTokens(t, "h2c", "application/json", "{}", func(tokens *gateway.Tokens, cfg *gateway.Config) { cfg.Authorize = tokens.Authorize })
	})
	for _, kind := range []string{"h2c", "node, h2c"} {
		t.Run("gRPC, "+kind, func(t *testing.T) {
			testTokens(t, kind, "application/grpc", "\x00\x00\x00\x00\x00", func(tokens *gateway.Tokens, cfg *gateway.Config) { cfg.Tokens = tokens })
		})
	}
}

// statusOf returns the HTTP status that goes with the end of a gRPC call.
func statusOf(status int, header http.Header) int {
	if code := header.Get("Grpc-Status"); code != "" {
		return map[string]int{"0": 200, "16": 401, "7": 403, "5": 404, "12": 404}[code]
	}
	return status
}

func testTokens(t *testing.T, kind, contentType, body string, set func(*gateway.Tokens, *gateway.Config)) {
	tokens, err := gateway.NewTokens(
		gateway.Token{Name: "all", SHA256: gateway.HashToken("alpha"), Namespaces: []string{"public", "other"}},
		gateway.Token{Name: "greet", SHA256: strings.ToUpper(gateway.HashToken("beta")), Namespaces: []string{"public"}, Functions: greetPath},
		gateway.Token{Name: "elsewhere", SHA256: gateway.HashToken("gamma"), Namespaces: []string{"other"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.Config{Namespace: "public", Namespaces: []string{"other"}}
	set(tokens, &cfg)
	d := open(t, kind, entry(t, 0, greeter{}), cfg)
	call := func(path string, authorization ...string) int {
		t.Helper()
		var header []string
		for _, value := range authorization {
			header = append(header, "Authorization", value)
		}
		status, got, body := d.post(t, path, contentType, body, header...)
		status = statusOf(status, got)
		for _, value := range authorization {
			if _, token, _ := strings.Cut(value, " "); token != "" && strings.Contains(fmt.Sprint(got, body), token) {
				t.Errorf("the answer to %q shows the token: %v %s", value, got, body)
			}
		}
		if (status == 401) != (got.Get("Www-Authenticate") == "Bearer") {
			t.Errorf("%v: status %d with WWW-Authenticate %q", authorization, status, got.Get("Www-Authenticate"))
		}
		return status
	}
	const unknown = "/a.B/C"
	for _, test := range []struct {
		path          string
		authorization []string
		status        int
	}{
		{greetPath, []string{"Bearer alpha"}, 200},
		{greetPath, []string{"bearer  alpha "}, 200},
		{greetPath, []string{"Bearer beta"}, 200},
		{"/ns/public" + greetPath, []string{"Bearer beta"}, 200},
		{greetPath, nil, 401},
		{greetPath, []string{""}, 401},
		{greetPath, []string{"Bearer"}, 401},
		{greetPath, []string{"Bearer "}, 401},
		{greetPath, []string{"Bearer ="}, 401},
		{greetPath, []string{"alpha"}, 401},
		{greetPath, []string{"Basic alpha"}, 401},
		{greetPath, []string{"Bearer alpha beta"}, 401},
		{greetPath, []string{"Bearer al\"pha"}, 401},
		{greetPath, []string{"Bearer alpha", "Bearer alpha"}, 401},
		{greetPath, []string{"Bearer " + strings.Repeat("a", 9000)}, 401},
		{greetPath, []string{"Bearer Alpha"}, 401},
		{greetPath, []string{"Bearer delta"}, 401},
		{greetPath, []string{"Bearer gamma"}, 403},
		{"/ns/other" + greetPath, []string{"Bearer gamma"}, 404}, // the node is no member of it
		{"/ns/other" + greetPath, []string{"Bearer beta"}, 403},
		{unknown, []string{"Bearer beta"}, 403},
		{unknown, []string{"Bearer alpha"}, 404},
		// Who has no token learns nothing of what there is.
		{unknown, nil, 401},
		{"/ns/secret" + greetPath, nil, 401},
	} {
		if status := call(test.path, test.authorization...); status != test.status {
			t.Errorf("%s with %q: status %d, want %d", test.path, test.authorization, status, test.status)
		}
	}

	if err := tokens.Replace(gateway.Token{Name: "new", SHA256: "12", Namespaces: []string{"public"}}); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("a short hash: %v", err)
	}
	if status := call(greetPath, "Bearer alpha"); status != 200 {
		t.Errorf("after a mistake: status %d", status)
	}
	if err := tokens.Replace(gateway.Token{Name: "new", SHA256: gateway.HashToken("epsilon"), Namespaces: []string{"public"}}); err != nil {
		t.Fatal(err)
	}
	if status := call(greetPath, "Bearer alpha"); status != 401 {
		t.Errorf("a revoked token: status %d", status)
	}
	if status := call(greetPath, "Bearer epsilon"); status != 200 {
		t.Errorf("a new token: status %d", status)
	}
}

func TestMistakesInTokens(t *testing.T) {
	good := gateway.Token{Name: "n", SHA256: gateway.HashToken("t"), Namespaces: []string{"a"}}
	for name, change := range map[string]func(*gateway.Token){
		"no name":       func(t *gateway.Token) { t.Name = "" },
		"no hash":       func(t *gateway.Token) { t.SHA256 = "" },
		"no hex":        func(t *gateway.Token) { t.SHA256 = strings.Repeat("x", 64) },
		"no namespaces": func(t *gateway.Token) { t.Namespaces = nil },
		"no prefix":     func(t *gateway.Token) { t.Functions = "a.B" },
	} {
		bad := good
		change(&bad)
		if _, err := gateway.NewTokens(bad); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := gateway.NewTokens(make([]gateway.Token, 1025)...); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("too many: %v", err)
	}
}

// TestAuthorize checks what a hook is asked and what its errors become.
func TestAuthorize(t *testing.T) {
	var verdict error
	var asked gateway.Caller
	cfg := gateway.Config{Namespace: "public", Authorize: func(_ context.Context, c gateway.Caller) error {
		asked = c
		return verdict
	}}
	d := open(t, "h2c", entry(t, 0, greeter{}), cfg)
	for _, test := range []struct {
		err        error
		grpc, want string
	}{
		{nil, "0", ""},
		{connect.NewError(connect.CodePermissionDenied, "not you"), "7", "not you"},
		{errors.New("secret"), "16", "the gateway does not admit the call: its log has why"},
		{connect.NewError(connect.CodeInternal, "secret").WithRemote(), "16", "the gateway does not admit the call: its log has why"},
	} {
		verdict = test.err
		_, header, _ := d.post(t, greetPath, "application/grpc", "\x00\x00\x00\x00\x00", "Authorization", "Bearer t0k")
		if header.Get("Grpc-Status") != test.grpc || header.Get("Grpc-Message") != test.want {
			t.Errorf("%v: %v", test.err, header)
		}
	}
	if asked.Token != "t0k" || asked.Namespace != "public" || asked.Procedure != greetPath || !strings.HasPrefix(asked.RemoteAddr, "127.0.0.1:") {
		t.Errorf("asked for %s with %q", asked, asked.Token)
	}
	if text := fmt.Sprintf("%v %+v %#v %s", asked, asked, asked, asked); strings.Contains(text, "t0k") {
		t.Error(text)
	}
}

// TestWhatIsMeantForTheGateway checks that it ends there.
func TestWhatIsMeantForTheGateway(t *testing.T) {
	for _, pass := range []bool{false, true} {
		node := entry(t, 0, scripted{greet: func(ctx context.Context) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			h := info.RequestHeader()
			if got := h.Get("Authorization"); (got != "") != pass {
				t.Errorf("Authorization %q arrived", got)
			}
			for _, key := range []string{"Rpcmesh-Namespace", "Content-Type", "Te", "Accept-Encoding", "Grpc-Timeout", "Host", "Grpc-Accept-Encoding"} {
				if h.Has(key) {
					t.Errorf("%s arrived: %q", key, h.Values(key))
				}
			}
			if h.Get("User-Agent") != "mine" || h.Get("Ask") != "a=b" {
				t.Error("what is the caller's did not arrive")
			}
			info.ResponseHeader().Set("Access-Control-Allow-Origin", "*")
			info.ResponseHeader().Set("Content-Type", "text/html")
			return nil
		}})
		d := open(t, "h2c", node, gateway.Config{Namespace: "public", Open: true, PassAuthorization: pass})
		_, header, _ := d.post(t, greetPath, "application/grpc", "\x00\x00\x00\x00\x00", "Authorization", "Basic x", "Te", "trailers",
			"Rpcmesh-Namespace", "public", "Grpc-Timeout", "9S", "User-Agent", "mine", "Ask", "a=b", "Grpc-Accept-Encoding", "gzip")
		if header.Get("Grpc-Status") != "0" || header.Get("Access-Control-Allow-Origin") != "" || header.Get("Content-Type") != "application/grpc" {
			t.Errorf("answer: %v", header)
		}
	}
}

func TestNamespaces(t *testing.T) {
	node := rpcmeshtest.New(t).Node("n")
	for _, name := range []string{"a", "b", "hidden"} {
		if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace(name), scripted{greet: func(ctx context.Context) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			info.ResponseHeader().Set("Is", name)
			return nil
		}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := node.Group("both", []string{"b", "a"}); err != nil {
		t.Fatal(err)
	}
	d := open(t, "h2c", node, gateway.Config{Namespace: "a", Namespaces: []string{"b", "both"}, Open: true})
	for _, test := range []struct{ base, header, want string }{
		{"", "", "a"},
		{"/ns/a", "", "a"},
		{"/ns/b", "", "b"},
		{"/ns/b", "b", "b"},
		{"", "b", "b"},
		{"", "both", "b"},
		{"/ns/both", "", "b"},
	} {
		ctx, info := connect.NewClientContext(limited(t))
		if test.header != "" {
			info.RequestHeader().Set("rpcmesh-namespace", test.header)
		}
		under := door{url: d.url + test.base, client: d.client}
		if _, err := under.greet(protocols["grpc"]...).Greet(ctx, &greetv1.GreetRequest{}); err != nil || info.ResponseHeader().Get("Is") != test.want {
			t.Errorf("%+v: %q, %v", test, info.ResponseHeader().Get("Is"), err)
		}
	}
	if _, err := (door{url: d.url + "/ns/hidden", client: d.client}).greet().Greet(limited(t), &greetv1.GreetRequest{}); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a namespace that is not offered: %v", err)
	}
	if status, _, _ := d.do(t, http.MethodOptions, greetPath, ""); status != http.StatusMethodNotAllowed {
		t.Errorf("OPTIONS: %d", status)
	}
}
