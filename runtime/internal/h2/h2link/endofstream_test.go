package h2link

import (
	"errors"
	"testing"

	"connectrpc.com/connect/v2"
)

func TestEndOfStreamHasFewDetails(t *testing.T) {
	err := connect.NewError(connect.CodeAborted, "")
	for range maxDetails + 1 {
		err = err.WithDetail(&connect.ErrorDetail{Type: "a.B"})
	}
	got, _ := errors.AsType[*connect.Error](parseEndStream(encodeEndStream(err)[HeadRoom:]))
	if got.Code() != connect.CodeAborted || len(got.Details()) != maxDetails {
		t.Errorf("got %v with %d details", got, len(got.Details()))
	}
}

// A debug text that is no JSON is left out: it would spoil the message.
func TestEndOfStreamLeavesOutBadDebug(t *testing.T) {
	err := connect.NewError(connect.CodeAborted, "text").WithDetail(&connect.ErrorDetail{Type: "a.B", Debug: []byte("{")})
	got, _ := errors.AsType[*connect.Error](parseEndStream(encodeEndStream(err)[HeadRoom:]))
	if got.Message() != "text" || len(got.Details()) != 1 || got.Details()[0].Debug != nil {
		t.Errorf("got %v with %v", got, got.Details())
	}
}
