package interop

import (
	"context"
	"strings"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"

	interopv1 "github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1rpcmesh"
)

const (
	markHeader  = "interop-mark"
	markTrailer = "interop-mark-trailer"
)

// echo is the service on the project's own stubs.
type echo struct{}

// mark answers with the caller's mark.
func mark(ctx context.Context) {
	info, ok := connect.CallInfoForServerContext(ctx)
	if !ok || !info.RequestHeader().Has(markHeader) {
		return
	}
	info.ResponseHeader().Set(markHeader, info.RequestHeader().Get(markHeader))
	info.ResponseTrailer().Set(markTrailer, info.RequestHeader().Get(markHeader))
}

// failure is what the text "fail" leads to.
func failure() error {
	err := connect.NewError(connect.CodeFailedPrecondition, "as you wish: ✓")
	detail, failed := connectproto.NewErrorDetail(&interopv1.FailDetail{Reason: "wished"})
	if failed != nil {
		return failed
	}
	return err.WithDetail(detail)
}

func (echo) Echo(ctx context.Context, req *interopv1.EchoRequest) (*interopv1.EchoResponse, error) {
	mark(ctx)
	switch req.GetText() {
	case "fail":
		return nil, failure()
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &interopv1.EchoResponse{Text: req.GetText(), Data: req.GetData(), Number: req.GetNumber()}, nil
}

func (echo) Repeat(ctx context.Context, req *interopv1.RepeatRequest, stream interopv1rpcmesh.EchoServiceRepeatServerStream) error {
	mark(ctx)
	for time := range req.GetTimes() {
		if err := stream.Send(&interopv1.RepeatResponse{Text: req.GetText(), Time: time + 1}); err != nil {
			return err
		}
	}
	if req.GetText() == "fail" {
		return failure()
	}
	return nil
}

func (echo) Join(ctx context.Context, stream interopv1rpcmesh.EchoServiceJoinServerStream) (*interopv1.JoinResponse, error) {
	mark(ctx)
	var texts []string
	for req, err := range stream.All() {
		if err != nil {
			return nil, err
		}
		texts = append(texts, req.GetText())
	}
	return &interopv1.JoinResponse{Text: strings.Join(texts, " ")}, nil
}

func (echo) Chat(ctx context.Context, stream interopv1rpcmesh.EchoServiceChatServerStream) error {
	mark(ctx)
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		if err := stream.Send(&interopv1.ChatResponse{Text: req.GetText()}); err != nil {
			return err
		}
	}
	return nil
}
