package gateway

import (
	"context"
	"io"
	"sync"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// maxVocabularies bounds how many services' are kept.
const maxVocabularies = 256

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

// transcoder turns one function's JSON into messages and messages into JSON, as Connect's own codec does.
type transcoder struct {
	*vocabulary
	in, out protoreflect.MessageType
}

// vocabulary is what the functions of a service have in common.
type vocabulary struct {
	types types
	codec connectproto.JSONCodec
}

func newVocabulary(file protoreflect.FileDescriptor) *vocabulary {
	files := new(protoregistry.Files)
	collect(files, file)
	v := &vocabulary{types: types{dynamicpb.NewTypes(files)}}
	v.codec.MarshalOptions = protojson.MarshalOptions{Resolver: v.types}
	v.codec.UnmarshalOptions = protojson.UnmarshalOptions{Resolver: v.types, DiscardUnknown: true}
	return v
}

// collect registers file and what it imports. What cannot be registered is a type less that an Any may
// hold.
func collect(files *protoregistry.Files, file protoreflect.FileDescriptor) {
	if _, err := files.FindFileByPath(file.Path()); err == nil || file.IsPlaceholder() {
		return
	}
	_ = files.RegisterFile(file)
	for i := range file.Imports().Len() {
		collect(files, file.Imports().Get(i).FileDescriptor)
	}
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

// types are those of a schema and, for what an Any holds that the schema does not know, those that are
// linked into the program.
type types struct{ own *dynamicpb.Types }

func (t types) FindMessageByName(name protoreflect.FullName) (protoreflect.MessageType, error) {
	if mt, err := t.own.FindMessageByName(name); err == nil {
		return mt, nil
	}
	return protoregistry.GlobalTypes.FindMessageByName(name)
}

func (t types) FindMessageByURL(url string) (protoreflect.MessageType, error) {
	if mt, err := t.own.FindMessageByURL(url); err == nil {
		return mt, nil
	}
	return protoregistry.GlobalTypes.FindMessageByURL(url)
}

func (t types) FindExtensionByName(name protoreflect.FullName) (protoreflect.ExtensionType, error) {
	return t.own.FindExtensionByName(name)
}

func (t types) FindExtensionByNumber(message protoreflect.FullName, number protoreflect.FieldNumber) (protoreflect.ExtensionType, error) {
	return t.own.FindExtensionByNumber(message, number)
}

// vocabularies keeps those of the services that were called last.
type vocabularies struct {
	mu   sync.Mutex
	kept map[rpcmesh.SchemaHash]*vocabulary
}

// transcoder returns what JSON calls of procedure in ns need.
func (vs *vocabularies) transcoder(ctx context.Context, ns *rpcmesh.Namespace, procedure string) (*transcoder, error) {
	schema, err := ns.Schema(ctx, procedure)
	if err != nil {
		return nil, err
	}
	method := schema.Method()
	return &transcoder{
		vocabulary: vs.of(schema.Hash(), method.ParentFile()),
		in:         dynamicpb.NewMessageType(method.Input()),
		out:        dynamicpb.NewMessageType(method.Output()),
	}, nil
}

func (vs *vocabularies) of(hash rpcmesh.SchemaHash, file protoreflect.FileDescriptor) *vocabulary {
	vs.mu.Lock()
	defer vs.mu.Unlock()
	if v, ok := vs.kept[hash]; ok {
		return v
	}
	if vs.kept == nil || len(vs.kept) >= maxVocabularies {
		vs.kept = map[rpcmesh.SchemaHash]*vocabulary{}
	}
	v := newVocabulary(file)
	vs.kept[hash] = v
	return v
}
