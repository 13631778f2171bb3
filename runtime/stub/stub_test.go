package stub_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectinprocess"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/greettest"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

// greeter implements all four kinds.
type greeter = greettest.Greeter

// registrar keeps what is registered.
type registrar struct{ methods []connect.Method }

func (r *registrar) Register(methods ...connect.Method) (*rpcmesh.Origin, error) {
	r.methods = append(r.methods, methods...)
	return new(rpcmesh.Origin), nil
}

// methodsOf returns what a generated function registers for srv.
func methodsOf(t *testing.T, srv greetv1rpcmesh.GreeterServer) []connect.Method {
	t.Helper()
	reg := new(registrar)
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(reg, srv); err != nil {
		t.Fatal(err)
	}
	return reg.methods
}

// transports returns stock transports, by name, to a server that has srv's methods.
func transports(t *testing.T, srv greetv1rpcmesh.GreeterServer) map[string]connect.Transport {
	t.Helper()
	server := connect.NewServer()
	server.Register(methodsOf(t, srv)...)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	web := httptest.NewUnstartedServer(mux)
	web.EnableHTTP2 = true
	web.StartTLS()
	t.Cleanup(web.Close)
	return map[string]connect.Transport{
		"in process": connectinprocess.New(server),
		"connect":    connecthttp.NewTransport(web.Client(), web.URL),
		"grpc":       connecthttp.NewTransport(web.Client(), web.URL, connecthttp.WithGRPC()),
	}
}

func TestStubsUnary(t *testing.T) {
	for name, transport := range transports(t, greeter{}) {
		t.Run(name, func(t *testing.T) {
			client := greetv1rpcmesh.NewGreeterClient(transport)
			res, err := client.Greet(t.Context(), &greetv1.GreetRequest{Name: "Ada"})
			if err != nil || res.GetGreeting() != "Hello, Ada" {
				t.Errorf("got %v, %v", res, err)
			}
			res, err = client.Greet(t.Context(), new(greetv1.GreetRequest))
			wantError(t, err, connect.CodeInvalidArgument, "nobody to greet")
			if res != nil {
				t.Errorf("an error came with a response: %v", res)
			}
		})
	}
}

func TestStubsServerStream(t *testing.T) {
	for name, transport := range transports(t, greeter{}) {
		t.Run(name, func(t *testing.T) {
			stream, err := greetv1rpcmesh.NewGreeterClient(transport).Count(t.Context(), &greetv1.CountRequest{To: 3})
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for res, err := range stream.All() {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, res.GetNumber())
			}
			if diff := cmp.Diff([]int64{1, 2, 3}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestStubsClientStream(t *testing.T) {
	for name, transport := range transports(t, greeter{}) {
		t.Run(name, func(t *testing.T) {
			stream, err := greetv1rpcmesh.NewGreeterClient(transport).Sum(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for i := range int64(4) {
				if err := stream.Send(&greetv1.SumRequest{Number: i}); err != nil {
					t.Fatal(err)
				}
			}
			if res, err := stream.CloseAndReceive(); err != nil || res.GetSum() != 6 || res.GetCount() != 4 {
				t.Errorf("got %v, %v", res, err)
			}
			if err := stream.Close(); err != nil {
				t.Errorf("Close after CloseAndReceive: %v", err)
			}
		})
	}
}

func TestStubsBidiStream(t *testing.T) {
	for name, transport := range transports(t, greeter{}) {
		t.Run(name, func(t *testing.T) {
			stream, err := greetv1rpcmesh.NewGreeterClient(transport).Chat(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			for _, line := range []string{"hear", "me"} {
				if err := stream.Send(&greetv1.ChatRequest{Line: line}); err != nil {
					t.Fatal(err)
				}
				if res, err := stream.Receive(); err != nil || res.GetLine() != strings.ToUpper(line) {
					t.Fatalf("got %v, %v", res, err)
				}
			}
			if err := stream.CloseSend(); err != nil {
				t.Fatal(err)
			}
			if res, err := stream.Receive(); err != io.EOF { // exactly io.EOF, it says
				t.Errorf("after the end: %v, %v", res, err)
			}
		})
	}
}

func TestUnimplementedServer(t *testing.T) {
	for name, transport := range transports(t, greetv1rpcmesh.UnimplementedGreeterServer{}) {
		t.Run(name, func(t *testing.T) {
			client := greetv1rpcmesh.NewGreeterClient(transport)
			_, err := client.Greet(t.Context(), new(greetv1.GreetRequest))
			wantError(t, err, connect.CodeUnimplemented, greetv1rpcmesh.GreeterGreetProcedure+" is registered but")
			count, err := client.Count(t.Context(), new(greetv1.CountRequest))
			if err == nil {
				_, err = count.Receive()
			}
			wantError(t, err, connect.CodeUnimplemented, greetv1rpcmesh.GreeterCountProcedure)
			sum, err := client.Sum(t.Context())
			if err == nil {
				_, err = sum.CloseAndReceive()
			}
			wantError(t, err, connect.CodeUnimplemented, greetv1rpcmesh.GreeterSumProcedure)
			chat, err := client.Chat(t.Context())
			if err == nil {
				_ = chat.CloseSend()
				_, err = chat.Receive()
			}
			wantError(t, err, connect.CodeUnimplemented, greetv1rpcmesh.GreeterChatProcedure)
		})
	}
}

func TestSpecs(t *testing.T) {
	var got []string
	for _, method := range methodsOf(t, greeter{}) {
		spec := method.Spec
		schema, _ := spec.Schema.(protoreflect.MethodDescriptor)
		got = append(got, fmt.Sprint(spec.Procedure, " ", spec.StreamType, " ", spec.IdempotencyLevel, " ", schema.FullName()))
	}
	want := []string{
		"/example.greet.v1.Greeter/Greet unary no_side_effects example.greet.v1.Greeter.Greet",
		"/example.greet.v1.Greeter/Count server no_side_effects example.greet.v1.Greeter.Count",
		"/example.greet.v1.Greeter/Sum client idempotency_unknown example.greet.v1.Greeter.Sum",
		"/example.greet.v1.Greeter/Chat bidi idempotency_unknown example.greet.v1.Greeter.Chat",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestInterceptorsAreInOrder(t *testing.T) {
	var got []string
	named := func(name string) connect.ClientInterceptor {
		return func(next connect.ClientFunc) connect.ClientFunc {
			return func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
				got = append(got, name+" "+spec.Procedure)
				return next(ctx, spec)
			}
		}
	}
	server := connect.NewServer()
	server.Register(methodsOf(t, greeter{})...)
	client := greetv1rpcmesh.NewGreeterClient(connectinprocess.New(server), named("outer"), named("inner"))
	if _, err := client.Greet(t.Context(), &greetv1.GreetRequest{Name: "Ada"}); err != nil {
		t.Fatal(err)
	}
	want := []string{"outer " + greetv1rpcmesh.GreeterGreetProcedure, "inner " + greetv1rpcmesh.GreeterGreetProcedure}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRegisterServiceRefuses(t *testing.T) {
	reg := new(registrar)
	_, err := greetv1rpcmesh.RegisterGreeterOrigin(nil, greeter{})
	wantError(t, err, connect.CodeInvalidArgument, "the Registrar is nil")
	_, err = greetv1rpcmesh.RegisterGreeterOrigin(reg, nil)
	wantError(t, err, connect.CodeInvalidArgument, "the server is nil")

	// Stubs whose method the messages' package does not have, or has as another kind.
	service := func() protoreflect.ServiceDescriptor {
		return greetv1.File_example_greet_v1_greet_proto.Services().ByName("Greeter")
	}
	for name, want := range map[protoreflect.Name]string{
		"Farewell": "knows no method Farewell",
		"Count":    "is a server method in the messages' package and a unary method in the stubs",
	} {
		method := stub.NewMethodSpec(service, name)
		_, err = stub.RegisterService(reg, greetv1rpcmesh.GreeterServer(greeter{}),
			stub.UnaryMethod(method, greetv1rpcmesh.GreeterServer.Greet))
		wantError(t, err, connect.CodeFailedPrecondition, want)
		client := stub.NewClient(transportFunc(nil))
		_, err = stub.CallUnary[greetv1.GreetResponse](t.Context(), client, method, new(greetv1.GreetRequest))
		wantError(t, err, connect.CodeFailedPrecondition, want)
	}
	noService := stub.NewMethodSpec(func() protoreflect.ServiceDescriptor { return nil }, "Greet")
	if _, err := noService(); connect.CodeOf(err) != connect.CodeFailedPrecondition {
		t.Errorf("no service: %v", err)
	}
	if len(reg.methods) > 0 {
		t.Errorf("%d methods were registered none the less", len(reg.methods))
	}
}

// TestHandlerWithAStreamOfTheTests shows that a handler can be tested without a call.
func TestHandlerWithAStreamOfTheTests(t *testing.T) {
	stream := new(countStream)
	if err := (greeter{}).Count(t.Context(), &greetv1.CountRequest{To: 2}, stream); err != nil || len(stream.sent) != 2 {
		t.Errorf("sent %v, %v", stream.sent, err)
	}
}

type countStream struct {
	greetv1rpcmesh.GreeterCountServerStream
	sent []*greetv1.CountResponse
}

func (s *countStream) Send(res *greetv1.CountResponse) error {
	s.sent = append(s.sent, res)
	return nil
}

func wantError(t *testing.T, err error, code connect.Code, text string) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want %s with %q", err, code, text)
	}
}

// transportFunc is a transport of one function.
type transportFunc func(ctx context.Context, spec connect.Spec) (connect.ClientStream, error)

func (f transportFunc) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	return f(ctx, spec)
}
