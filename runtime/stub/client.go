package stub

import (
	"context"
	"errors"
	"io"
	"iter"

	"connectrpc.com/connect/v2"

	_ "github.com/rpcmesh/rpcmesh/runtime" // provides rawcall
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// ClientReceiveStream is the caller's end of a server-streaming call. The caller owns it: it is
// released by receiving to the end, by Close, or by ending the call's context, whichever comes first.
// One goroutine may receive at a time; Close may be called beside it.
//
// Headers and trailers are reached through [connect.NewClientContext].
//
// It is an interface so that tests can stand in for a client. It may gain methods: embed it in such a
// stream.
type ClientReceiveStream[Res any] interface {
	// Receive returns the next response, which then belongs to the caller. It fails with exactly
	// io.EOF once the handler has ended well, and with the call's error otherwise.
	Receive() (*Res, error)
	// All yields the responses until the handler has ended well. When the call fails it yields its
	// error, once and last. When the loop ends, broken off or not, the stream is closed.
	All() iter.Seq2[*Res, error]
	// Close ends the call, cancelling it where it still runs, and releases the stream. It may be
	// called again, to no effect.
	Close() error
}

// ClientSendStream is the caller's end of a client-streaming call. The caller owns it: it is released
// by CloseAndReceive, by Close, or by ending the call's context, whichever comes first. One goroutine
// may use it at a time; Close may be called beside it.
//
// Headers and trailers are reached through [connect.NewClientContext].
//
// It is an interface so that tests can stand in for a client. It may gain methods: embed it in such a
// stream.
type ClientSendStream[Req, Res any] interface {
	// SendHeaders opens the call now rather than with the first message. It may be called again, to
	// no effect.
	SendHeaders() error
	// Send sends one request. It waits while the handler's window is full. Once the call has ended it
	// fails with an error that is io.EOF by [errors.Is]: CloseAndReceive then tells why. A nil request
	// fails with invalid_argument and sends nothing, and so does, with failed_precondition, one after
	// CloseAndReceive. req may be changed again once Send has returned.
	Send(req *Req) error
	// CloseAndReceive says that all is sent, waits for the response and releases the stream. It is called
	// once: again it fails with failed_precondition.
	CloseAndReceive() (*Res, error)
	// Close ends the call, cancelling it where it still runs, and releases the stream. It may be
	// called again, and after CloseAndReceive, to no effect.
	Close() error
}

// ClientBidiStream is the caller's end of a bidirectional call. The caller owns it: it is released by
// receiving to the end, by Close, or by ending the call's context, whichever comes first. One
// goroutine may send while another receives; Close may be called beside both.
//
// Headers and trailers are reached through [connect.NewClientContext].
//
// It is an interface so that tests can stand in for a client. It may gain methods: embed it in such a
// stream.
type ClientBidiStream[Req, Res any] interface {
	ClientReceiveStream[Res]
	// SendHeaders opens the call now rather than with the first message. It may be called again, to
	// no effect.
	SendHeaders() error
	// Send sends one request. It waits while the handler's window is full. Once the call has ended it
	// fails with an error that is io.EOF by [errors.Is]: Receive then tells why. A nil request fails
	// with invalid_argument and sends nothing, and so does, with failed_precondition, one after CloseSend.
	// req may be changed again once Send has returned.
	Send(req *Req) error
	// CloseSend says that all is sent: the handler's Receive comes to its end. Responses can still be
	// received. It counts as sending.
	CloseSend() error
}

// Client is what a generated client makes its calls by. It is safe for concurrent use.
type Client struct {
	connect *connect.Client
	direct  rawcall.StubTransport // what it calls without anything between; nil where that is another's, or intercepted
}

// NewClient returns a client that calls through t. The interceptors are around every call, the first of them
// outermost. Unary calls without interceptors through a [rpcmesh.Namespace] or a [rpcmesh.Proxy] cost least.
func NewClient(t connect.Transport, interceptors ...connect.ClientInterceptor) *Client {
	direct, ok := rawcall.StubTransportOf(t)
	if ok {
		t = direct
	}
	c := &Client{connect: connect.NewClient(t, interceptors...)}
	if len(interceptors) == 0 {
		c.direct = direct
	}
	return c
}

// CallUnary calls a method with one request and one response. A nil req fails with invalid_argument.
func CallUnary[Res, Req any](ctx context.Context, client *Client, method MethodSpec, req *Req) (*Res, error) {
	spec, err := method.of(connect.StreamTypeUnary)
	if err != nil {
		return nil, err
	}
	if req == nil {
		return nil, nilRequestError(spec.Procedure)
	}
	res, done := new(Res), false
	if client.direct != nil {
		done, err = client.direct.CallUnary(ctx, spec, req, res)
	}
	if !done {
		err = callUnary(ctx, client, spec, req, res)
	}
	if errors.Is(err, io.EOF) {
		err = noMessageError(spec.Procedure, "response")
	}
	if err != nil {
		return nil, err
	}
	return res, nil
}

// callUnary makes a unary call as any other is made. It returns io.EOF where there is no response.
func callUnary(ctx context.Context, client *Client, spec connect.Spec, req, res any) error {
	stream, err := openCallWith(ctx, client, spec, req)
	if err != nil {
		return err
	}
	// A transport ends a unary call with its response: there is nothing to read behind it.
	err = stream.Receive(res)
	if errClose := stream.Close(); err == nil {
		return errClose
	}
	return err
}

// CallServerStream calls a method with one request and a stream of responses. A nil req fails with
// invalid_argument. The caller owns the stream.
func CallServerStream[Res, Req any](
	ctx context.Context, client *Client, method MethodSpec, req *Req,
) (ClientReceiveStream[Res], error) {
	spec, err := method.of(connect.StreamTypeServer)
	if err != nil {
		return nil, err
	}
	if req == nil {
		return nil, nilRequestError(spec.Procedure)
	}
	stream, err := openCallWith(ctx, client, spec, req)
	if err != nil {
		return nil, err
	}
	return &clientStream[Req, Res]{stream: stream, procedure: spec.Procedure}, nil
}

// CallClientStream calls a method with a stream of requests and one response. The caller owns the
// stream.
func CallClientStream[Req, Res any](
	ctx context.Context, client *Client, method MethodSpec,
) (ClientSendStream[Req, Res], error) {
	stream, err := openCall[Req, Res](ctx, client, method, connect.StreamTypeClient)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

// CallBidiStream calls a method with a stream of requests and a stream of responses. The caller owns
// the stream.
func CallBidiStream[Req, Res any](
	ctx context.Context, client *Client, method MethodSpec,
) (ClientBidiStream[Req, Res], error) {
	stream, err := openCall[Req, Res](ctx, client, method, connect.StreamTypeBidi)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

func openCall[Req, Res any](
	ctx context.Context, client *Client, method MethodSpec, kind connect.StreamType,
) (*clientStream[Req, Res], error) {
	spec, err := method.of(kind)
	if err != nil {
		return nil, err
	}
	stream, err := client.connect.CallClientStream(ctx, spec)
	if err != nil {
		return nil, err
	}
	return &clientStream[Req, Res]{stream: stream, procedure: spec.Procedure}, nil
}

// openCallWith opens a call and sends its only request. When the call ends before it has taken that, the
// stream is returned none the less: receiving from it tells why.
func openCallWith(ctx context.Context, client *Client, spec connect.Spec, req any) (connect.ClientStream, error) {
	stream, err := client.connect.CallClientStream(ctx, spec)
	if err != nil {
		return nil, err
	}
	err = stream.Send(req)
	if err == nil {
		err = stream.CloseSend()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		_ = stream.Close() // the call's error says more
		return nil, err
	}
	return stream, nil
}

func nilRequestError(procedure string) error {
	return connect.Errorf(connect.CodeInvalidArgument, "%s was given a nil request: give it an empty message", procedure)
}

// clientStream is the caller's end of all three kinds of stream; each interface shows its part.
type clientStream[Req, Res any] struct {
	stream    connect.ClientStream
	procedure string
	answered  bool // CloseAndReceive was called
}

func (s *clientStream[Req, Res]) SendHeaders() error { return s.stream.SendHeaders() }

func (s *clientStream[Req, Res]) Send(req *Req) error {
	if req == nil {
		return nilRequestError(s.procedure)
	}
	return s.stream.Send(req)
}

func (s *clientStream[Req, Res]) CloseSend() error { return s.stream.CloseSend() }

func (s *clientStream[Req, Res]) Receive() (*Res, error) { return receiveNext[Res](s.stream) }

func (s *clientStream[Req, Res]) Close() error { return s.stream.Close() }

func (s *clientStream[Req, Res]) All() iter.Seq2[*Res, error] {
	return func(yield func(*Res, error) bool) {
		defer func() { _ = s.stream.Close() }() // the loop has had the call's outcome, or wants none
		untilEnd(s.Receive)(yield)
	}
}

func (s *clientStream[Req, Res]) CloseAndReceive() (*Res, error) {
	if s.answered {
		return nil, connect.Errorf(connect.CodeFailedPrecondition,
			"rpcmesh: CloseAndReceive was called before for this call of %s: keep what it returns, or start another call", s.procedure)
	}
	s.answered = true
	defer func() { _ = s.stream.Close() }() // the response, or the call's error, is all there is to say
	if err := s.stream.CloseSend(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	res := new(Res)
	if err := receiveOnly(s.stream, res, s.procedure, "response"); err != nil {
		return nil, err
	}
	return res, nil
}
