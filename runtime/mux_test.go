package rpcmesh

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2serve"
)

// anyBuffers stands for a gateway's.
type anyBuffers struct{}

func (anyBuffers) NewBufferedHandler() h2serve.BufferedHandler { return nil }

// TestMuxBuffers: the gateway is offered what [http.ServeMux] would have it serve, and nothing that another pattern
// takes, or redirects.
func TestMuxBuffers(t *testing.T) {
	const call = "/pkg.v1.Service/Method"
	for _, c := range []struct {
		patterns, path string
		offered        bool
	}{
		{"", call, true},
		{"/metrics /healthz", call, true},
		{"/metrics", "/metrics", false},
		{"/metrics", "/metrics.v1.Service/Get", true},
		{"/pkg.v1.Service/", call, false},
		{"/pkg.v1.Service/", "/pkg.v1.Service", false}, // is redirected
		{"/pkg.v1.Service/Method/", call, false},       // likewise
		{"/pkg.v1.Service/Method", call, false},
		{"/pkg.v1.Service/Method", call + "?a=b", false},
		{"/pkg.v1.Service/Method", call + "2", true},
		{"/pkg.v1.Service/{method}", call, false},
		{"/{$}", call, true},
		{"/pkg.v1.Service/Method/{$}", call, false}, // likewise
		{"/pkg.v1.Service/{$}", call, true},
		{"/{service}/{$}", call, false}, // it may not
		{"/pkg%2Ev1.Service/Method", call, false},
		{"/other", "/pkg.v1.Service/M%65thod", false}, // may be, and no name of a function has escapes
		{"host/pkg.v1.Service/", call, false},
		{"host/", call, false},
		{"elsewhere/", call, true},
	} {
		for _, method := range []string{"", "POST ", "GET ", "PUT\t "} {
			var m nodeMux
			gateway := http.NotFoundHandler()
			m.mountGateway(gateway, anyBuffers{})
			for pattern := range strings.FieldsSeq(c.patterns) {
				m.Handle(method+pattern, http.NotFoundHandler())
			}
			want := c.offered || method != "" && method != "POST " && !strings.Contains(c.path, "%")
			got := m.buffers(&h2serve.Request{Method: http.MethodPost, Authority: "host:80", Path: c.path}) != nil
			if got != want {
				t.Errorf("%q%s: %s is offered: %v, want %v", method, c.patterns, c.path, got, want)
			}
			u, err := url.ParseRequestURI(c.path)
			if err != nil {
				t.Fatal(err)
			}
			_, pattern := m.Handler(&http.Request{Method: http.MethodPost, Host: "host:80", URL: u})
			if got && pattern != "/" {
				t.Errorf("%q%s: %s is offered, and the mux has it go to %s", method, c.patterns, c.path, pattern)
			}
		}
	}
}

// TestMuxWithoutGateway: where none is mounted, or a handler has taken its pattern, nothing is offered.
func TestMuxWithoutGateway(t *testing.T) {
	var m nodeMux
	m.Handle("/", http.NotFoundHandler())
	if m.hasGateway() || m.buffers(&h2serve.Request{Method: http.MethodPost, Path: "/a.B/C"}) != nil {
		t.Error("there is a gateway")
	}
	defer func() {
		if recover() == nil || m.hasGateway() {
			t.Error("a second handler was mounted at /")
		}
	}()
	m.mountGateway(http.NotFoundHandler(), anyBuffers{})
}
