package rpcmesh

import (
	"errors"
	"fmt"
	"strings"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

func errClosed() error {
	return connect.NewError(connect.CodeFailedPrecondition, "rpcmesh: the node is closed: use it before Close or Shutdown, or make a new one")
}

// errSentAll is the error of a Send after the requests are complete.
var errSentAll = connect.NewError(connect.CodeFailedPrecondition,
	"rpcmesh: the call's requests are complete: use Send before CloseSend or CloseAndReceive, and once where there is one request")

// asConnect gives an error of the routing core a fitting code.
func asConnect(err error) error {
	if err == nil {
		return nil
	}
	text := "rpcmesh: " + strings.TrimPrefix(err.Error(), "mesh: ")
	if e, ok := errors.AsType[*mesh.PolicyError](err); ok {
		text = fmt.Sprintf("rpcmesh: %s is registered in namespace %q by %q with the policy %v, not %v: give all origins of a function one policy",
			e.Procedure, e.Namespace, e.OwnerName, e.Want, e.Got)
	}
	return connect.NewError(codeOfMesh(err), text)
}

func codeOfMesh(err error) connect.Code {
	if errors.Is(err, mesh.ErrSelf) || errors.Is(err, mesh.ErrLeft) {
		return connect.CodeFailedPrecondition
	}
	switch err.(type) { //nolint:errorlint // the core returns them as they are
	case *mesh.NameError:
		return connect.CodeInvalidArgument
	case *mesh.ExistsError, *mesh.DuplicateError:
		return connect.CodeAlreadyExists
	case *mesh.UndeclaredError, *mesh.PolicyError, *mesh.ClockError:
		return connect.CodeFailedPrecondition
	case *mesh.LimitError:
		return connect.CodeResourceExhausted
	}
	return connect.CodeInternal
}
