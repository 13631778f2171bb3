package gateway_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) Flush()                      {}

// BenchmarkUnary serves one unary gRPC call after the other without a network: what the gateway adds to
// connecthttp, for a function here.
func BenchmarkUnary(b *testing.B) {
	g, err := gateway.New(entry(b, 0, greeter{}), public)
	if err != nil {
		b.Fatal(err)
	}
	mux := http.NewServeMux()
	server := connect.NewServer()
	server.Register(connect.Method{
		Spec: connect.Spec{Procedure: greetPath},
		Handler: func(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
			req := new(greetv1.GreetRequest)
			if err := s.Receive(req); err != nil {
				return err
			}
			res, err := greeter{}.Greet(ctx, req)
			if err != nil {
				return err
			}
			return s.Send(res)
		},
	})
	connecthttp.Mount(mux, server)
	for _, test := range []struct {
		name    string
		handler http.Handler
	}{{"gateway", g}, {"connecthttp", mux}} {
		for _, codec := range []struct{ name, contentType, body string }{
			{"proto", "application/grpc", "\x00\x00\x00\x00\x05\x0a\x03Ada"},
			{"json", "application/grpc+json", "\x00\x00\x00\x00\x0e{\"name\":\"Ada\"}"},
		} {
			b.Run(test.name+"/"+codec.name, func(b *testing.B) {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, greetPath, http.NoBody)
				if err != nil {
					b.Fatal(err)
				}
				r.ProtoMajor = 2
				r.Header.Set("Te", "trailers")
				r.Header.Set("User-Agent", "bench")
				b.ReportAllocs()
				for b.Loop() {
					r.Header.Set("Content-Type", codec.contentType)
					r.Body = io.NopCloser(bytes.NewReader([]byte(codec.body)))
					w := &discard{http.Header{}}
					test.handler.ServeHTTP(w, r)
					if w.header.Get(http.TrailerPrefix+"Grpc-Status") != "0" {
						b.Fatal(w.header)
					}
				}
			})
		}
	}
}
