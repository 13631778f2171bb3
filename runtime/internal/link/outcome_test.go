package link

import (
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// TestEndTooLong: of an end that is too long the caller learns that, and that its handler has run.
func TestEndTooLong(t *testing.T) {
	err := connect.NewError(connect.CodeAborted, "x")
	for range frame.MaxDetails + 1 {
		err = err.WithDetail(&connect.ErrorDetail{Type: "t"})
	}
	c := &ServerCall{limits: &Limits{MaxHeader: defaultMaxHeader}}
	end := frame.DecodeEnd(c.encodeEnd(err, nil))
	if connect.CodeOf(end.Err) != connect.CodeResourceExhausted || end.Failure.GetCertainty() != started {
		t.Errorf("too many details are sent as %v, %v", end.Err, end.Failure)
	}
}
