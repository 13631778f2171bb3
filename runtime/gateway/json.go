package gateway

import (
	"context"
	"io"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// jsonCodec is the codec "json": it turns JSON into encoded messages and back, by the schema of the call
// whose context it gets.
type jsonCodec struct{}

var _ connect.Codec = jsonCodec{}

func (jsonCodec) Name() string { return connect.CodecNameJSON }

func (jsonCodec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	raw, ok := msg.(*rpcmesh.Raw)
	if !ok {
		return connectproto.NewJSONCodec().MarshalWrite(ctx, dst, msg)
	}
	return callOf(ctx).json.marshal(ctx, dst, raw)
}

func (jsonCodec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	raw, ok := msg.(*rpcmesh.Raw)
	if !ok {
		return connectproto.NewJSONCodec().UnmarshalRead(ctx, src, msg)
	}
	return callOf(ctx).json.unmarshal(ctx, src, raw)
}

// transcoder turns one call's JSON into messages and messages into JSON, as Connect's own codec does.
type transcoder struct {
	types   *rpcmesh.Types
	codec   connectproto.JSONCodec
	in, out protoreflect.MessageType
}

// newTranscoder returns what a JSON call of procedure in ns needs. What an Any holds is known by any schema of
// the namespace.
func newTranscoder(ctx context.Context, ns *rpcmesh.Namespace, procedure string) (*transcoder, error) {
	schema, err := ns.Schema(ctx, procedure)
	if err != nil {
		return nil, err
	}
	t := &transcoder{
		types: ns.Types(ctx, schema),
		in:    dynamicpb.NewMessageType(schema.Method().Input()),
		out:   dynamicpb.NewMessageType(schema.Method().Output()),
	}
	t.codec.MarshalOptions = protojson.MarshalOptions{Resolver: t.types}
	t.codec.UnmarshalOptions = protojson.UnmarshalOptions{Resolver: t.types, DiscardUnknown: true}
	return t, nil
}

func (t *transcoder) unmarshal(ctx context.Context, src io.Reader, raw *rpcmesh.Raw) (err error) {
	defer rescue(&err)
	msg := t.in.New().Interface()
	if err := t.codec.UnmarshalRead(ctx, src, msg); err != nil {
		return err
	}
	raw.B, err = proto.MarshalOptions{}.MarshalAppend(raw.B[:0], msg)
	return err
}

func (t *transcoder) marshal(ctx context.Context, dst io.Writer, raw *rpcmesh.Raw) (err error) {
	defer rescue(&err)
	msg := t.out.New().Interface()
	if err := (proto.UnmarshalOptions{Resolver: t.types}).Unmarshal(raw.B, msg); err != nil {
		return err
	}
	return t.codec.MarshalWrite(ctx, dst, msg)
}

// rescue turns a panic into an error: protojson takes it for granted that messages of well-known names
// have their well-known fields, and an origin may have registered others.
func rescue(err *error) {
	if r := recover(); r != nil {
		*err = connect.NewError(connect.CodeInternal, "JSON can't be had by the schema that the function was registered with")
	}
}
