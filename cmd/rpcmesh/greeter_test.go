package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/runtime/stub"
)

// greeter is a server of stock connect-go, with reflection.
type greeter struct {
	url     string
	waiting chan struct{} // a call of "wait" has come
	release chan struct{} // and may go on
}

func newGreeter(t *testing.T) *greeter {
	t.Helper()
	g := &greeter{waiting: make(chan struct{}, 1), release: make(chan struct{})}
	service := greetv1.File_example_greet_v1_greet_proto.Services().ByName("Greeter")
	server := connect.NewServer()
	for name, handler := range map[protoreflect.Name]connect.ServerFunc{"Greet": g.greet, "Count": g.count, "Sum": g.sum} {
		spec, err := stub.NewMethodSpec(func() protoreflect.ServiceDescriptor { return service }, name)()
		if err != nil {
			t.Fatal(err)
		}
		server.Register(connect.Method{Spec: spec, Handler: handler})
	}
	grpcreflect.Register(server)
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: mux, Protocols: &protocols}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-served
	})
	g.url = "http://" + l.Addr().String()
	return g
}

func (g *greeter) greet(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var req greetv1.GreetRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	switch req.GetName() {
	case "fail":
		detail, err := connectproto.NewErrorDetail(durationpb.New(time.Minute))
		if err != nil {
			return err
		}
		return connect.NewError(connect.CodeOutOfRange, "nobody is called that").WithDetail(detail).
			WithDetail(&connect.ErrorDetail{Type: "who.knows.It", Value: []byte{1, 2, 3}})
	case "clear":
		return connect.NewError(connect.CodeOutOfRange, "nobody is called \x1b[2J")
	case "wait":
		g.waiting <- struct{}{}
		<-g.release
	}
	info, _ := connect.CallInfoForServerContext(ctx)
	titles := strings.Join(append(info.RequestHeader().Values("Title"), ""), " ")
	return stream.Send(&greetv1.GreetResponse{Greeting: "Hello, " + titles + req.GetName()})
}

func (*greeter) count(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var req greetv1.CountRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	for i := range req.GetTo() {
		if err := stream.Send(&greetv1.CountResponse{Number: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

func (*greeter) sum(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var res greetv1.SumResponse
	for {
		var req greetv1.SumRequest
		switch err := stream.Receive(&req); {
		case errors.Is(err, io.EOF):
			return stream.Send(&res)
		case err != nil:
			return err
		}
		res.Sum += req.GetNumber()
		res.Count++
	}
}
