package rpcmesh

import (
	"context"
	"log/slog"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// protocolName is what [connect.CallInfo.Protocol] says of a call through the mesh.
const protocolName = "rpcmesh"

// serve runs the function's handler for one call, on a worker of the node.
func (m *method) serve(call *link.ServerCall) {
	n := m.origin.ns.node
	n.origins.begin()
	defer n.origins.end()
	if call.Incoming().Session == nil {
		n.origins.own.Add(1)
		defer n.origins.own.Add(-1)
	}
	if m.spec.StreamType != connect.StreamTypeUnary {
		n.origins.streams.add(call)
		defer n.origins.streams.remove(call)
	}
	s := &incoming{call: call, info: connect.CallInfo{
		Spec: m.spec, PeerAddr: peerAddr(call.Incoming().Caller), Protocol: protocolName, Codec: connect.CodecNameProto,
		RequestEncoding: connect.CompressionNameIdentity, ResponseEncoding: connect.CompressionNameIdentity,
	}, single: m.spec.StreamType&connect.StreamTypeServer == 0}
	s.info.TransportInfo = s
	header, ok := call.Header()
	if !ok {
		return
	}
	for key, values := range header.All() {
		s.info.RequestHeader().SetValues(key, values)
	}
	s.end(m.call(call.Context(), s))
}

// call runs the handler and returns its verdict as callers get it, and what it says of how far the call has come.
// Of a panic, also one of an error's own methods, they learn nothing more.
func (m *method) call(ctx context.Context, s *incoming) (verdict *connect.Error, said *rpcmeshv1.CallFailure) {
	n := m.origin.ns.node
	err := guard.Try("the handler", func() error {
		err := m.server.Call(ctx, m.spec.Procedure, &s.info, s)
		if err != nil && context.Cause(ctx) == ErrDraining { //nolint:errorlint // it is this very one
			err = n.draining(err)
		}
		told, hidden := verdictOf(err)
		if hidden {
			m.logHidden(err, told)
		}
		verdict, said = told, n.said(err)
		return nil
	})
	if err != nil {
		n.quiet.Panic(err, m.spec.Procedure, slog.String("procedure", m.spec.Procedure), attrCaller(s.call.Incoming().Caller))
		return connect.NewError(connect.CodeInternal, textPanic), nil
	}
	return verdict, said
}

// incoming is one call as its handler sees it.
type incoming struct {
	call   *link.ServerCall
	info   connect.CallInfo
	single bool         // the method has one response
	last   *link.Buffer // that response, held to go out with the end
	sent   bool
}

func (s *incoming) Receive(msg any) error {
	b, err := s.call.Receive()
	if err != nil {
		return err
	}
	s.info.ReceiveStats = connect.MessageStats{Size: len(b)}
	if err := unmarshal(b, msg); err != nil {
		return connect.NewError(connect.CodeInvalidArgument, invalid("request", b, msg)).WithCause(err)
	}
	return nil
}

// StopReceiving makes the incoming a [ReceiveStopper].
func (s *incoming) StopReceiving() { s.call.StopReceiving() }

func (s *incoming) SendHeaders() error {
	return s.call.SendHeaders(s.info.ResponseHeader())
}

func (s *incoming) Send(msg any) error {
	b, err := marshal(msg)
	if err != nil {
		return err
	}
	s.info.SendStats = connect.MessageStats{Size: len(b.B)}
	if s.single {
		if s.sent {
			return connect.NewError(connect.CodeInternal, "the method has one response, and it was sent: use Send once")
		}
		s.sent, s.last = true, b
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

// end sends what the handler left, and its verdict, which says how far the call has come where failure is
// not nil. Where sending fails the caller is gone already.
func (s *incoming) end(err *connect.Error, failure *rpcmeshv1.CallFailure) {
	if failure != nil {
		s.fail(err, failure)
		return
	}
	if err == nil && s.single && !s.sent {
		err = connect.NewError(connect.CodeInternal, "the handler sent no response: it must give one, or an error")
	}
	if err == nil && s.single {
		failed := s.call.Reply(s.info.ResponseHeader(), s.last.B, s.info.ResponseTrailer())
		s.last.Free()
		if failed == nil {
			return
		}
		err, _ = verdictOf(failed) // it is too long, say
	}
	if s.info.ResponseHeader().Len() > 0 {
		_ = s.SendHeaders()
	}
	_ = s.call.End(err, s.info.ResponseTrailer())
}

// fail is end for a call that its handler did not begin, or has lost on its way on. The headers that came of
// it are not sent for a call that is to begin elsewhere.
func (s *incoming) fail(err *connect.Error, failure *rpcmeshv1.CallFailure) {
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

// marshal returns the encoded message, for the caller to free.
func marshal(msg any) (*link.Buffer, error) {
	if raw, ok := msg.(*Raw); ok {
		b := link.NewBuffer(len(raw.B))
		b.B = append(b.B, raw.B...)
		return b, nil
	}
	m, ok := msg.(proto.Message)
	if !ok {
		return nil, connect.Errorf(connect.CodeInternal, "rpcmesh: calls carry protobuf messages, not a %T: use a generated type", msg)
	}
	b := link.NewBuffer(proto.Size(m))
	var err error
	if b.B, err = marshalOptions.MarshalAppend(b.B, m); err != nil {
		return nil, connect.NewError(connect.CodeInternal, "rpcmesh: "+unencodable(m)).WithCause(err)
	}
	return b, nil
}

func unmarshal(b []byte, msg any) error {
	if raw, ok := msg.(*Raw); ok {
		raw.B = append(raw.B[:0], b...)
		return nil
	}
	m, ok := msg.(proto.Message)
	if !ok {
		return connect.Errorf(connect.CodeInternal, "rpcmesh: calls carry protobuf messages, not a %T: use a generated type", msg)
	}
	return proto.Unmarshal(b, m)
}
