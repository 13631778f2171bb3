package rpcmesh_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

// funcs is a Greeter of the functions that a test gives it; the others are unimplemented.
type funcs struct {
	greetv1rpcmesh.UnimplementedGreeterServer
	greet func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error)
	count func(context.Context, *greetv1.CountRequest, greetv1rpcmesh.GreeterCountServerStream) error
	sum   func(context.Context, greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error)
	chat  func(context.Context, greetv1rpcmesh.GreeterChatServerStream) error
}

func (f funcs) Greet(ctx context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	if f.greet == nil {
		return f.UnimplementedGreeterServer.Greet(ctx, req)
	}
	return f.greet(ctx, req)
}

func (f funcs) Count(ctx context.Context, req *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
	if f.count == nil {
		return f.UnimplementedGreeterServer.Count(ctx, req, stream)
	}
	return f.count(ctx, req, stream)
}

func (f funcs) Sum(ctx context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	if f.sum == nil {
		return f.UnimplementedGreeterServer.Sum(ctx, stream)
	}
	return f.sum(ctx, stream)
}

func (f funcs) Chat(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	if f.chat == nil {
		return f.UnimplementedGreeterServer.Chat(ctx, stream)
	}
	return f.chat(ctx, stream)
}

// says returns a Greeter that greets by its own name.
func says(name string) funcs {
	return funcs{greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
		return &greetv1.GreetResponse{Greeting: name + " greets " + req.GetName()}, nil
	}}
}

// echo answers each line with itself.
func echo(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		if err := stream.Send(&greetv1.ChatResponse{Line: req.GetLine()}); err != nil {
			return err
		}
	}
	return nil
}

// register registers srv's functions, or fails the test.
func register(t testing.TB, reg rpcmesh.Registrar, srv greetv1rpcmesh.GreeterServer) *rpcmesh.Origin {
	t.Helper()
	origin, err := greetv1rpcmesh.RegisterGreeterOrigin(reg, srv)
	if err != nil {
		t.Fatal(err)
	}
	return origin
}

// greeterProcedures are all functions of a Greeter.
var greeterProcedures = []string{
	greetv1rpcmesh.GreeterChatProcedure, greetv1rpcmesh.GreeterCountProcedure,
	greetv1rpcmesh.GreeterGreetProcedure, greetv1rpcmesh.GreeterSumProcedure,
}

// workSpec is a unary method that must not be repeated.
func workSpec() connect.Spec {
	return connect.Spec{Procedure: "/test.v1.Worker/Work", StreamType: connect.StreamTypeUnary}
}

// worker returns the method of workSpec.
func worker(work func(ctx context.Context, name string) (string, error)) connect.Method {
	return unary(workSpec(), work)
}

// unary returns a method of greet's messages.
func unary(spec connect.Spec, work func(ctx context.Context, name string) (string, error)) connect.Method {
	return connect.Method{Spec: spec, Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		req := new(greetv1.GreetRequest)
		if err := stream.Receive(req); err != nil {
			return err
		}
		greeting, err := work(ctx, req.GetName())
		if err != nil {
			return err
		}
		return stream.Send(&greetv1.GreetResponse{Greeting: greeting})
	}}
}

var done atomic.Uint64 // calls of do

// do calls a method made by unary: one call as stubs do, the next as connect's clients do.
func do(ctx context.Context, t connect.Transport, spec connect.Spec, name string) (string, error) {
	req := &greetv1.GreetRequest{Name: name}
	if done.Add(1)%2 == 0 {
		res := new(greetv1.GreetResponse)
		err := connect.NewClient(t).CallUnary(ctx, spec, req, res)
		return res.GetGreeting(), err
	}
	res, err := stub.CallUnary[greetv1.GreetResponse](ctx, stub.NewClient(t), func() (connect.Spec, error) { return spec, nil }, req)
	return res.GetGreeting(), err
}

// mustRegister registers methods, or fails the test.
func mustRegister(t testing.TB, reg rpcmesh.Registrar, methods ...connect.Method) *rpcmesh.Origin {
	t.Helper()
	origin, err := reg.Register(methods...)
	if err != nil {
		t.Fatal(err)
	}
	return origin
}

// greet greets name through t and returns the greeting.
func greet(ctx context.Context, t connect.Transport, name string) (string, error) {
	res, err := greetv1rpcmesh.NewGreeterClient(t).Greet(ctx, &greetv1.GreetRequest{Name: name})
	return res.GetGreeting(), err
}

// wantGreeting fails the test unless from greets.
func wantGreeting(t testing.TB, through connect.Transport, from string) {
	t.Helper()
	got, err := greet(t.Context(), through, "Ada")
	if want := from + " greets Ada"; got != want || err != nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// mustSend sends lines, or fails the test.
func mustSend(t testing.TB, stream greetv1rpcmesh.GreeterChatClientStream, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := stream.Send(&greetv1.ChatRequest{Line: line}); err != nil {
			t.Fatalf("send: %v", err)
		}
	}
}

// wantLines receives lines, or fails the test.
func wantLines(t testing.TB, stream greetv1rpcmesh.GreeterChatClientStream, lines ...string) {
	t.Helper()
	for _, want := range lines {
		res, err := stream.Receive()
		if err != nil || res.GetLine() != want {
			t.Fatalf("received %.100q, %v; want %.100q", res.GetLine(), err, want)
		}
	}
}

// wantEnd receives a good end, or fails the test.
func wantEnd(t testing.TB, stream greetv1rpcmesh.GreeterChatClientStream) {
	t.Helper()
	if res, err := stream.Receive(); !errors.Is(err, io.EOF) {
		t.Fatalf("received %v, %v; want the end", res, err)
	}
}

// mustChat opens a chat, or fails the test; it is closed with it.
func mustChat(t testing.TB, through connect.Transport) greetv1rpcmesh.GreeterChatClientStream {
	t.Helper()
	stream, err := greetv1rpcmesh.NewGreeterClient(through).Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	return stream
}
