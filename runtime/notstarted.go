package rpcmesh

import (
	"context"
	"errors"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// NotStarted returns err as the error of a handler that has not begun: it promises to have done nothing
// that would not bear being done again. So the call may be repeated at another origin of the function, as
// the package's documentation has it under Retries; if there is none, the caller sees err, with its code,
// and by [FailureOf] that the call has not started. A handler that has sent something cannot take that
// back: its call has started, whatever it says. nil stays nil.
func NotStarted(err error) error {
	return WithCertainty(err, CertaintyNotStarted)
}

// WithCertainty is [NotStarted] for handlers that pass their calls on to where the mesh does not reach, and
// have lost one there: it says of it what the mesh says of those that it loses itself. A call of unknown
// outcome is repeated where its method's idempotency level allows that.
func WithCertainty(err error, certainty Certainty) error {
	if err == nil {
		return nil
	}
	return &certainError{error: err, certainty: certainty}
}

// certainError is a handler's error that says how far its call has come. It is a type of its own, and no
// detail of the error: those of another call's error may be passed on by a handler that did begin.
type certainError struct {
	error
	certainty Certainty
}

func (e *certainError) Unwrap() error { return e.error }

// handlerFailure is what a handler's error says about how far its call has come; nil if it says nothing.
func (i *identity) handlerFailure(err error) *rpcmeshv1.CallFailure {
	if e, ok := errors.AsType[*certainError](err); ok {
		return &rpcmeshv1.CallFailure{Certainty: rpcmeshv1.CallFailure_Certainty(e.certainty), Node: i.id[:], NodeName: i.name, ByHandler: true}
	}
	return nil
}

// drainingError is the error of a handler whose context was ended by [ErrDraining]. Where the handler ended because
// of that, its caller must learn of it: otherwise it would look as if the caller had canceled.
func (i *identity) drainingError(err error) error {
	if !errors.Is(err, ErrDraining) && !errors.Is(err, context.Canceled) && connect.CodeOf(err) != connect.CodeCanceled {
		return err
	}
	return WithCertainty(ErrDraining, CertaintyStarted)
}
