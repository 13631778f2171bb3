package adopt

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// state is what grpc.health.v1 says of a service, as its ServingStatus numbers it. A generated package of it
// would clash with grpc-go's in a program that has both.
type state int

const (
	stateUnknown    state = 0 // and what this end has made of "no such service"
	stateServing    state = 1
	stateNotServing state = 2
)

const fieldService, fieldStatus = 1, 1

var (
	checkSpec = connect.Spec{Procedure: "/grpc.health.v1.Health/Check", IdempotencyLevel: connect.IdempotencyNoSideEffects}
	watchSpec = connect.Spec{Procedure: "/grpc.health.v1.Health/Watch", StreamType: connect.StreamTypeServer}
)

func healthRequest(service string) *rawcall.Message {
	if service == "" {
		return &rawcall.Message{}
	}
	return &rawcall.Message{B: protowire.AppendString(protowire.AppendTag(nil, fieldService, protowire.BytesType), service)}
}

func healthResponse(b []byte) (state, error) {
	status := stateUnknown
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
		if number == fieldStatus && kind == protowire.VarintType {
			var v uint64
			v, n = protowire.ConsumeVarint(b)
			if n >= 0 {
				status = state(min(v, 1<<30))
			}
		} else {
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return status, nil
}

// health asks a server how it is.
type health struct {
	transport connect.Transport
	timeout   time.Duration
}

// check asks for the state of service. known is false where the server has no health service; alive, where
// there is an error, that the server has at least answered.
func (h *health) check(ctx context.Context, service string) (s state, known, alive bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.timeout)
	defer cancel()
	ctx, _ = connect.NewClientContext(ctx)
	var res rawcall.Message
	err = connect.NewClient(h.transport).CallUnary(ctx, checkSpec, healthRequest(service), &res)
	if err == nil {
		s, err = healthResponse(res.B)
		return s, err == nil, true, err
	}
	info, _ := connecthttp.ClientInfoForContext(ctx)
	code := connect.CodeOf(err)
	switch {
	case info.ResponseStatus() == 0, code == connect.CodeUnavailable, code == connect.CodeDeadlineExceeded, code == connect.CodeCanceled:
		return 0, false, false, err
	case code == connect.CodeNotFound:
		return stateUnknown, true, true, nil
	case code == connect.CodeUnimplemented:
		return 0, false, true, nil
	}
	return 0, false, true, err
}

// errNoWatch tells that a server has no Health/Watch.
var errNoWatch = errors.New("the server has no Health/Watch")

// watch reports the states of service as they change, until the stream ends.
func (h *health) watch(ctx context.Context, service string, report func(state)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream where the server goes on
	stream, err := h.transport.NewClientStream(ctx, watchSpec)
	if err != nil {
		return err
	}
	defer stream.Close()
	if err := errors.Join(stream.Send(healthRequest(service)), stream.CloseSend()); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for {
		var res rawcall.Message
		err := stream.Receive(&res)
		switch {
		case connect.CodeOf(err) == connect.CodeUnimplemented:
			return errNoWatch
		case errors.Is(err, io.EOF):
			return connect.NewError(connect.CodeUnavailable, "the server has ended Health/Watch")
		case err != nil:
			return err
		}
		s, err := healthResponse(res.B)
		if err != nil {
			return err
		}
		report(s)
	}
}
