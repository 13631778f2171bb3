package stub

import (
	"context"
	"errors"
	"io"
	"iter"

	"connectrpc.com/connect/v2"
)

// ServerSendStream is the handler's end of a server-streaming call. The call ends when the handler
// returns; there is nothing to close, and the stream is not to be used after that. One goroutine may
// send at a time.
//
// Response headers and trailers are set through [connect.CallInfoForServerContext].
//
// It is an interface so that tests can hand a handler a stream of their own. It may gain methods:
// embed it in such a stream.
type ServerSendStream[Res any] interface {
	// SendHeaders sends the response headers now rather than with the first message. It may be
	// called again, to no effect.
	SendHeaders() error
	// Send sends one message. It waits while the caller's window is full, and fails once the call has
	// ended or ctx is done. A nil message fails with internal and sends nothing. res may be changed
	// again once Send has returned.
	Send(res *Res) error
}

// ServerReceiveStream is the handler's end of a client-streaming call. The call ends when the handler
// returns, whether or not it has read all; there is nothing to close, and the stream is not to be used
// after that. One goroutine may receive at a time.
//
// Response headers and trailers are set through [connect.CallInfoForServerContext].
//
// It is an interface so that tests can hand a handler a stream of their own. It may gain methods:
// embed it in such a stream.
type ServerReceiveStream[Req any] interface {
	// SendHeaders sends the response headers now rather than with the response. It may be called
	// again, to no effect.
	SendHeaders() error
	// Receive returns the next request, which then belongs to the handler. It fails with exactly
	// io.EOF once the caller has sent all, and with another error when the call broke off.
	Receive() (*Req, error)
	// All yields the requests until the caller has sent all. When the call breaks off it yields its
	// error, once and last. Breaking off the loop leaves the rest to be received.
	All() iter.Seq2[*Req, error]
}

// ServerBidiStream is the handler's end of a bidirectional call. One goroutine may send while another
// receives. The rules of [ServerSendStream] and [ServerReceiveStream] hold.
type ServerBidiStream[Req, Res any] interface {
	ServerSendStream[Res]
	ServerReceiveStream[Req]
}

// UnaryMethod binds a method with one request and one response. A call with no request or more than
// one fails with unimplemented; a handler that returns neither a response nor an error fails its
// call with internal.
func UnaryMethod[S, Req, Res any](
	method MethodSpec,
	handle func(srv S, ctx context.Context, req *Req) (*Res, error),
) ServiceMethod[S] {
	return bindMethod(method, connect.StreamTypeUnary,
		func(ctx context.Context, srv S, spec connect.Spec, stream connect.ServerStream) error {
			req := new(Req)
			if err := receiveOnly(stream, req, spec.Procedure, "request"); err != nil {
				return err
			}
			res, err := handle(srv, ctx, req)
			return sendAnswer(stream, spec, res, err)
		})
}

// ServerStreamMethod binds a method with one request and a stream of responses. A call with no
// request or more than one fails with unimplemented.
func ServerStreamMethod[S, Req, Res any](
	method MethodSpec,
	handle func(srv S, ctx context.Context, req *Req, stream ServerSendStream[Res]) error,
) ServiceMethod[S] {
	return bindMethod(method, connect.StreamTypeServer,
		func(ctx context.Context, srv S, spec connect.Spec, stream connect.ServerStream) error {
			req := new(Req)
			if err := receiveOnly(stream, req, spec.Procedure, "request"); err != nil {
				return err
			}
			return handle(srv, ctx, req, &serverStream[Req, Res]{stream: stream, procedure: spec.Procedure})
		})
}

// ClientStreamMethod binds a method with a stream of requests and one response. A handler that
// returns neither a response nor an error fails its call with internal.
func ClientStreamMethod[S, Req, Res any](
	method MethodSpec,
	handle func(srv S, ctx context.Context, stream ServerReceiveStream[Req]) (*Res, error),
) ServiceMethod[S] {
	return bindMethod(method, connect.StreamTypeClient,
		func(ctx context.Context, srv S, spec connect.Spec, stream connect.ServerStream) error {
			res, err := handle(srv, ctx, &serverStream[Req, Res]{stream: stream, procedure: spec.Procedure})
			return sendAnswer(stream, spec, res, err)
		})
}

// BidiStreamMethod binds a method with a stream of requests and a stream of responses.
func BidiStreamMethod[S, Req, Res any](
	method MethodSpec,
	handle func(srv S, ctx context.Context, stream ServerBidiStream[Req, Res]) error,
) ServiceMethod[S] {
	return bindMethod(method, connect.StreamTypeBidi,
		func(ctx context.Context, srv S, spec connect.Spec, stream connect.ServerStream) error {
			return handle(srv, ctx, &serverStream[Req, Res]{stream: stream, procedure: spec.Procedure})
		})
}

// sendAnswer sends the single response of a handler that returned res and err.
func sendAnswer[Res any](stream connect.ServerStream, spec connect.Spec, res *Res, err error) error {
	if err != nil {
		return err
	}
	if res == nil {
		return connect.Errorf(connect.CodeInternal, "the handler of %s returned neither a response nor an error: it must give one of them", spec.Procedure)
	}
	return stream.Send(res)
}

// serverStream is the handler's end of all three kinds of stream; each interface shows its part.
type serverStream[Req, Res any] struct {
	stream    connect.ServerStream
	procedure string
}

func (s *serverStream[Req, Res]) SendHeaders() error { return s.stream.SendHeaders() }

func (s *serverStream[Req, Res]) Send(res *Res) error {
	if res == nil {
		return connect.Errorf(connect.CodeInternal, "the handler of %s sent a nil message: it must give an empty one", s.procedure)
	}
	return s.stream.Send(res)
}

func (s *serverStream[Req, Res]) Receive() (*Req, error) { return receiveNext[Req](s.stream) }

func (s *serverStream[Req, Res]) All() iter.Seq2[*Req, error] { return untilEnd(s.Receive) }

// receiveNext reads one message. A clean end is io.EOF itself, however the stream words it.
func receiveNext[Msg any](stream messageReceiver) (*Msg, error) {
	msg := new(Msg)
	if err := stream.Receive(msg); errors.Is(err, io.EOF) {
		return nil, io.EOF
	} else if err != nil {
		return nil, err
	}
	return msg, nil
}

// untilEnd yields what receive returns: to the clean end, or to an error, which comes last.
func untilEnd[Msg any](receive func() (*Msg, error)) iter.Seq2[*Msg, error] {
	return func(yield func(*Msg, error) bool) {
		for {
			msg, err := receive()
			if errors.Is(err, io.EOF) || !yield(msg, err) || err != nil {
				return
			}
		}
	}
}
