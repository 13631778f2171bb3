package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

// TestTokensAreNotPrinted: no way of printing a caller, a configuration or a set of tokens shows a token or its hash.
func TestTokensAreNotPrinted(t *testing.T) {
	const token = "a token that is shown"
	tokens, err := gateway.NewTokens(gateway.Token{Name: "ci", SHA256: gateway.HashToken(token), Namespaces: []string{"public"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := gateway.Config{Name: "visible", Tokens: tokens}
	caller := gateway.Caller{Token: token, Namespace: "public", Procedure: "visible"}
	for name, v := range map[string]any{
		"a config": cfg, "one by pointer": &cfg, "one in a struct": struct{ Config gateway.Config }{cfg},
		"one by pointer in a struct": struct{ Config *gateway.Config }{&cfg}, "some": []gateway.Config{cfg},
		"a caller": caller, "one in a map": map[string]gateway.Caller{"a": caller}, "one's pointer": &caller,
		"a caller in a struct": struct{ Caller gateway.Caller }{caller}, "tokens": tokens,
	} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		b, _ := json.Marshal(v) // it need not be able to
		out.Write(b)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("printed", "value", v)
		}
		for _, form := range []string{token, fmt.Sprintf("%x", token), fmt.Sprintf("%d", []byte(token)), gateway.HashToken(token)} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%s: shows %q:\n%s", name, form, &out)
			}
		}
		if !strings.Contains(name, "pointer in") && !strings.Contains(out.String(), "visible") && name != "tokens" {
			t.Errorf("%s: nothing was printed", name)
		}
	}
	if got := fmt.Sprint(tokens, new(gateway.Tokens), (*gateway.Tokens)(nil)); got != "1 of them 0 of them 0 of them" {
		t.Errorf("tokens print as %s", got)
	}
}
