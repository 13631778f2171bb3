package adopt_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	"github.com/rpcmesh/rpcmesh/runtime/internal/certtest"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// within bounds what a test waits for.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// quick is a Config whose waits are those of a test.
func quick(configure ...func(*adopt.Config)) adopt.Config {
	cfg := adopt.Config{
		Namespace: "public", ProbeInterval: 50 * time.Millisecond, ProbeTimeout: 5 * time.Second,
		RetryMin: 2 * time.Millisecond, RetryMax: 50 * time.Millisecond,
	}
	for _, f := range configure {
		f(&cfg)
	}
	return cfg
}

// start adopts the server at url and closes it at the end of the test.
func start(t *testing.T, node *rpcmesh.Node, url string, cfg adopt.Config) *adopt.Server {
	t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	a, err := adopt.New(node, url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// ready is start, and waits until the server is up.
func ready(t *testing.T, node *rpcmesh.Node, url string, cfg adopt.Config) *adopt.Server {
	t.Helper()
	a := start(t, node, url, cfg)
	if err := a.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	return a
}

// chained links nodes a to d in a chain and returns d, which adopts, and a's namespace, two relays away.
func chained(t *testing.T) (origin *rpcmesh.Node, caller *rpcmesh.Namespace) {
	t.Helper()
	c := rpcmeshtest.New(t)
	for _, link := range [][2]string{{"b", "a"}, {"c", "b"}, {"d", "c"}} {
		c.Link(link[0], link[1], "public")
	}
	return c.Node("d"), c.Node("a").Namespace("public")
}

// lone returns a node without links.
func lone(t *testing.T) *rpcmesh.Node {
	t.Helper()
	return rpcmeshtest.New(t).Node("lone")
}

func procedures(ns *rpcmesh.Namespace) (all []string) {
	for f := range ns.Functions() {
		all = append(all, f.Procedure)
	}
	return all
}

var greeterProcedures = []string{
	greetv1rpcmesh.GreeterChatProcedure, greetv1rpcmesh.GreeterCountProcedure,
	greetv1rpcmesh.GreeterGreetProcedure, greetv1rpcmesh.GreeterSumProcedure,
}

// gone waits until ns has none of the Greeter's functions.
func gone(t *testing.T, ns *rpcmesh.Namespace) {
	t.Helper()
	ctx := within(t)
	left := procedures(ns)
	for e := range ns.Watch(ctx) {
		if left = procedures(ns); len(left) == 0 {
			return
		}
		_ = e
	}
	t.Fatalf("%v are still there", left)
}

func back(t *testing.T, ns *rpcmesh.Namespace) {
	t.Helper()
	if err := ns.WaitFor(within(t), greeterProcedures...); err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code connect.Code) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code {
		t.Errorf("got %v, want %v", err, code)
	}
}

func wantCertainty(t *testing.T, err error, certainty rpcmesh.Certainty) {
	t.Helper()
	failure, ok := rpcmesh.FailureOf(err)
	if !ok || failure.Certainty != certainty {
		t.Errorf("%v: got failure %v, want %v", err, failure, certainty)
	}
}

func certificate() (server, client *tls.Config) {
	cert, pool := certtest.New()
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: pool}
}

// greeterSet is the Greeter as `buf build -o` would write it.
func greeterSet(t *testing.T) []byte {
	t.Helper()
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(greetv1.File_example_greet_v1_greet_proto),
	}}
	b, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKinds: calls of all kinds reach a stock server through two relays, by each protocol over each HTTP that it
// has, and everything of them arrives.
func TestKinds(t *testing.T) {
	serverTLS, clientTLS := certificate()
	for _, test := range []struct {
		name     string
		protocol adopt.Protocol
		tls, old bool
	}{
		{name: "gRPC over h2c", protocol: adopt.GRPC},
		{name: "gRPC over TLS", protocol: adopt.GRPC, tls: true},
		{name: "gRPC-Web over h2c", protocol: adopt.GRPCWeb},
		{name: "gRPC-Web over TLS", protocol: adopt.GRPCWeb, tls: true},
		{name: "gRPC-Web over HTTP/1.1", protocol: adopt.GRPCWeb, old: true},
		{name: "Connect over h2c", protocol: adopt.Connect},
		{name: "Connect over TLS", protocol: adopt.Connect, tls: true},
		{name: "Connect over HTTP/1.1", protocol: adopt.Connect, old: true},
		{name: "Connect over HTTP/1.1 and TLS", protocol: adopt.Connect, old: true, tls: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newStock()
			cfg := quick(func(cfg *adopt.Config) {
				cfg.Protocol, cfg.Header = test.protocol, http.Header{"Authorization": {"Bearer of-the-node"}}
			})
			var srv *tls.Config
			if test.tls {
				srv, cfg.TLS = serverTLS.Clone(), clientTLS
			}
			if test.old {
				cfg.Descriptors = greeterSet(t)
			}
			server := serve(t, "127.0.0.1:0", mux(s.server()), srv, test.old)
			node, caller := chained(t)
			a := ready(t, node, server.url, cfg)
			if got := slices.Collect(a.Functions()); !cmp.Equal(got, greeterProcedures) {
				t.Errorf("Functions: %v", got)
			}
			back(t, caller)
			client := greetv1rpcmesh.NewGreeterClient(caller)
			t.Run("unary", func(t *testing.T) { unary(t, client, s) })
			t.Run("error", func(t *testing.T) { fails(t, client) })
			t.Run("server stream", func(t *testing.T) { counts(t, client) })
			t.Run("client stream", func(t *testing.T) { sums(t, client) })
			t.Run("bidi", func(t *testing.T) {
				if test.old {
					stream, err := client.Chat(within(t))
					if err == nil {
						_, err = stream.Receive()
					}
					wantCode(t, err, connect.CodeUnimplemented)
					return
				}
				chats(t, client, s)
				headersFirst(t, caller, s)
			})
			t.Run("canceled", func(t *testing.T) { cancels(t, client, s) })
		})
	}
}

func unary(t *testing.T, client greetv1rpcmesh.GreeterClient, s *stock) {
	ctx, cancel := context.WithTimeout(within(t), 15*time.Second)
	defer cancel()
	ctx, info := connect.NewClientContext(ctx)
	info.RequestHeader().Set("Caller-Header", "c1")
	info.RequestHeader().Set("Authorization", "Bearer of-the-caller")
	res, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
	if err != nil || res.GetGreeting() != "Hello, Ada" {
		t.Fatalf("%v, %v", res, err)
	}
	call := <-s.calls
	if got := call.header.Get("Caller-Header") + call.header.Get("Authorization"); got != "c1Bearer of-the-node" {
		t.Errorf("the server saw %q", got)
	}
	if left := time.Until(call.deadline); !call.limited || left > 15*time.Second || left < 5*time.Second {
		t.Errorf("the server has %v left", left)
	}
	if got := info.ResponseHeader().Get("Greeter-Header") + info.ResponseHeader().Get("Greeter-Bin") + info.ResponseTrailer().Get("Greeter-Trailer"); got != "h1AAH/t1" {
		t.Errorf("headers and trailers %q", got)
	}
}

func fails(t *testing.T, client greetv1rpcmesh.GreeterClient) {
	ctx, info := connect.NewClientContext(within(t))
	_, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "fail"})
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || e.Code() != connect.CodeOutOfRange || e.Message() != "nobody is called fail" || len(e.Details()) != 1 ||
		e.Details()[0].Type != "google.protobuf.Duration" {
		t.Fatalf("got %v", err)
	}
	if got := info.ResponseTrailer().Get("Greeter-Trailer"); got != "t1" {
		t.Errorf("trailer %q", got)
	}
}

func counts(t *testing.T, client greetv1rpcmesh.GreeterClient) {
	stream, err := client.Count(within(t), &greetv1.CountRequest{To: 100})
	if err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	for res, err := range stream.All() {
		n++
		if err != nil || res.GetNumber() != n {
			t.Fatalf("%v, %v", res, err)
		}
	}
	if n != 100 {
		t.Errorf("%d responses", n)
	}
}

func sums(t *testing.T, client greetv1rpcmesh.GreeterClient) {
	stream, err := client.Sum(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		if err := stream.Send(&greetv1.SumRequest{Number: i}); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := stream.CloseAndReceive(); err != nil || res.GetSum() != 4950 {
		t.Errorf("%v, %v", res, err)
	}
}

// chats: the server speaks first, before any request, and may end the call while the caller still sends.
func chats(t *testing.T, client greetv1rpcmesh.GreeterClient, s *stock) {
	ctx, info := connect.NewClientContext(within(t))
	stream, err := client.Chat(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.SendHeaders(); err != nil {
		t.Fatal(err)
	}
	say := func(line, want string) {
		t.Helper()
		if line != "" {
			if err := stream.Send(&greetv1.ChatRequest{Line: line}); err != nil {
				t.Fatal(err)
			}
		}
		if res, err := stream.Receive(); err != nil || res.GetLine() != want {
			t.Fatalf("%v, %v, want %q", res, err, want)
		}
	}
	say("", "welcome")
	<-s.started
	for range 10 {
		say("hi", "HI")
	}
	if err := stream.Send(&greetv1.ChatRequest{Line: "bye"}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Receive()
	wantCode(t, err, connect.CodeAborted)
	if got := info.ResponseTrailer().Get("Greeter-Trailer"); got != "t1" {
		t.Errorf("trailer %q", got)
	}
	if stream, err = client.Chat(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	say("", "welcome")
	<-s.started
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

// headersFirst: a server may send headers and wait for a caller who waits for them.
func headersFirst(t *testing.T, caller *rpcmesh.Namespace, s *stock) {
	ctx, info := connect.NewClientContext(within(t))
	info.RequestHeader().Set("Quiet", "1")
	stream, err := caller.NewClientStream(ctx, spec("Chat"))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if err := stream.SendHeaders(); err != nil {
		t.Fatal(err)
	}
	if !stream.(rawcall.HeaderReceiver).ReceiveHeaders() || info.ResponseHeader().Get("Greeter-Header") != "h1" {
		t.Fatalf("the headers have not come: %v", stream.Receive(new(greetv1.ChatResponse)))
	}
	<-s.started
	var res greetv1.ChatResponse
	if err := errors.Join(stream.Send(&greetv1.ChatRequest{Line: "hi"}), stream.Receive(&res)); err != nil || res.GetLine() != "HI" {
		t.Errorf("%v, %v", &res, err)
	}
	if got := info.ResponseHeader().Values("Greeter-Header"); len(got) != 1 {
		t.Errorf("headers %v", got)
	}
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	<-s.canceled
}

func cancels(t *testing.T, client greetv1rpcmesh.GreeterClient, s *stock) {
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		_, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "wait"})
		failed <- err
	}()
	<-s.started
	cancel()
	wantCode(t, <-failed, connect.CodeCanceled)
	<-s.canceled
	// A stream that is given up must not look to the server like one that has ended well.
	stream, err := client.Sum(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&greetv1.SumRequest{Number: unfinished}); err != nil {
		t.Fatal(err)
	}
	<-s.started
	if err := stream.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-s.canceled:
	case <-within(t).Done():
		t.Error("the server takes a stream that was given up for one that has ended")
	}
	for reached := false; !reached; { // it may be too late before the server has the call
		ctx, cancel := context.WithTimeout(within(t), 100*time.Millisecond)
		_, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "wait"})
		wantCode(t, err, connect.CodeDeadlineExceeded)
		cancel()
		select {
		case <-s.started:
			<-s.canceled
			reached = true
		default:
		}
	}
}
