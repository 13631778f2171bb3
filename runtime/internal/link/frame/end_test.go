package frame

import (
	"errors"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

func TestEndLimits(t *testing.T) {
	long := connect.NewError(connect.CodeAborted, "x")
	for range MaxDetails + 1 {
		long = long.WithDetail(&connect.ErrorDetail{Type: "t"})
	}
	if _, err := EncodeEnd(long, nil, nil, 1<<20); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Errorf("too many details are sent: %v", err)
	}
	end := &linkv1.End{Code: 1, Details: make([]*linkv1.Detail, MaxDetails+1)}
	for i := range end.Details {
		end.Details[i] = new(linkv1.Detail)
	}
	raw, merr := proto.Marshal(end)
	if merr != nil {
		t.Fatal(merr)
	}
	if end := DecodeEnd(raw); connect.CodeOf(end.Err) != connect.CodeInternal {
		t.Errorf("too many details are read as %v", end.Err)
	}
	if end := DecodeEnd([]byte{0xff}); connect.CodeOf(end.Err) != connect.CodeInternal {
		t.Errorf("garbage is read as %v", end.Err)
	}
	bad := connect.NewError(connect.CodeAborted, "bad \xff text")
	raw, err := EncodeEnd(bad, nil, nil, 1000)
	if err != nil {
		t.Fatal(err)
	}
	if end := DecodeEnd(raw); !errors.As(end.Err, &bad) || bad.Message() != "bad \uFFFD text" {
		t.Errorf("text that is not UTF-8 is read as %v", end.Err)
	}
}
