package main

import (
	"context"
	"errors"
	"sync"

	"connectrpc.com/connect/v2"

	forkv1 "github.com/rpcmesh/rpcmesh/gen/example/fork/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/fork/v1/forkv1rpcmesh"
)

// stock has one kind of thing, lamps.
type stock struct {
	mu    sync.Mutex
	lamps int64
}

func (s *stock) Reserve(_ context.Context, req *forkv1.ReserveRequest) (*forkv1.ReserveResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if req.GetPieces() < 1 || req.GetItem() != "lamp" {
		return nil, connect.NewError(connect.CodeInvalidArgument, "there are lamps, one or more")
	}
	if req.GetPieces() > s.lamps {
		return nil, connect.Errorf(connect.CodeFailedPrecondition, "there are only %d lamps", s.lamps)
	}
	s.lamps -= req.GetPieces()
	return &forkv1.ReserveResponse{Left: s.lamps}, nil
}

// prices asks for the rate of the day, wherever it is to be had.
type prices struct {
	rates forkv1rpcmesh.RatesClient
}

func (p prices) Quote(ctx context.Context, req *forkv1.QuoteRequest) (*forkv1.QuoteResponse, error) {
	const euroCents = 10_00
	res, err := p.rates.Convert(ctx, &forkv1.ConvertRequest{Cents: euroCents, Currency: req.GetCurrency()})
	if err != nil {
		return nil, passOn(err)
	}
	return &forkv1.QuoteResponse{Cents: res.GetCents()}, nil
}

// rates are fixed, to three digits.
type rates struct{}

func (rates) Convert(_ context.Context, req *forkv1.ConvertRequest) (*forkv1.ConvertResponse, error) {
	perThousand, ok := map[string]int64{"EUR": 1000, "NOK": 11_500, "CHF": 950}[req.GetCurrency()]
	if !ok {
		return nil, connect.Errorf(connect.CodeNotFound, "no rate for %q", req.GetCurrency())
	}
	return &forkv1.ConvertResponse{Cents: req.GetCents() * perThousand / 1000}, nil
}

// orders asks two other departments.
type orders struct {
	stock  forkv1rpcmesh.StockClient
	prices forkv1rpcmesh.PricesClient
}

func (o orders) Place(ctx context.Context, req *forkv1.PlaceRequest) (*forkv1.PlaceResponse, error) {
	quote, err := o.prices.Quote(ctx, &forkv1.QuoteRequest{Item: req.GetItem(), Currency: req.GetCurrency()})
	if err != nil {
		return nil, passOn(err)
	}
	reserved, err := o.stock.Reserve(ctx, &forkv1.ReserveRequest{Item: req.GetItem(), Pieces: req.GetPieces()})
	if err != nil {
		return nil, passOn(err)
	}
	return &forkv1.PlaceResponse{Cents: quote.GetCents() * req.GetPieces(), Left: reserved.GetLeft()}, nil
}

// passOn makes another handler's error this handler's own. Returned as it is, it would reach the caller
// as internal, so that nothing is told by accident.
func passOn(err error) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	return connect.NewError(e.Code(), e.Message()).WithCause(err)
}

// parcels has one parcel.
type parcels struct{}

func (parcels) Track(_ context.Context, _ *forkv1.TrackRequest, stream forkv1rpcmesh.ParcelsTrackServerStream) error {
	for _, stop := range []string{"packed", "on the ferry", "in Bergen"} {
		if err := stream.Send(&forkv1.TrackResponse{Stop: stop}); err != nil {
			return err
		}
	}
	return nil
}
