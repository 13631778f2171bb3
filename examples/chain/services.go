package main

import (
	"context"
	"strings"

	"connectrpc.com/connect/v2"

	chainv1 "github.com/rpcmesh/rpcmesh/gen/example/chain/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/chain/v1/chainv1rpcmesh"
)

// serviceA is what node A offers.
type serviceA struct{}

func (serviceA) Shout(_ context.Context, req *chainv1.ShoutRequest) (*chainv1.ShoutResponse, error) {
	return &chainv1.ShoutResponse{Text: strings.ToUpper(req.GetText())}, nil
}

// serviceB is what node B offers.
type serviceB struct{}

func (serviceB) Spell(_ context.Context, req *chainv1.SpellRequest, stream chainv1rpcmesh.BSpellServerStream) error {
	for _, letter := range req.GetWord() {
		if err := stream.Send(&chainv1.SpellResponse{Letter: string(letter)}); err != nil {
			return err
		}
	}
	return nil
}

func (serviceB) Divide(_ context.Context, req *chainv1.DivideRequest) (*chainv1.DivideResponse, error) {
	if req.GetDivisor() == 0 {
		return nil, connect.NewError(connect.CodeInvalidArgument, "the divisor is zero")
	}
	return &chainv1.DivideResponse{
		Quotient:  req.GetDividend() / req.GetDivisor(),
		Remainder: req.GetDividend() % req.GetDivisor(),
	}, nil
}

// serviceC is what node C offers.
type serviceC struct{}

func (serviceC) Average(_ context.Context, stream chainv1rpcmesh.CAverageServerStream) error {
	sum, count := 0.0, 0.0
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		sum, count = sum+req.GetNumber(), count+1
		if err := stream.Send(&chainv1.AverageResponse{Mean: sum / count}); err != nil {
			return err
		}
	}
	return nil
}
