package main

import (
	"context"
	"fmt"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/examples/internal/account"
	forkv1 "github.com/rpcmesh/rpcmesh/gen/example/fork/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/fork/v1/forkv1rpcmesh"
)

// calls has one call of every function of the shop.
var calls = []account.Call{
	{Text: "Stock.Reserve(1 lamp)", Procedure: forkv1rpcmesh.StockReserveProcedure, Do: reserve},
	{Text: "Prices.Quote(lamp, CHF)", Procedure: forkv1rpcmesh.PricesQuoteProcedure, Do: quote},
	{Text: "Rates.Convert(100.00 EUR, NOK)", Procedure: forkv1rpcmesh.RatesConvertProcedure, Do: convert},
	order(1, "EUR"),
	{Text: "Parcels.Track(17)", Procedure: forkv1rpcmesh.ParcelsTrackProcedure, Do: track},
}

func reserve(ctx context.Context, t connect.Transport) (string, error) {
	res, err := forkv1rpcmesh.NewStockClient(t).Reserve(ctx, &forkv1.ReserveRequest{Item: "lamp", Pieces: 1})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d left", res.GetLeft()), nil
}

func quote(ctx context.Context, t connect.Transport) (string, error) {
	res, err := forkv1rpcmesh.NewPricesClient(t).Quote(ctx, &forkv1.QuoteRequest{Item: "lamp", Currency: "CHF"})
	if err != nil {
		return "", err
	}
	return money(res.GetCents(), "CHF"), nil
}

func convert(ctx context.Context, t connect.Transport) (string, error) {
	res, err := forkv1rpcmesh.NewRatesClient(t).Convert(ctx, &forkv1.ConvertRequest{Cents: 100_00, Currency: "NOK"})
	if err != nil {
		return "", err
	}
	return money(res.GetCents(), "NOK"), nil
}

func order(pieces int64, currency string) account.Call {
	return account.Call{
		Text:      fmt.Sprintf("Orders.Place(%d lamps, %s)", pieces, currency),
		Procedure: forkv1rpcmesh.OrdersPlaceProcedure,
		Do: func(ctx context.Context, t connect.Transport) (string, error) {
			res, err := forkv1rpcmesh.NewOrdersClient(t).Place(ctx, &forkv1.PlaceRequest{
				Item: "lamp", Pieces: pieces, Currency: currency,
			})
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("%s, %d left", money(res.GetCents(), currency), res.GetLeft()), nil
		},
	}
}

func track(ctx context.Context, t connect.Transport) (string, error) {
	stream, err := forkv1rpcmesh.NewParcelsClient(t).Track(ctx, &forkv1.TrackRequest{Number: 17})
	if err != nil {
		return "", err
	}
	var stops []string
	for res, err := range stream.All() {
		if err != nil {
			return "", err
		}
		stops = append(stops, res.GetStop())
	}
	return strings.Join(stops, ", "), nil
}

func money(cents int64, currency string) string {
	return fmt.Sprintf("%d.%02d %s", cents/100, cents%100, currency)
}
