package bridge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// Verdict turns the error of a call into that of the handler that made the call for another: the verdict
// of the one that was called becomes the handler's own, with its code, message and details, which servers
// would hide otherwise. An error of the call's context gets the code that fits it. nil stays nil.
func Verdict(err error) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*connect.Error](err)
	switch {
	case ok && e != nil && (e.IsRemote() || plain(e)):
		return own(e)
	case ok && e != nil:
		return err // with what it may say besides, of how far the call has come
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, "the call's time is up").WithCause(err)
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, "the call was canceled").WithCause(err)
	}
	return err
}

// failureType is the detail by which the mesh says how far a call had come.
var failureType = string((*rpcmeshv1.CallFailure)(nil).ProtoReflect().Descriptor().FullName())

// infoType is the detail by which it says why, among others' errors.
const infoType = "google.rpc.ErrorInfo"

// outside reports whether an error of a code is told as the protocols have it, without what the mesh adds: that
// a call's time is up, or its function is none, says all by itself.
func outside(code connect.Code) bool {
	return code == connect.CodeDeadlineExceeded || code == connect.CodeCanceled || code == connect.CodeUnimplemented
}

// plain reports whether there is something in e that is not for those outside.
func plain(e *connect.Error) bool {
	return outside(e.Code()) && slices.ContainsFunc(e.Details(), func(d *connect.ErrorDetail) bool { return d.Type == failureType })
}

// own returns e as a local error. What e is of its own is not lost: it is the cause.
func own(e *connect.Error) error {
	message := e.Message()
	info, meshs := rpcmesh.ErrorInfoOf(e)
	if procedure := info.Metadata["procedure"]; meshs && procedure != "" && info.Reason == rpcmesh.ReasonFunctionUnknown && !e.IsRemote() {
		// What else there is, the caller may not be allowed to see.
		message = fmt.Sprintf("namespace %q has no function %s", info.Metadata["namespace"], procedure)
	}
	again := connect.NewError(e.Code(), message).WithCause(e)
	for _, detail := range e.Details() {
		ours := detail.Type == failureType || meshs && detail.Type == infoType
		if !ours || !outside(e.Code()) {
			again = again.WithDetail(detail)
		}
	}
	return again
}
