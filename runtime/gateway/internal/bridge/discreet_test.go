package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// ofMesh is an error that the mesh or, byHandler, a handler says of a call's way, with an ErrorInfo and another detail.
func ofMesh(t *testing.T, code connect.Code, certainty rpcmeshv1.CallFailure_Certainty, byHandler bool) *connect.Error {
	t.Helper()
	value, err := proto.Marshal(&rpcmeshv1.CallFailure{Certainty: certainty, Node: []byte("0123456789abcdef"), NodeName: "hidden", ByHandler: byHandler})
	if err != nil {
		t.Fatal(err)
	}
	return connect.NewError(code, "the link to hidden fell").
		WithDetail(&connect.ErrorDetail{Type: failureType, Value: value}).
		WithDetail(&connect.ErrorDetail{Type: infoType, Value: []byte("\x0a\x04GONE\x12\x07rpcmesh\x1a\x0e\x0a\x04node\x12\x06hidden")}).
		WithDetail(&connect.ErrorDetail{Type: "google.rpc.DebugInfo", Value: []byte("hidden")})
}

func TestDiscreet(t *testing.T) {
	for code := connect.CodeCanceled; code <= connect.CodeUnauthenticated; code++ {
		for c := range rpcmeshv1.CallFailure_Certainty_name {
			certainty := rpcmeshv1.CallFailure_Certainty(c)
			for _, remote := range []bool{false, true} {
				e := ofMesh(t, code, certainty, false)
				if remote {
					e = e.WithRemote()
				}
				told, ok := errors.AsType[*connect.Error](Discreet(e, "/a.B/C"))
				if !ok || told.Code() != code || told.IsRemote() != remote || told.Message() == "" || strings.Contains(told.Message(), "hidden") {
					t.Errorf("%v, %v: %v", code, certainty, told)
				}
				failure, ok := rpcmesh.FailureOf(told)
				if want := (rpcmesh.Failure{Certainty: rpcmesh.Certainty(certainty)}); !ok || failure != want {
					t.Errorf("%v: it says %v", code, failure)
				}
				details := told.Details()
				if len(details) != 2 || string(details[1].Value) != "\x0a\x04GONE\x12\x07rpcmesh" {
					t.Errorf("%v: details %v", code, details)
				}
			}
		}
	}
}

// TestDiscreetLeavesHandlers: what a handler says stays, but for the node that a detail of the mesh's names.
func TestDiscreetLeavesHandlers(t *testing.T) {
	e := ofMesh(t, connect.CodeUnavailable, rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, true)
	told, _ := errors.AsType[*connect.Error](Discreet(e, "/a.B/C"))
	if told.Message() != e.Message() || len(told.Details()) != 3 || !bytes.Equal(told.Details()[1].Value, e.Details()[1].Value) {
		t.Errorf("got %v with %v", told, told.Details())
	}
	if failure, _ := rpcmesh.FailureOf(told); failure.Node != (rpcmesh.NodeID{}) || failure.NodeName != "" || !failure.ByHandler {
		t.Errorf("it says %v", failure)
	}
	own := connect.NewError(connect.CodeUnavailable, "hidden")
	for _, err := range []error{nil, io.EOF, own, (*connect.Error)(nil)} {
		if got := Discreet(err, "/a.B/C"); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func TestDiscreetSchema(t *testing.T) {
	for want, err := range map[string]error{
		"not_found: a.B was registered without a schema":                              connect.NewError(connect.CodeNotFound, "hidden"),
		"unimplemented: a.B cannot be called here: no such function is known":         connect.NewError(connect.CodeUnimplemented, "hidden"),
		"data_loss: no schema that can be had now defines a.B":                        connect.NewError(connect.CodeDataLoss, "hidden"),
		"unavailable: no schema that can be had now defines a.B":                      fmt.Errorf("x: %w", connect.NewError(connect.CodeUnavailable, "hidden")),
		"unavailable: a.B cannot be reached now: the call has not started, try again": ofMesh(t, connect.CodeUnavailable, rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, false),
	} {
		if got := DiscreetSchema(err, "a.B"); got.Error() != want {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	for _, err := range []error{nil, protoregistry.NotFound} {
		if got := DiscreetSchema(err, "a.B"); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func FuzzErrorInfo(f *testing.F) {
	f.Add([]byte("\x0a\x04GONE\x12\x07rpcmesh\x1a\x0e\x0a\x04node\x12\x06hidden"))
	f.Fuzz(func(t *testing.T, info []byte) {
		if rest := withoutMetadata(info); len(rest) > len(info) || !bytes.Equal(withoutMetadata(rest), rest) {
			t.Fatalf("%x became %x", info, rest)
		}
	})
}
