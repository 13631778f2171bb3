package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

const (
	// jsonMemoryFactor bounds the memory for all messages that are being converted to JSON or back, and for any one
	// of them: so many times [Config.MaxJSON].
	jsonMemoryFactor = 16
	// jsonExpansion is the greatest ratio of a message's size in memory to that of its JSON: that of a list of empty
	// messages.
	jsonExpansion = 64
	// typeLookupTimeout bounds the search for a type, which may be remote, while others wait for memory.
	typeLookupTimeout = 5 * time.Second
)

// jsonCodec is the codec "json": it converts JSON to encoded messages and back, by the schema of the call in its
// context.
type jsonCodec struct{}

var _ connect.Codec = jsonCodec{}

func (jsonCodec) Name() string { return connect.CodecNameJSON }

func (jsonCodec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	if raw, ok := msg.(*rawcall.Message); ok {
		_, err := dst.Write(raw.B) // see jsonStream
		return err
	}
	return connectproto.NewJSONCodec().MarshalWrite(ctx, dst, msg)
}

func (jsonCodec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	raw, ok := msg.(*rawcall.Message)
	if !ok {
		return connectproto.NewJSONCodec().UnmarshalRead(ctx, src, msg)
	}
	return callOf(ctx).json.unmarshal(ctx, src, raw)
}

// jsonStream converts messages to JSON before they are sent: an error of the codec would lose its code.
type jsonStream struct {
	connect.ServerStream

	ctx context.Context //nolint:containedctx // of the call
	t   *transcoder
}

func (s jsonStream) Send(msg any) error {
	raw, ok := msg.(*rawcall.Message)
	if !ok {
		return s.ServerStream.Send(msg)
	}
	spelled, err := s.t.marshal(s.ctx, raw)
	if err != nil {
		if _, ok := errors.AsType[*connect.Error](err); !ok {
			err = connect.NewError(connect.CodeInternal, "the response can't be given in JSON: "+err.Error())
		}
		return err
	}
	return s.ServerStream.Send(&rawcall.Message{B: spelled})
}

// transcoder converts one call's JSON to messages and messages to JSON, as Connect's own codec does.
type transcoder struct {
	ns          *rpcmesh.Namespace
	schema      *rpcmesh.Schema
	in, out     protoreflect.MessageType
	memory      *memoryBudget
	limit       int // of a response
	publicError func(err error, name string) error
}

// newTranscoder returns the transcoder of a JSON call of procedure in ns.
func (g *Gateway) newTranscoder(ctx context.Context, ns *rpcmesh.Namespace, procedure string) (*transcoder, error) {
	schema, err := ns.Schema(ctx, procedure)
	if err != nil {
		return nil, g.publicSchemaError(err, procedure)
	}
	return &transcoder{
		ns: ns, schema: schema,
		in:     dynamicpb.NewMessageType(schema.Method().Input()),
		out:    dynamicpb.NewMessageType(schema.Method().Output()),
		memory: g.jsonMemory, limit: g.cfg.MaxJSON, publicError: g.publicSchemaError,
	}, nil
}

// types resolves the contents of Any, which any schema of the namespace may define, and extensions.
func (t *transcoder) types(ctx context.Context) resolver {
	return publicTypes{t.ns.Types(ctx, t.schema), t.publicError}
}

// publicTypes are types whose errors are in the form that callers outside see.
type publicTypes struct {
	*rpcmesh.Types

	publicError func(err error, name string) error
}

func (t publicTypes) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	mt, err := t.Types.FindMessageByName(name)
	return mt, t.publicError(err, string(name))
}

func (t publicTypes) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	mt, err := t.Types.FindMessageByURL(url)
	return mt, t.publicError(err, url)
}

func (t *transcoder) unmarshal(ctx context.Context, src io.Reader, raw *rawcall.Message) (err error) {
	defer recoverPanic(&err)
	if err := bridge.ReadAll(src, raw); err != nil { // before memory is acquired: src may be slow
		return err
	}
	release, err := t.memory.acquire(ctx, jsonExpansion*min(len(raw.B), math.MaxInt/jsonExpansion))
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, typeLookupTimeout)
	defer cancel()
	codec := connectproto.JSONCodec{UnmarshalOptions: protojson.UnmarshalOptions{Resolver: t.types(ctx), DiscardUnknown: true}}
	msg := t.in.New().Interface()
	if err := codec.UnmarshalRead(ctx, bytes.NewReader(raw.B), msg); err != nil {
		return err
	}
	raw.B, err = proto.MarshalOptions{}.MarshalAppend(raw.B[:0], msg)
	return err
}

// marshal returns a message in JSON.
func (t *transcoder) marshal(ctx context.Context, raw *rawcall.Message) (spelled []byte, err error) {
	defer recoverPanic(&err)
	s := jsonEstimator{types: t.types(ctx), maxLength: t.limit, maxWeight: t.memory.size}
	if err := s.estimate(raw.B, t.out.Descriptor()); err != nil {
		return nil, err
	}
	release, err := t.memory.acquire(ctx, s.weight+2*s.length)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, typeLookupTimeout) // again, in case what was found is gone
	defer cancel()
	types := t.types(ctx)
	msg := t.out.New().Interface()
	if err := (proto.UnmarshalOptions{Resolver: types}).Unmarshal(raw.B, msg); err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{Resolver: types}.Marshal(msg)
}

// recoverPanic turns a panic into an error: protojson assumes that messages with well-known names have the well-known
// fields, but an origin may have registered others.
func recoverPanic(err *error) {
	if r := recover(); r != nil {
		*err = connect.NewError(connect.CodeInternal, "JSON can't be had by the schema that the function was registered with")
	}
}
