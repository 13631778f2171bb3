package rpcmesh

import (
	"context"
	"log/slog"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// protocolName is the [connect.CallInfo.Protocol] of calls through the mesh.
const protocolName = "rpcmesh"

// serve runs the function's handler for one call, on a worker of the node.
func (m *localFunction) serve(call *link.ServerCall) {
	os := m.origins
	os.beginCall()
	defer os.endCall()
	if call.Local() {
		os.ownHandlers.Add(1)
		defer os.ownHandlers.Add(-1)
	}
	if m.spec.StreamType != connect.StreamTypeUnary {
		os.streams.add(call)
		defer os.streams.remove(call)
	}
	header, ok := call.Header()
	if !ok {
		return
	}
	s := &serverStream{
		call: call, info: newServerInfo(m.spec, call.Caller(), header), singleResponse: m.spec.StreamType&connect.StreamTypeServer == 0,
	}
	s.info.TransportInfo = s
	ctx := call.Context()
	s.finish(m.runHandler(ctx, call, func() error { return m.server.Call(ctx, m.spec.Procedure, s.info, s) }))
}

// newServerInfo returns the CallInfo of a call whose handler has not run yet.
func newServerInfo(spec connect.Spec, caller *link.Caller, header *connect.Header) *connect.CallInfo {
	info := &connect.CallInfo{
		Spec: spec, PeerAddr: peerAddr(caller), Protocol: protocolName, Codec: connect.CodecNameProto,
		RequestEncoding: connect.CompressionNameIdentity, ResponseEncoding: connect.CompressionNameIdentity,
	}
	for key, values := range header.All() {
		info.RequestHeader().SetValues(key, values)
	}
	return info
}

// runHandler runs the handler. It returns its error in the form that callers see, and what that says about how far
// the call has come. Callers learn nothing about a panic, not even about one in an error's methods.
func (m *localFunction) runHandler(
	ctx context.Context, call *link.ServerCall, handle func() error,
) (verdict *connect.Error, said *rpcmeshv1.CallFailure) {
	os := m.origins
	err := guard.Try("the handler", func() error {
		err := handle()
		if err == nil {
			return nil
		}
		if context.Cause(ctx) == ErrDraining { //nolint:errorlint // it is this very one
			err = os.identity.drainingError(err)
		}
		told, hidden := callerError(err)
		if hidden {
			m.logHidden(err, told)
		}
		verdict, said = told, os.identity.handlerFailure(err)
		return nil
	})
	if err != nil {
		os.log.limited.Panic(err, m.spec.Procedure, slog.String("procedure", m.spec.Procedure), attrCaller(call.Caller()))
		return connect.NewError(connect.CodeInternal, textPanic), nil
	}
	return verdict, said
}

// serverStream is one call as its handler sees it: a [connect.ServerStream].
type serverStream struct {
	call           *link.ServerCall
	info           *connect.CallInfo
	singleResponse bool         // the method has one response
	response       *link.Buffer // the one response, held back to be sent with the end
	sent           bool
}

func (s *serverStream) Receive(msg any) error {
	b, err := s.call.Receive()
	if err != nil {
		return err
	}
	s.info.ReceiveStats = connect.MessageStats{Size: len(b)}
	return decodeRequest(b, msg)
}

func decodeRequest(b []byte, msg any) error {
	if err := unmarshal(b, msg); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, invalid("request", b, msg)).WithCause(err)
	}
	return nil
}

// StopReceiving implements [rawcall.ReceiveStopper].
func (s *serverStream) StopReceiving() { s.call.StopReceiving() }

func (s *serverStream) SendHeaders() error {
	return s.call.SendHeaders(s.info.ResponseHeader())
}

func (s *serverStream) Send(msg any) error {
	b, err := marshal(msg)
	if err != nil {
		return err
	}
	s.info.SendStats = connect.MessageStats{Size: len(b.B)}
	if s.singleResponse {
		if s.sent {
			return errOneResponse
		}
		s.sent, s.response = true, b
		return nil
	}
	defer b.Free()
	if !s.sent {
		if err := s.SendHeaders(); err != nil {
			return err
		}
	}
	s.sent = true
	return s.call.Send(b.B)
}

var errOneResponse = connect.NewError(connect.CodeInternal, "the method has one response, and it was sent: use Send once")

// finish ends the call with what the handler left and with err. failure, if not nil, says how far the call has come.
// Sending fails only where the caller has left.
func (s *serverStream) finish(err *connect.Error, failure *rpcmeshv1.CallFailure) {
	if failure != nil {
		s.fail(err, failure)
		return
	}
	if err == nil && s.singleResponse && !s.sent {
		err = connect.NewError(connect.CodeInternal, "the handler sent no response: it must give one, or an error")
	}
	if err == nil && s.singleResponse {
		failed := s.call.Reply(s.info.ResponseHeader(), s.response.B, s.info.ResponseTrailer())
		s.response.Free()
		if failed == nil {
			return
		}
		err, _ = callerError(failed) // it is too long, for instance
	}
	if s.info.ResponseHeader().Len() > 0 {
		_ = s.SendHeaders()
	}
	_ = s.call.End(err, s.info.ResponseTrailer())
}

// fail ends a call that its handler did not begin, or has lost while passing it on. Response headers are not sent for
// a call that will begin elsewhere.
func (s *serverStream) fail(err *connect.Error, failure *rpcmeshv1.CallFailure) {
	begun := failure.GetCertainty() != rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
	if s.sent && !begun {
		begun, failure.Certainty = true, rpcmeshv1.CallFailure_CERTAINTY_STARTED
	}
	if begun && s.info.ResponseHeader().Len() > 0 {
		_ = s.SendHeaders()
	}
	_ = s.call.Fail(err, failure)
}

var marshalOptions = proto.MarshalOptions{UseCachedSize: true}

// marshal returns the encoded message, which the caller must free.
func marshal(msg any) (*link.Buffer, error) {
	if raw, ok := msg.(*rawcall.Message); ok {
		return link.CopyBuffer(raw.B), nil
	}
	m, ok := msg.(proto.Message)
	if !ok {
		return nil, connect.Errorf(connect.CodeInternal, "rpcmesh: calls carry protobuf messages, not a %T: use a generated type", msg)
	}
	b := link.NewBuffer(proto.Size(m))
	var err error
	b.B, err = marshalOptions.MarshalAppend(b.B, m)
	if err != nil {
		return nil, connect.NewError(connect.CodeInternal, "rpcmesh: "+unencodable(m)).WithCause(err)
	}
	return b, nil
}

func unmarshal(b []byte, msg any) error {
	if raw, ok := msg.(*rawcall.Message); ok {
		raw.B = append(raw.B[:0], b...)
		return nil
	}
	m, ok := msg.(proto.Message)
	if !ok {
		return connect.Errorf(connect.CodeInternal, "rpcmesh: calls carry protobuf messages, not a %T: use a generated type", msg)
	}
	return proto.Unmarshal(b, m)
}
