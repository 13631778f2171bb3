package bridge

import (
	"bytes"
	"context"
	"io"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connectproto"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// Codec is the codec "proto" for messages that stay encoded. Besides *[rawcall.Message] it takes what the
// codec of that name takes otherwise: the gRPC protocols encode errors with it.
type Codec struct{ connectproto.BinaryCodec }

var _ connect.Codec = (*Codec)(nil)

// MarshalWrite writes the message as it is.
func (c *Codec) MarshalWrite(ctx context.Context, dst io.Writer, msg any) error {
	if raw, ok := msg.(*rawcall.Message); ok {
		_, err := dst.Write(raw.B)
		return err
	}
	return c.BinaryCodec.MarshalWrite(ctx, dst, msg)
}

// MarshalWriteStable is MarshalWrite for a message that is encoded already.
func (c *Codec) MarshalWriteStable(ctx context.Context, dst io.Writer, msg any) error {
	if _, ok := msg.(*rawcall.Message); ok {
		return c.MarshalWrite(ctx, dst, msg)
	}
	return c.BinaryCodec.MarshalWriteStable(ctx, dst, msg)
}

// UnmarshalRead reads the message as it is.
func (c *Codec) UnmarshalRead(ctx context.Context, src io.Reader, msg any) error {
	if raw, ok := msg.(*rawcall.Message); ok {
		return ReadAll(src, raw)
	}
	return c.BinaryCodec.UnmarshalRead(ctx, src, msg)
}

// ReadAll reads src to its end into raw, whose memory it uses again. src has a bound of its own.
func ReadAll(src io.Reader, raw *rawcall.Message) error {
	if b, ok := src.(*bytes.Buffer); ok {
		raw.B = append(raw.B[:0], b.Bytes()...)
		b.Reset()
		return nil
	}
	b := bytes.NewBuffer(raw.B[:0])
	_, err := b.ReadFrom(src)
	raw.B = b.Bytes()
	return err
}
