package rpcmesh

import (
	"errors"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

var failureType = string((*rpcmeshv1.CallFailure)(nil).ProtoReflect().Descriptor().FullName())

// FailureOf returns how far a call had come that failed in the mesh, and false for every other error:
// one of its handler's, say, or of its own context.
func FailureOf(err error) (*rpcmeshv1.CallFailure, bool) {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return nil, false
	}
	for _, d := range e.Details() {
		if d.Type != failureType {
			continue
		}
		failure := new(rpcmeshv1.CallFailure)
		if proto.Unmarshal(d.Value, failure) == nil {
			return failure, true
		}
	}
	return nil, false
}

// withFailure attaches failure to e.
func withFailure(e *connect.Error, failure *rpcmeshv1.CallFailure) *connect.Error {
	value, err := proto.Marshal(failure)
	if err != nil {
		return e // a failure of bytes and text always encodes, but for a name that is not UTF-8
	}
	return e.WithDetail(&connect.ErrorDetail{Type: failureType, Value: value})
}
