package peer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// rawProxy makes a server forward every call to conn without decoding a message: what one writes to put
// a relay between grpc-go peers.
func rawProxy(conn *grpc.ClientConn) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.UnknownServiceHandler(func(_ any, in grpc.ServerStream) error { return forward(conn, in) }),
	}
}

func forward(conn *grpc.ClientConn, in grpc.ServerStream) error {
	method, ok := grpc.MethodFromServerStream(in)
	if !ok {
		return status.Error(codes.Internal, "a call without a method")
	}
	ctx, cancel := context.WithCancel(in.Context())
	defer cancel()
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	desc := &grpc.StreamDesc{StreamName: method, ServerStreams: true, ClientStreams: true}
	out, err := conn.NewStream(ctx, desc, method, grpc.ForceCodecV2(rawCodec{}))
	if err != nil {
		return err
	}
	go func() {
		if forwardRequests(in, out) != nil {
			cancel()
		}
	}()
	return forwardResponses(out, in)
}

func forwardRequests(in grpc.ServerStream, out grpc.ClientStream) error {
	for {
		var m rawMessage
		err := in.RecvMsg(&m)
		if errors.Is(err, io.EOF) {
			return out.CloseSend()
		}
		if err != nil {
			return err
		}
		if err := out.SendMsg(&m); err != nil {
			return err
		}
	}
}

func forwardResponses(out grpc.ClientStream, in grpc.ServerStream) error {
	for first := true; ; first = false {
		var m rawMessage
		if err := out.RecvMsg(&m); err != nil {
			in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if first {
			header, err := out.Header()
			if err != nil {
				return err
			}
			if err := in.SetHeader(header); err != nil {
				return err
			}
		}
		if err := in.SendMsg(&m); err != nil {
			return err
		}
	}
}

// rawMessage is an encoded message in grpc-go's own buffers.
type rawMessage struct{ data mem.BufferSlice }

// rawCodec passes encoded messages on without copying them.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(*rawMessage)
	if !ok {
		return nil, fmt.Errorf("raw codec: %T is no raw message", v)
	}
	return m.data, nil // grpc-go frees it once sent
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(*rawMessage)
	if !ok {
		return fmt.Errorf("raw codec: %T is no raw message", v)
	}
	data.Ref() // the caller frees data on return
	m.data = data
	return nil
}
