package bridge

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"
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
	case ok && e != nil && e.IsRemote():
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

// own returns e as a local error. What e is of its own is not lost: it is the cause.
func own(e *connect.Error) error {
	again := connect.NewError(e.Code(), e.Message()).WithCause(e)
	for _, detail := range e.Details() {
		again = again.WithDetail(detail)
	}
	return again
}
