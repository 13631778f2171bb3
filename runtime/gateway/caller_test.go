package gateway_test

import (
	"context"
	"encoding/base64"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

// witness is a Greeter that notes who called last, and with which headers.
type witness struct {
	greeter

	mu     sync.Mutex
	caller rpcmesh.Caller
	addr   string
	header map[string][]string
}

func (w *witness) note(ctx context.Context) {
	info, _ := connect.CallInfoForServerContext(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.caller, _ = rpcmesh.CallerFrom(ctx)
	w.addr, w.header = info.PeerAddr, maps.Collect(info.RequestHeader().All())
}

func (w *witness) Greet(ctx context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	w.note(ctx)
	return w.greeter.Greet(ctx, req)
}

func (w *witness) Sum(ctx context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	w.note(ctx)
	return w.greeter.Sum(ctx, stream)
}

// saw returns what was noted, once.
func (w *witness) saw() (rpcmesh.Caller, string, map[string][]string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer func() { w.caller, w.addr, w.header = rpcmesh.Caller{}, "", nil }()
	return w.caller, w.addr, w.header
}

// visit is a call of a protocol's with headers.
type visit func(t *testing.T, d door, header ...string)

// visits are calls by all protocols; some go by HTTP/2 only.
var visits = map[string]struct {
	call  visit
	http2 bool
}{
	"connect": {posting("application/proto", ""), false},
	"JSON":    {posting("application/json", "{}"), false},
	"GET": {func(t *testing.T, d door, header ...string) {
		status, _, body := d.do(t, http.MethodGet, greetPath+"?encoding=json&message="+url.QueryEscape("{}"), "", header...)
		wantStatus(t, status, http.Header{}, body)
	}, false},
	"gRPC":          {posting("application/grpc", grpcGreet("Ada")), true},
	"gRPC, JSON":    {posting("application/grpc+json", "\x00\x00\x00\x00\x02{}"), true},
	"gRPC-Web":      {posting("application/grpc-web", grpcGreet("Ada")), false},
	"gRPC-Web-text": {posting("application/grpc-web-text", base64.StdEncoding.EncodeToString([]byte(grpcGreet("Ada")))), false},
	"stream": {func(t *testing.T, d door, header ...string) {
		ctx, info := connect.NewClientContext(limited(t))
		for i := 0; i < len(header); i += 2 {
			info.RequestHeader().Add(header[i], header[i+1])
		}
		stream, err := d.greet().Sum(ctx)
		if err == nil {
			_, err = stream.CloseAndReceive()
		}
		if err != nil {
			t.Error(err)
		}
	}, false},
}

func posting(contentType, body string) visit {
	return func(t *testing.T, d door, header ...string) {
		t.Helper()
		status, answered, got := d.post(t, greetPath, contentType, body, header...)
		wantStatus(t, status, answered, got)
	}
}

func wantStatus(t *testing.T, status int, header http.Header, body string) {
	t.Helper()
	if grpc := header.Get("Grpc-Status"); status != http.StatusOK || grpc != "" && grpc != "0" {
		t.Errorf("status %d, %v, %q", status, header, body)
	}
}

// visited is a node that a witness is behind, by so many relays.
func visited(t *testing.T, relays int) (*rpcmesh.Node, *witness) {
	t.Helper()
	w := new(witness)
	node := entry(t, relays, w)
	return node, w
}

// everyVisit runs test for all protocols by all doors, at the function's node and away from it.
func everyVisit(t *testing.T, cfg gateway.Config, test func(t *testing.T, w *witness, call func(header ...string))) {
	t.Helper()
	for name, relays := range map[string]int{"here": 0, "two relays": 2} {
		node, w := visited(t, relays)
		for _, kind := range allDoors() {
			d := open(t, kind, node, cfg)
			for protocol, v := range visits {
				if v.http2 && kind == "http/1.1" {
					continue
				}
				t.Run(name+"/"+kind+"/"+protocol, func(t *testing.T) {
					test(t, w, func(header ...string) { v.call(t, d, header...) })
				})
			}
		}
	}
}

// TestCaller: a function knows by which gateway, token and address it is called.
func TestCaller(t *testing.T) {
	tokens, err := gateway.NewTokens(gateway.Token{Name: "ci", SHA256: gateway.HashToken("t0k"), Namespaces: []string{"public"}})
	if err != nil {
		t.Fatal(err)
	}
	for token, cfg := range map[string]gateway.Config{
		"":   {Name: "door", Namespace: "public", Open: true},
		"ci": {Namespace: "public", Tokens: tokens},
	} {
		everyVisit(t, cfg, func(t *testing.T, w *witness, call func(header ...string)) {
			call("Authorization", "Bearer t0k", "Rpcmesh-Caller", "forged")
			caller, addr, _ := w.saw()
			want := rpcmesh.Caller{
				Node: rpcmesh.NodeIDOf("entry"), NodeName: "entry",
				Outside: rpcmesh.Outside{Gateway: "gateway", Token: token, Addr: caller.Addr},
			}
			if cfg.Name != "" {
				want.Gateway = cfg.Name
			}
			if caller != want {
				t.Errorf("got %+v, want %+v", caller, want)
			}
			if a, err := netip.ParseAddrPort(addr); err != nil || !a.Addr().IsLoopback() || addr != caller.Addr {
				t.Errorf("it came from %q, and the peer is %q", caller.Addr, addr)
			}
		})
	}
}

// TestHeadersOfOutsiders: of what a caller sends, that which says who calls and is not his to say ends at the gateway.
func TestHeadersOfOutsiders(t *testing.T) {
	sent := []string{
		"Rpcmesh-Anything", "Rpcmesh-Caller-Node", "RPCMESH-CALLER-TOKEN", "Cookie", "X-Forwarded-For", "X-Forwarded-User", "Forwarded",
		"Via", "X-Real-Ip", "X-User", "Remote-User", "X-Auth-Request-Email", "Authorization", "X-Goog-Iap-Jwt-Assertion", "X_Forwarded_Host",
		"Traceparent", "X-Request-Id", "X-Mine", "X-User-Agent", "Ask",
	}
	arrives := func(keys ...string) (arrived []string) {
		for _, key := range keys {
			arrived = append(arrived, http.CanonicalHeaderKey(key))
		}
		return arrived
	}
	everything := append(arrives(sent[3:12]...), arrives(sent[14:]...)...) // in the order of sent
	everything = append(everything[:9:9], append(arrives(sent[13]), everything[9:]...)...)
	for name, test := range map[string]struct {
		drop []string
		want []string
	}{
		"default": {nil, arrives(sent[15:]...)},
		"none":    {[]string{}, everything},
		"chosen":  {[]string{"x-*", "ASK"}, arrives("Cookie", "Forwarded", "Via", "Remote-User", "Traceparent")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := gateway.Config{Namespace: "public", Open: true, DropHeaders: test.drop}
			everyVisit(t, cfg, func(t *testing.T, w *witness, call func(header ...string)) {
				var header []string
				for _, key := range sent {
					value := "v"
					if key == "Authorization" {
						value = "Bearer v"
					}
					header = append(header, key, value)
				}
				call(header...)
				_, _, got := w.saw()
				var arrived []string
				for _, key := range sent {
					if _, ok := got[http.CanonicalHeaderKey(key)]; ok {
						arrived = append(arrived, http.CanonicalHeaderKey(key))
					}
				}
				if diff := cmp.Diff(test.want, arrived); diff != "" {
					t.Errorf("arrived (-want +got):\n%s", diff)
				}
				for key := range got {
					if strings.HasPrefix(strings.ToLower(key), "rpcmesh") {
						t.Errorf("%s arrived", key)
					}
				}
			})
		})
	}
}

// TestTrailersOfOutsiders: what stands behind a request's body arrives nowhere.
func TestTrailersOfOutsiders(t *testing.T) {
	node, w := visited(t, 0)
	for _, kind := range allDoors() {
		d := open(t, kind, node, public)
		for _, contentType := range []string{"application/grpc", "application/grpc-web"} {
			if kind == "http/1.1" && contentType == "application/grpc" {
				continue
			}
			req, err := http.NewRequestWithContext(limited(t), http.MethodPost, d.url+greetPath, strings.NewReader(grpcGreet("Ada")))
			if err != nil {
				t.Fatal(err)
			}
			req.ContentLength = -1
			req.Header.Set("Content-Type", contentType)
			req.Trailer = http.Header{"Rpcmesh-Caller-Node": {"x"}, "X-User": {"x"}, "X-Mine": {"x"}}
			res, err := d.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if _, _, got := w.saw(); got == nil || got["Rpcmesh-Caller-Node"] != nil || got["X-User"] != nil || got["X-Mine"] != nil {
				t.Errorf("%s, %s: %v", kind, contentType, got)
			}
		}
	}
}

func TestBadHeaderLists(t *testing.T) {
	node := entry(t, 0, greeter{})
	for name, cfg := range map[string]gateway.Config{
		"a colon":    {DropHeaders: []string{":path"}},
		"a star":     {DropHeaders: []string{"*"}},
		"in between": {DropHeaders: []string{"X-*-Y"}},
		"empty":      {DropHeaders: []string{""}},
		"too many":   {DropHeaders: make([]string, 257)},
		"a name":     {Name: "a\nb"},
		"long name":  {Name: strings.Repeat("x", 129)},
	} {
		cfg.Open = true
		if _, err := gateway.New(node, cfg); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
}
