package adopt_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestHeadersAreNotPrinted: no way of printing a configuration or a server shows the values of headers.
func TestHeadersAreNotPrinted(t *testing.T) {
	const token = "a token that is shown"
	cfg := adopt.Config{Namespace: "visible", Header: http.Header{"Authorization": {token}}}
	server, err := adopt.New(rpcmeshtest.New(t).Node("n"), "http://visible", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	for name, v := range map[string]any{
		"a config": cfg, "by pointer": &cfg, "in a struct": struct{ Config adopt.Config }{cfg},
		"by pointer in a struct": struct{ Config *adopt.Config }{&cfg}, "some": []adopt.Config{cfg}, "a server": server,
		"a server in a struct": struct{ Server *adopt.Server }{server},
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
		for _, form := range []string{token, fmt.Sprintf("%x", token), fmt.Sprintf("%d", []byte(token))} {
			if strings.Contains(out.String(), form) {
				t.Errorf("%s: shows %q:\n%s", name, form, &out)
			}
		}
		if !strings.Contains(out.String(), "visible") {
			t.Errorf("%s: nothing was printed: %s", name, &out)
		}
	}
}
