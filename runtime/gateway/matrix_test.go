package gateway_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"github.com/google/go-cmp/cmp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
)

// TestMatrix calls every kind of function by every protocol, codec, compression and version of HTTP that
// go together, at the gateway's own node and two relays away.
func TestMatrix(t *testing.T) {
	for _, relays := range []int{0, 2} {
		node := entry(t, relays, greeter{})
		for _, httpVersion := range allDoors() {
			d := open(t, httpVersion, node, public)
			for protocol, option := range map[string]connecthttp.Option{"connect": nil, "grpc": connecthttp.WithGRPC(), "grpc-web": connecthttp.WithGRPCWeb()} {
				if httpVersion == "http/1.1" && protocol == "grpc" {
					continue
				}
				for _, json := range []bool{false, true} {
					for _, gzip := range []bool{false, true} {
						options := []connecthttp.Option{}
						if option != nil {
							options = append(options, option)
						}
						if json {
							options = append(options, connecthttp.WithProtoJSON())
						}
						if gzip {
							options = append(options, connecthttp.WithSendGzip())
						}
						t.Run(fmt.Sprintf("relays=%d/%s/%s/json=%v/gzip=%v", relays, httpVersion, protocol, json, gzip), func(t *testing.T) {
							kinds(t, d.greet(options...), httpVersion != "http/1.1")
						})
					}
				}
			}
		}
	}
}

// kinds calls every function of a [greeter].
func kinds(t *testing.T, client greetv1rpcmesh.GreeterClient, duplex bool) {
	t.Run("unary", func(t *testing.T) { unary(t, client) })
	t.Run("server", func(t *testing.T) { serverStream(t, client) })
	t.Run("client", func(t *testing.T) { clientStream(t, client) })
	if duplex {
		t.Run("bidi", func(t *testing.T) { bidiStream(t, client) })
	}
}

func checkEcho(t *testing.T, info *connect.CallInfo) {
	t.Helper()
	if diff := cmp.Diff([]string{"a", "b"}, split(info.ResponseHeader().Values("Head"))); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"a", "b"}, split(info.ResponseTrailer().Values("Tail"))); diff != "" {
		t.Errorf("trailer (-want +got):\n%s", diff)
	}
	if b, err := connect.DecodeBinaryHeader(info.ResponseTrailer().Get("Tail-Bin")); err != nil || string(b) != "\x00\xff\x07" {
		t.Errorf("binary trailer: %q, %v", b, err)
	}
}

// split undoes what a proxy may do, and gRPC-Web's clients do.
func split(values []string) []string { return strings.Split(strings.Join(values, ","), ",") }

func unary(t *testing.T, client greetv1rpcmesh.GreeterClient) {
	ctx, info := connect.NewClientContext(limited(t))
	info.RequestHeader().SetValues("Ask", []string{"a", "b"})
	name := strings.Repeat("Ada", 15_000)
	res, err := client.Greet(ctx, &greetv1.GreetRequest{Name: name})
	if err != nil || res.GetGreeting() != "Hello, "+name {
		t.Errorf("got %.20q, %v", res.GetGreeting(), err)
	}
	checkEcho(t, info)
	_, err = client.Greet(ctx, &greetv1.GreetRequest{Name: "fail"})
	checkRefusal(t, err)
	res, err = client.Greet(limited(t), &greetv1.GreetRequest{})
	if err != nil || res.GetGreeting() != "Hello, " {
		t.Errorf("an empty message: %v, %v", res, err)
	}
}

func serverStream(t *testing.T, client greetv1rpcmesh.GreeterClient) {
	ctx, info := connect.NewClientContext(limited(t))
	info.RequestHeader().SetValues("Ask", []string{"a", "b"})
	for _, to := range []int64{100, 0, -3} {
		stream, err := client.Count(ctx, &greetv1.CountRequest{To: to})
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		for res, err := range stream.All() {
			if err != nil {
				checkRefusal(t, err)
				break
			}
			n++
			if res.GetNumber() != n {
				t.Errorf("number %d is %d", n, res.GetNumber())
			}
		}
		if n != max(to, -to) {
			t.Errorf("%d responses for %d", n, to)
		}
		checkEcho(t, info)
	}
}

func clientStream(t *testing.T, client greetv1rpcmesh.GreeterClient) {
	ctx, info := connect.NewClientContext(limited(t))
	info.RequestHeader().SetValues("Ask", []string{"a", "b"})
	stream, err := client.Sum(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(100) {
		if err := stream.Send(&greetv1.SumRequest{Number: i}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := stream.CloseAndReceive()
	if err != nil || res.GetSum() != 4950 || res.GetCount() != 100 {
		t.Errorf("got %v, %v", res, err)
	}
	checkEcho(t, info)
	// The function ends the call while its caller has not.
	if stream, err = client.Sum(ctx); err != nil {
		t.Fatal(err)
	}
	_ = stream.Send(&greetv1.SumRequest{Number: -1})
	_, err = stream.CloseAndReceive()
	checkRefusal(t, err)
}

func bidiStream(t *testing.T, client greetv1rpcmesh.GreeterClient) {
	for _, last := range []string{"", "bye", "fail"} {
		ctx, info := connect.NewClientContext(limited(t))
		info.RequestHeader().SetValues("Ask", []string{"a", "b"})
		stream, err := client.Chat(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			line := fmt.Sprintf("line %d", i)
			if err := stream.Send(&greetv1.ChatRequest{Line: line}); err != nil {
				t.Fatal(err)
			}
			if res, err := stream.Receive(); err != nil || res.GetLine() != strings.ToUpper(line) {
				t.Fatalf("got %v, %v", res, err)
			}
		}
		if last == "" {
			if err := stream.CloseSend(); err != nil {
				t.Error(err)
			}
		} else if err := stream.Send(&greetv1.ChatRequest{Line: last}); err != nil {
			t.Error(err)
		}
		if _, err = stream.Receive(); last == "fail" {
			checkRefusal(t, err)
		} else if !errors.Is(err, io.EOF) {
			t.Errorf("after %q: %v", last, err)
		}
		checkEcho(t, info)
		_ = stream.Close()
	}
}
