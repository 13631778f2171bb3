package rpcmesh_test

import (
	"context"
	"net"
	"testing"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// BenchmarkUnary calls through generated stubs. Its allocations are those of the caller's node and of the
// origin's together, with two for each message: the message, and its text.
func BenchmarkUnary(b *testing.B) {
	origin := benchNode(b)
	register(b, origin.Namespace("bench"), funcs{greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
		return &greetv1.GreetResponse{Greeting: req.GetName()}, nil
	}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = origin.Serve(b.Context(), l) }()
	caller := benchNode(b)
	link, err := caller.Link("http://"+l.Addr().String(), "bench")
	if err != nil {
		b.Fatal(err)
	}
	if err := link.Ready(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Run("local", func(b *testing.B) { benchUnary(b, origin) })
	b.Run("link", func(b *testing.B) { benchUnary(b, caller) })
}

func benchNode(b *testing.B) *rpcmesh.Node {
	n, err := rpcmesh.NewNode(rpcmesh.Config{Secret: "secret"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = n.Close() })
	return n
}

func benchUnary(b *testing.B, from *rpcmesh.Node) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	client := greetv1rpcmesh.NewGreeterClient(from.Namespace("bench"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "Ada"}); err != nil {
			b.Fatal(err)
		}
	}
}
