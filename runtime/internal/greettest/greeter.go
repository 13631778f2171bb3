// Package greettest has the examples' service for tests.
package greettest

import (
	"context"
	"errors"
	"io"
	"strings"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
)

// Greeter implements all four kinds of methods: it greets whoever has a name, counts, sums, and shouts lines back.
type Greeter struct{}

var _ greetv1rpcmesh.GreeterServer = Greeter{}

// Greet refuses an empty name with invalid_argument.
func (Greeter) Greet(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	if req.GetName() == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, "nobody to greet")
	}
	return &greetv1.GreetResponse{Greeting: "Hello, " + req.GetName()}, nil
}

// Count sends the numbers from one.
func (Greeter) Count(_ context.Context, req *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
	for i := range req.GetTo() {
		if err := stream.Send(&greetv1.CountResponse{Number: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

// Sum adds up all that comes, and says how much that was.
func (Greeter) Sum(_ context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	res := new(greetv1.SumResponse)
	for req, err := range stream.All() {
		if err != nil {
			return nil, err
		}
		res.Sum += req.GetNumber()
		res.Count++
	}
	return res, nil
}

// Chat sends its headers at once, and each line in upper case.
func (Greeter) Chat(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	if err := stream.SendHeaders(); err != nil {
		return err
	}
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&greetv1.ChatResponse{Line: strings.ToUpper(req.GetLine())}); err != nil {
			return err
		}
	}
}
