package main

import (
	"context"
	"fmt"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	ringv1 "github.com/rpcmesh/rpcmesh/gen/example/ring/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/ring/v1/ringv1rpcmesh"
)

// calls has one call of every function of the ring, in the order of the nodes that offer them.
var calls = []account.Call{
	{Text: "Arithmetic.Add(19, 23)", Procedure: ringv1rpcmesh.ArithmeticAddProcedure, Do: add},
	{Text: `Text.Reverse("live")`, Procedure: ringv1rpcmesh.TextReverseProcedure, Do: reverse},
	{Text: "Calendar.Weekday(1969-07-20)", Procedure: ringv1rpcmesh.CalendarWeekdayProcedure, Do: weekday},
}

func add(ctx context.Context, t connect.Transport) (string, error) {
	res, err := ringv1rpcmesh.NewArithmeticClient(t).Add(ctx, &ringv1.AddRequest{A: 19, B: 23})
	if err != nil {
		return "", err
	}
	return fmt.Sprint(res.GetSum()), nil
}

func reverse(ctx context.Context, t connect.Transport) (string, error) {
	res, err := ringv1rpcmesh.NewTextClient(t).Reverse(ctx, &ringv1.ReverseRequest{Text: "live"})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%q", res.GetText()), nil
}

func weekday(ctx context.Context, t connect.Transport) (string, error) {
	res, err := ringv1rpcmesh.NewCalendarClient(t).Weekday(ctx, &ringv1.WeekdayRequest{Date: "1969-07-20"})
	if err != nil {
		return "", err
	}
	return res.GetWeekday(), nil
}
