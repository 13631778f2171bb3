package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/grpcreflect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

const (
	healthPath = "/grpc.health.v1.Health/Check"
	greeterIs  = `{"service":"example.greet.v1.Greeter"}`
)

// TestOwnServices: reflection and health of a namespace two relays away, by every protocol.
func TestOwnServices(t *testing.T) {
	d := open(t, "h2c", entry(t, 2, greeter{}), public)
	for name, options := range map[string][]connecthttp.Option{
		"connect": nil, "connect, JSON": {connecthttp.WithProtoJSON()},
		"grpc": {connecthttp.WithGRPC()}, "grpcweb": {connecthttp.WithGRPCWeb()},
	} {
		stream := grpcreflect.NewClient(connect.NewClient(connecthttp.NewTransport(d.client, d.url, options...))).NewStream(limited(t))
		names, err := stream.ListServices()
		want := []protoreflect.FullName{
			"example.greet.v1.Greeter", "grpc.health.v1.Health",
			"grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection",
		}
		if diff := cmp.Diff(want, names); diff != "" || err != nil {
			t.Errorf("%s: %v, services (-want +got):\n%s", name, err, diff)
		}
		files, err := stream.FileContainingSymbol("example.greet.v1.Greeter")
		if err != nil || files[0].GetName() != "example/greet/v1/greet.proto" {
			t.Errorf("%s: file: %v", name, err)
		}
		if err := stream.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for service, want := range map[string]struct {
		status int
		body   string
	}{
		greeterIs: {200, "SERVING"}, `{}`: {200, "SERVING"}, `{"service":"no.Such"}`: {404, "not_found"},
	} {
		if status, _, body := d.post(t, healthPath, "application/json", service); status != want.status || !strings.Contains(body, want.body) {
			t.Errorf("health of %s: %d %s", service, status, body)
		}
	}
}

// TestOwnServicesByNamespace: a namespace's reflection and health tell nothing of another.
func TestOwnServicesByNamespace(t *testing.T) {
	node := entry(t, 0, greeter{})
	node.Namespace("other")
	cfg := public
	cfg.Namespaces = []string{"other"}
	d := open(t, "h2c", node, cfg)
	for path, want := range map[string]string{
		healthPath: "SERVING", "/ns/public" + healthPath: "SERVING", "/ns/other" + healthPath: "not_found",
		"/ns/secret" + healthPath: "the gateway has no namespace",
	} {
		if _, _, body := d.post(t, path, "application/json", greeterIs); !strings.Contains(body, want) {
			t.Errorf("%s: %s", path, body)
		}
	}
	stream := grpcreflect.NewClient(connect.NewClient(connecthttp.NewTransport(d.client, d.url+"/ns/other"))).NewStream(limited(t))
	if names, err := stream.ListServices(); err != nil || len(names) != 3 {
		t.Errorf("services of an empty namespace: %v, %v", names, err)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
}

// TestOwnServicesOff: what is off is nowhere, and may be a function of the namespace.
func TestOwnServicesOff(t *testing.T) {
	cfg := public
	cfg.NoHealth, cfg.NoReflection = true, true
	d := open(t, "h2c", entry(t, 0, greeter{}), cfg)
	for _, path := range []string{healthPath, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		if status, _, body := d.post(t, path, "application/json", "{}"); status != http.StatusNotFound || !strings.Contains(body, "unimplemented") {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
}

// TestOwnServicesAuthorized: who may not call may not ask either.
func TestOwnServicesAuthorized(t *testing.T) {
	cfg := gateway.Config{Namespace: "public", Authorize: func(_ context.Context, c gateway.Caller) error {
		if c.Procedure == healthPath && c.Namespace == "public" {
			return nil
		}
		return connect.NewError(connect.CodePermissionDenied, "only health")
	}}
	d := open(t, "h2c", entry(t, 0, greeter{}), cfg)
	if status, _, body := d.post(t, healthPath, "application/json", greeterIs); status != http.StatusOK {
		t.Errorf("health: %d %s", status, body)
	}
	stream := grpcreflect.NewClient(connect.NewClient(connecthttp.NewTransport(d.client, d.url))).NewStream(limited(t))
	if names, err := stream.ListServices(); connect.CodeOf(err) != connect.CodePermissionDenied {
		t.Errorf("services: %v, %v", names, err)
	}
	_ = stream.Close() // it was refused
}

// TestOpenHealth: probes that have no token are told of health, and of nothing else.
func TestOpenHealth(t *testing.T) {
	node := entry(t, 0, greeter{})
	for _, open := range []bool{false, true} {
		g, err := gateway.New(node, gateway.Config{Namespace: "public", Tokens: new(gateway.Tokens), OpenHealth: open})
		if err != nil {
			t.Fatal(err)
		}
		d := serve(t, "h2c", g)
		want := http.StatusUnauthorized
		if open {
			want = http.StatusOK
		}
		for _, body := range []string{"{}", greeterIs} {
			for _, header := range [][]string{nil, {"Authorization", "Basic x"}} {
				if status, _, got := d.post(t, healthPath, "application/json", body, header...); status != want {
					t.Errorf("open %v, %s: %d, %s", open, body, status, got)
				}
			}
		}
		for _, path := range []string{"/grpc.health.v1.Health/List", greetPath, "/grpc.health.v1.Health/Check2"} {
			if status, _, got := d.post(t, path, "application/json", "{}"); status != http.StatusUnauthorized {
				t.Errorf("open %v, %s: %d, %s", open, path, status, got)
			}
		}
	}
}

// TestMaxMessage bounds what callers send, not what they are sent.
func TestMaxMessage(t *testing.T) {
	c := rpcmeshtest.New(t)
	node := c.Node("entry")
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), greeter{}); err != nil {
		t.Fatal(err)
	}
	cfg := public
	cfg.MaxMessage = 20
	client := open(t, "h2c", node, cfg).greet()
	name := strings.Repeat("a", 18)
	if res, err := client.Greet(t.Context(), &greetv1.GreetRequest{Name: name}); err != nil || res.GetGreeting() != "Hello, "+name {
		t.Errorf("as long as may be: %v, %v", res, err)
	}
	if _, err := client.Greet(t.Context(), &greetv1.GreetRequest{Name: name + "a"}); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("longer: %v", err)
	}
	cfg.MaxMessage = -1
	if _, err := gateway.New(node, cfg); connect.CodeOf(err) != connect.CodeInvalidArgument {
		t.Errorf("negative: %v", err)
	}
}
