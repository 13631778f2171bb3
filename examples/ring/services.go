package main

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect/v2"

	ringv1 "github.com/rpcmesh/rpcmesh/gen/example/ring/v1"
)

// arithmetic is what node A offers.
type arithmetic struct{}

func (arithmetic) Add(_ context.Context, req *ringv1.AddRequest) (*ringv1.AddResponse, error) {
	return &ringv1.AddResponse{Sum: req.GetA() + req.GetB()}, nil
}

// text is what node B offers.
type text struct{}

func (text) Reverse(_ context.Context, req *ringv1.ReverseRequest) (*ringv1.ReverseResponse, error) {
	runes := []rune(req.GetText())
	slices.Reverse(runes)
	return &ringv1.ReverseResponse{Text: string(runes)}, nil
}

// calendar is what node C offers.
type calendar struct{}

func (calendar) Weekday(_ context.Context, req *ringv1.WeekdayRequest) (*ringv1.WeekdayResponse, error) {
	day, err := time.Parse(time.DateOnly, req.GetDate())
	if err != nil {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "%q is no date like 2000-01-31", req.GetDate())
	}
	return &ringv1.WeekdayResponse{Weekday: day.Weekday().String()}, nil
}
