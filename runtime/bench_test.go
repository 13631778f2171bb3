package rpcmesh_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// benchChain starts a chain of nodes on loopback, all in this process, with a Greeter at its one end, and returns
// the namespace at the other.
func benchChain(b *testing.B, links int) *rpcmesh.Namespace {
	b.Helper()
	first, url := serveNode(b, rpcmesh.Config{Name: "origin", Secret: "s"})
	register(b, first.Namespace("public"), funcs{greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
		return &greetv1.GreetResponse{Greeting: req.GetName()}, nil
	}, chat: echo})
	last := first
	for i := range links {
		last, url = chained(b, i, url)
	}
	ns := last.Namespace("public")
	mustWaitFor(b, ns, greeterProcedures...)
	return ns
}

func chained(b *testing.B, i int, url string) (*rpcmesh.Node, string) {
	b.Helper()
	n, next := serveNode(b, rpcmesh.Config{Name: fmt.Sprint("node ", i), Secret: "s"})
	mustLink(b, n, url, "public")
	return n, next
}

// distance names a number of links as a reader knows them.
func distance(links int) string {
	return [...]string{"local", "direct", "one relay", "two relays"}[links]
}

// BenchmarkUnary measures unary calls of 64 bytes by 1 and by 64 callers, with allocations of the whole process:
// caller, relays and origin.
func BenchmarkUnary(b *testing.B) {
	req := &greetv1.GreetRequest{Name: strings.Repeat("x", 62)}
	for links := range 4 {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/%d", distance(links), callers), func(b *testing.B) {
				client, ctx := greetv1rpcmesh.NewGreeterClient(benchChain(b, links)), context.WithoutCancel(b.Context())
				b.ReportAllocs()
				b.ResetTimer()
				var left atomic.Int64
				left.Store(int64(b.N))
				var calling sync.WaitGroup
				for range callers {
					calling.Go(func() {
						for left.Add(-1) >= 0 {
							if _, err := client.Greet(ctx, req); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				calling.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
			})
		}
	}
}

// BenchmarkStream measures the ping-pong of one bidirectional stream, of 64 bytes.
func BenchmarkStream(b *testing.B) {
	req := &greetv1.ChatRequest{Line: strings.Repeat("x", 62)}
	for links := range 4 {
		b.Run(distance(links), func(b *testing.B) {
			stream, err := greetv1rpcmesh.NewGreeterClient(benchChain(b, links)).Chat(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer stream.Close()
			b.ReportAllocs()
			for b.Loop() {
				if err := stream.Send(req); err != nil {
					b.Fatal(err)
				}
				if _, err := stream.Receive(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkBulk measures one stream's throughput in messages of 64 KiB.
func BenchmarkBulk(b *testing.B) {
	req := &greetv1.ChatRequest{Line: strings.Repeat("x", 64<<10)}
	for links := range 4 {
		b.Run(distance(links), func(b *testing.B) {
			stream, err := greetv1rpcmesh.NewGreeterClient(benchChain(b, links)).Chat(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer stream.Close()
			b.SetBytes(int64(len(req.GetLine())))
			b.ReportAllocs()
			b.ResetTimer()
			var sending sync.WaitGroup
			sending.Go(func() {
				for range b.N {
					if err := stream.Send(req); err != nil {
						b.Error(err)
						return
					}
				}
				if err := stream.CloseSend(); err != nil {
					b.Error(err)
				}
			})
			for _, err := range stream.All() {
				if err != nil {
					b.Fatal(err)
				}
			}
			sending.Wait()
		})
	}
}
