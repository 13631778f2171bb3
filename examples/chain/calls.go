package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	chainv1 "github.com/rpcmesh/rpcmesh/gen/example/chain/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/chain/v1/chainv1rpcmesh"
)

// calls has one call of every function of the chain.
var calls = []account.Call{
	{Text: `A.Shout("good morning")`, Procedure: chainv1rpcmesh.AShoutProcedure, Do: shout},
	{Text: `B.Spell("mesh")`, Procedure: chainv1rpcmesh.BSpellProcedure, Do: spell},
	{Text: `B.Divide(17, 5)`, Procedure: chainv1rpcmesh.BDivideProcedure, Do: divide(17, 5)},
	{Text: `C.Average(4, 8, 15)`, Procedure: chainv1rpcmesh.CAverageProcedure, Do: average},
}

// divideByZero is a call that fails.
var divideByZero = account.Call{
	Text: `B.Divide(1, 0)`, Procedure: chainv1rpcmesh.BDivideProcedure, Do: divide(1, 0),
}

func shout(ctx context.Context, t connect.Transport) (string, error) {
	res, err := chainv1rpcmesh.NewAClient(t).Shout(ctx, &chainv1.ShoutRequest{Text: "good morning"})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%q", res.GetText()), nil
}

// spell reads a stream of responses.
func spell(ctx context.Context, t connect.Transport) (string, error) {
	stream, err := chainv1rpcmesh.NewBClient(t).Spell(ctx, &chainv1.SpellRequest{Word: "mesh"})
	if err != nil {
		return "", err
	}
	var letters []string
	for res, err := range stream.All() {
		if err != nil {
			return "", err
		}
		letters = append(letters, res.GetLetter())
	}
	return "a stream: " + strings.Join(letters, ", "), nil
}

func divide(dividend, divisor int64) func(context.Context, connect.Transport) (string, error) {
	return func(ctx context.Context, t connect.Transport) (string, error) {
		res, err := chainv1rpcmesh.NewBClient(t).Divide(ctx, &chainv1.DivideRequest{Dividend: dividend, Divisor: divisor})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d, remainder %d", res.GetQuotient(), res.GetRemainder()), nil
	}
}

// average sends and receives in turn on one stream.
func average(ctx context.Context, t connect.Transport) (string, error) {
	stream, err := chainv1rpcmesh.NewCClient(t).Average(ctx)
	if err != nil {
		return "", err
	}
	defer stream.Close()
	var means []string
	for _, number := range []float64{4, 8, 15} {
		if err := stream.Send(&chainv1.AverageRequest{Number: number}); err != nil && !errors.Is(err, io.EOF) {
			return "", err
		} // at io.EOF the call has ended: Receive tells why
		res, err := stream.Receive()
		if err != nil {
			return "", err
		}
		means = append(means, fmt.Sprint(res.GetMean()))
	}
	if err := stream.CloseSend(); err != nil {
		return "", err
	}
	if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("after the last number: %w", err)
	}
	return "both ways: " + strings.Join(means, ", "), nil
}
