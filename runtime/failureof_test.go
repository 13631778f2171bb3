package rpcmesh_test

import (
	"errors"
	"fmt"
	"testing"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// TestFailureOf reads failures as peers may write them.
func TestFailureOf(t *testing.T) {
	const typ = "rpcmesh.v1.CallFailure"
	id := rpcmesh.NodeIDOf("a")
	detail := func(f *rpcmeshv1.CallFailure) error {
		value, err := proto.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return connect.NewError(connect.CodeUnavailable, "").WithDetail(&connect.ErrorDetail{Type: typ, Value: value})
	}
	bad := connect.NewError(connect.CodeUnavailable, "").WithDetail(&connect.ErrorDetail{Type: typ, Value: []byte{0xff}})
	for name, c := range map[string]struct {
		err  error
		want rpcmesh.Failure
		ok   bool
	}{
		"nothing":        {nil, rpcmesh.Failure{}, false},
		"another error":  {errors.New("no"), rpcmesh.Failure{}, false},
		"a handler's":    {connect.NewError(connect.CodeAborted, "no"), rpcmesh.Failure{}, false},
		"malformed":      {bad, rpcmesh.Failure{}, false},
		"whole":          {detail(&rpcmeshv1.CallFailure{Certainty: unknown, Node: id[:], NodeName: "a"}), rpcmesh.Failure{Certainty: rpcmesh.CertaintyUnknown, Node: id, NodeName: "a"}, true},
		"wrapped":        {fmt.Errorf("so: %w", detail(&rpcmeshv1.CallFailure{Certainty: started, ByHandler: true})), rpcmesh.Failure{Certainty: rpcmesh.CertaintyStarted, ByHandler: true}, true},
		"a short id":     {detail(&rpcmeshv1.CallFailure{Certainty: notStarted, Node: id[:15]}), rpcmesh.Failure{Certainty: rpcmesh.CertaintyNotStarted}, true},
		"a later number": {detail(&rpcmeshv1.CallFailure{Certainty: 257}), rpcmesh.Failure{}, true},
		"no certainty":   {detail(new(rpcmeshv1.CallFailure)), rpcmesh.Failure{}, true},
	} {
		if got, ok := rpcmesh.FailureOf(c.err); got != c.want || ok != c.ok {
			t.Errorf("%s: got %+v, %v", name, got, ok)
		}
	}
}

func TestCertaintyString(t *testing.T) {
	for c, want := range map[rpcmesh.Certainty]string{
		rpcmesh.CertaintyNotStarted: "not started", rpcmesh.CertaintyUnknown: "unknown", rpcmesh.CertaintyStarted: "started",
		0: "unspecified", 4: "unspecified",
	} {
		if got := c.String(); got != want {
			t.Errorf("%d: %q, want %q", c, got, want)
		}
	}
}
