package rpcmesh_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
)

// greeter implements all four kinds.
type greeter struct{}

func (greeter) Greet(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	if req.GetName() == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, "nobody to greet")
	}
	return &greetv1.GreetResponse{Greeting: "Hello, " + req.GetName()}, nil
}

func (greeter) Count(_ context.Context, req *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
	for i := range req.GetTo() {
		if err := stream.Send(&greetv1.CountResponse{Number: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

func (greeter) Sum(_ context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
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

func (greeter) Chat(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
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

func wantError(t *testing.T, err error, code connect.Code, text string) {
	t.Helper()
	if err == nil || connect.CodeOf(err) != code || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want %s with %q", err, code, text)
	}
}
