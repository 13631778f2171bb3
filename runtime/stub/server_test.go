package stub_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
)

// scriptedServerStream gives a handler requests, and then an end, and keeps what it sends.
type scriptedServerStream struct {
	requests []proto.Message
	end      error // io.EOF if nil
	sent     []proto.Message
	headers  int
}

func (s *scriptedServerStream) Receive(msg any) error {
	if len(s.requests) == 0 {
		if s.end != nil {
			return s.end
		}
		return io.EOF
	}
	proto.Merge(msg.(proto.Message), s.requests[0])
	s.requests = s.requests[1:]
	return nil
}

func (s *scriptedServerStream) SendHeaders() error { s.headers++; return nil }

func (s *scriptedServerStream) Send(msg any) error {
	s.sent = append(s.sent, msg.(proto.Message))
	return nil
}

// serve runs the method of srv that has the procedure.
func serve(t *testing.T, srv greetv1rpcmesh.GreeterServer, procedure string, stream *scriptedServerStream) error {
	t.Helper()
	for _, method := range methodsOf(t, srv) {
		if method.Spec.Procedure == procedure {
			return method.Handler(t.Context(), method.Spec, stream)
		}
	}
	t.Fatalf("no method %s", procedure)
	return nil
}

// carelessGreeter does what a handler should not.
type carelessGreeter struct {
	greetv1rpcmesh.UnimplementedGreeterServer
	ran int
}

func (g *carelessGreeter) Greet(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	g.ran++
	return nil, nil
}

func (g *carelessGreeter) Count(_ context.Context, _ *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
	g.ran++
	return stream.Send(nil)
}

func (g *carelessGreeter) Sum(context.Context, greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	g.ran++
	return nil, nil
}

func TestHandlerWithoutAnAnswer(t *testing.T) {
	tests := map[string]string{
		greetv1rpcmesh.GreeterGreetProcedure: "returned neither a response nor an error",
		greetv1rpcmesh.GreeterCountProcedure: "sent a nil message",
		greetv1rpcmesh.GreeterSumProcedure:   "returned neither a response nor an error",
	}
	for procedure, text := range tests {
		stream := &scriptedServerStream{requests: []proto.Message{new(greetv1.GreetRequest)}}
		if procedure != greetv1rpcmesh.GreeterGreetProcedure {
			stream.requests = []proto.Message{new(greetv1.CountRequest)}
		}
		err := serve(t, new(carelessGreeter), procedure, stream)
		wantError(t, err, connect.CodeInternal, procedure+" "+text)
		if len(stream.sent) > 0 {
			t.Errorf("%s sent %v", procedure, stream.sent)
		}
	}
}

func TestRequestCount(t *testing.T) {
	broken := connect.NewError(connect.CodeUnavailable, "the link fell")
	tests := []struct {
		name   string
		stream scriptedServerStream
		code   connect.Code
		text   string
	}{
		{"none", scriptedServerStream{}, connect.CodeUnimplemented, "has no request message"},
		{"two", scriptedServerStream{requests: []proto.Message{nil, nil}}, connect.CodeUnimplemented, "has more than one request message"},
		{"broken before", scriptedServerStream{end: broken}, connect.CodeUnavailable, "the link fell"},
		{"broken behind", scriptedServerStream{requests: []proto.Message{nil}, end: broken}, connect.CodeUnavailable, "the link fell"},
	}
	messages := map[string]proto.Message{
		greetv1rpcmesh.GreeterGreetProcedure: new(greetv1.GreetRequest),
		greetv1rpcmesh.GreeterCountProcedure: new(greetv1.CountRequest),
	}
	for _, test := range tests {
		for procedure, message := range messages {
			t.Run(test.name+procedure, func(t *testing.T) {
				stream := test.stream
				stream.requests = nil
				for range test.stream.requests {
					stream.requests = append(stream.requests, message)
				}
				srv := new(carelessGreeter)
				wantError(t, serve(t, srv, procedure, &stream), test.code, test.text)
				if srv.ran > 0 {
					t.Error("the handler ran")
				}
			})
		}
	}
}

// listener notes what its streams give it.
type listener struct {
	greetv1rpcmesh.UnimplementedGreeterServer
	numbers []int64
	err     error
}

func (l *listener) Sum(_ context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	if err := stream.SendHeaders(); err != nil {
		return nil, err
	}
	for req, err := range stream.All() {
		if err != nil {
			l.err = err
			continue // a loop that goes on after an error ends none the less
		}
		if l.numbers = append(l.numbers, req.GetNumber()); req.GetNumber() == 7 {
			break
		}
	}
	return new(greetv1.SumResponse), nil
}

func TestServerStreamAll(t *testing.T) {
	broken := connect.NewError(connect.CodeUnavailable, "the link fell")
	tests := []struct {
		name string
		send []int64
		end  error
		want []int64
		err  error
		left int
	}{
		{name: "to the end", send: []int64{1, 2}, want: []int64{1, 2}},
		{name: "a wrapped end", send: []int64{1}, end: connect.NewError(connect.CodeUnknown, "").WithCause(io.EOF), want: []int64{1}},
		{name: "broken", send: []int64{1, 2}, end: broken, want: []int64{1, 2}, err: broken},
		{name: "broken off", send: []int64{7, 8, 9}, want: []int64{7}, left: 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stream := &scriptedServerStream{end: test.end}
			for _, number := range test.send {
				stream.requests = append(stream.requests, &greetv1.SumRequest{Number: number})
			}
			srv := new(listener)
			if err := serve(t, srv, greetv1rpcmesh.GreeterSumProcedure, stream); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, srv.numbers); diff != "" {
				t.Error(diff)
			}
			if !errors.Is(srv.err, test.err) || len(stream.requests) != test.left || stream.headers != 1 {
				t.Errorf("error %v, %d requests left, headers sent %d times", srv.err, len(stream.requests), stream.headers)
			}
		})
	}
}
