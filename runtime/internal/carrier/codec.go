package carrier

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"connectrpc.com/connect/v2"
)

// packet is the message type of rawCodec: the encoded bytes themselves.
type packet struct {
	b         []byte
	bytesRead *atomic.Uint64 // counts the bytes read; nil: nobody wants to know
}

// rawCodec stands in for the protobuf codec and hands encoded messages through.
type rawCodec struct{}

func (rawCodec) Name() string { return connect.CodecNameProto }

func (rawCodec) MarshalWrite(_ context.Context, dst io.Writer, msg any) error {
	p, ok := msg.(*packet)
	if !ok {
		return fmt.Errorf("carrier: cannot send a %T", msg)
	}
	_, err := dst.Write(p.b)
	return err
}

// UnmarshalRead reads into the packet's own buffer, which grows to the longest packet seen.
func (rawCodec) UnmarshalRead(_ context.Context, src io.Reader, msg any) error {
	p, ok := msg.(*packet)
	if !ok {
		return fmt.Errorf("carrier: cannot receive a %T", msg)
	}
	p.b = p.b[:0]
	for {
		if len(p.b) == cap(p.b) {
			p.b = append(p.b, 0)[:len(p.b)]
		}
		n, err := src.Read(p.b[len(p.b):cap(p.b)])
		p.b = p.b[:len(p.b)+n]
		if p.bytesRead != nil {
			p.bytesRead.Add(uint64(n))
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
