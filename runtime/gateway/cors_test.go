package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

func TestCORS(t *testing.T) {
	const page = "https://app.example.com"
	cfg := public
	cfg.CORS = &gateway.CORS{
		Origins: []string{page, "https://*.example.org"}, RequestHeaders: []string{"Ask"}, ResponseHeaders: []string{"Head", "Trailer-Tail"},
	}
	node := entry(t, 0, greeter{})
	d, closed := open(t, "http/1.1", node, cfg), open(t, "http/1.1", node, public)
	preflight := func(d door, origin, method, headers string) http.Header {
		t.Helper()
		_, header, _ := d.do(t, http.MethodOptions, greetPath, "", "Origin", origin,
			"Access-Control-Request-Method", method, "Access-Control-Request-Headers", headers)
		return header
	}
	for _, origin := range []string{page, "https://a.example.org"} {
		header := preflight(d, origin, "POST", "ask,authorization,connect-protocol-version,content-type,rpcmesh-namespace,x-grpc-web")
		if header.Get("Access-Control-Allow-Origin") != origin || !strings.Contains(header.Get("Access-Control-Allow-Methods"), "POST") ||
			header.Get("Access-Control-Allow-Headers") == "" || header.Get("Access-Control-Max-Age") != "7200" ||
			header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %v", origin, header)
		}
	}
	for name, header := range map[string]http.Header{
		"other page":   preflight(d, "https://evil.example.com", "POST", "content-type"),
		"other method": preflight(d, page, "DELETE", "content-type"),
		"other header": preflight(d, page, "POST", "other"),
		"no CORS":      preflight(closed, page, "POST", "content-type"),
	} {
		if header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", name, header)
		}
	}
	_, header, _ := d.post(t, greetPath, "application/grpc-web", "\x00\x00\x00\x00\x00", "Origin", page, "Ask", "a")
	exposed := strings.ToLower(header.Get("Access-Control-Expose-Headers"))
	for _, want := range []string{"grpc-status", "grpc-message", "grpc-status-details-bin", "head", "trailer-tail"} {
		if !strings.Contains(exposed, want) {
			t.Errorf("%s is not exposed: %s", want, exposed)
		}
	}
	if header.Get("Access-Control-Allow-Origin") != page || header.Get("Head") != "a" {
		t.Errorf("a call: %v", header)
	}
	// A refusal must be seen by the page, too.
	if status, header, _ := d.post(t, "/a.B/C", "application/json", "{}", "Origin", page); status != 404 || header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("a refusal: %d, %v", status, header)
	}
	if _, header, _ := closed.post(t, greetPath, "application/json", "{}", "Origin", page); header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("without CORS: %v", header)
	}
}
