package gateway_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

// FuzzBody sends any body as any content, to a function of each kind: every request is answered.
func FuzzBody(f *testing.F) {
	types := []string{
		"application/proto", "application/json", "application/connect+proto", "application/connect+json",
		"application/grpc", "application/grpc+json", "application/grpc-web", "application/grpc-web+json",
	}
	paths := []string{
		greetPath, greetv1rpcmesh.GreeterCountProcedure, greetv1rpcmesh.GreeterSumProcedure, greetv1rpcmesh.GreeterChatProcedure,
	}
	for i, body := range []string{
		"\x0a\x03Ada", `{"name":"Ada"}`, "\x00\x00\x00\x00\x05\x0a\x03Ada", "\x02\x00\x00\x00\x02{}", "\x01\x00\x00\x00\x01x",
		"\x80\x00\x00\x00\x10grpc-status: 0\r\n", "\x00\xff\xff\xff\xff",
	} {
		f.Add(uint8(i), uint8(i), "", body)
		f.Add(uint8(i+2), uint8(i+1), "gzip", body)
	}
	g, err := gateway.New(entry(f, 0, greeter{}), public)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, contentType uint8, encoding, body string) {
		r := httptest.NewRequestWithContext(t.Context(), "POST", "/", strings.NewReader(body))
		r.URL.Path = paths[int(path)%len(paths)]
		r.ProtoMajor, r.ProtoMinor = 2, 0
		r.Header.Set("Content-Type", types[int(contentType)%len(types)])
		for _, name := range []string{"Content-Encoding", "Connect-Content-Encoding", "Grpc-Encoding"} {
			r.Header.Set(name, encoding)
		}
		r.Header.Set("Grpc-Timeout", "5S")
		r.Header.Set("Connect-Timeout-Ms", "5000")
		w := httptest.NewRecorder()
		g.ServeHTTP(w, r)
		if w.Code == 0 || strings.Contains(w.Body.String(), "deadline_exceeded") || w.Result().Trailer.Get("Grpc-Status") == "4" {
			t.Errorf("status %d, %q", w.Code, w.Body)
		}
	})
}
