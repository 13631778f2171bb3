package rpcmesh

import (
	"errors"
	"slices"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

var failureType = string((*rpcmeshv1.CallFailure)(nil).ProtoReflect().Descriptor().FullName())

// Certainties are short names for the values of [rpcmeshv1.CallFailure]'s certainty.
const (
	notStarted = rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
	unknown    = rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN
	started    = rpcmeshv1.CallFailure_CERTAINTY_STARTED
)

type certainty = rpcmeshv1.CallFailure_Certainty

// failed is the error of a call that this node ends. All such errors are made by it, so that each says how far its
// call had come: a linter forbids the files that make calls to create errors directly.
func (i *identity) failed(code connect.Code, c certainty, text string) *connect.Error {
	return i.failedBy(connect.NewError(code, "rpcmesh: "+text), c)
}

// failedBy is failed for an existing error.
func (i *identity) failedBy(err error, c certainty) *connect.Error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		e = connect.NewError(connect.CodeInternal, "").WithCause(err)
	}
	return withFailure(e, &rpcmeshv1.CallFailure{Certainty: c, Node: i.id[:], NodeName: i.name})
}

// invalidResponse is the error of a call whose response cannot be decoded.
func (i *identity) invalidResponse(b []byte, msg any, err error) error {
	return i.failed(connect.CodeInternal, started, invalid("response", b, msg)).WithCause(err)
}

// notStartedError is the error of a call that this node could not pass on.
func (i *identity) notStartedError(info ErrorInfo, why string) error {
	return info.with(i.failed(connect.CodeUnavailable, notStarted, why))
}

// linkLostError is the error of a call whose link is down.
func (i *identity) linkLostError() error {
	return i.notStartedError(ErrorInfo{Reason: ReasonRouteLost, Metadata: map[string]string{"node": i.name}}, "the link was lost")
}

// refuseWith refuses a call that came in over a link, as not started.
func refuseWith(info ErrorInfo, code connect.Code, why string) link.Route {
	return link.Route{Err: info.with(connect.NewError(code, why))}
}

// callOutcome is how a call has ended. [link.ClientCall] implements it.
type callOutcome interface {
	Failure() *rpcmeshv1.CallFailure
	Certainty() certainty
}

// callError adds to err, with which a call has ended, how far the call had come, unless err is the handler's own.
// unsure says that an earlier attempt may have started.
func (i *identity) callError(call callOutcome, err error, unsure bool) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return err
	}
	failure := call.Failure()
	switch {
	case failure != nil:
		failure = proto.CloneOf(failure)
	case e.IsRemote():
		return err // the handler's
	default:
		failure = &rpcmeshv1.CallFailure{Certainty: call.Certainty()}
	}
	if len(failure.GetNode()) == 0 { // it was this node that ended the call
		failure.Node, failure.NodeName = i.id[:], i.name
	}
	if unsure && failure.GetCertainty() == notStarted {
		failure.Certainty = unknown
	}
	return withFailure(e, failure)
}

// errOfCall marks the errors of calls that this node made. Where the caller is a handler that returns such an error,
// the certainty of the one call must not be taken for that of the other.
var errOfCall = errors.New("a call from this node ended so")

// withFailure attaches failure to e, replacing the one that it has.
func withFailure(e *connect.Error, failure *rpcmeshv1.CallFailure) *connect.Error {
	value, err := proto.Marshal(failure)
	if err != nil {
		return e // encoding fails only where a name is not UTF-8
	}
	return withoutFailure(e).WithDetail(&connect.ErrorDetail{Type: failureType, Value: value}).WithCause(errOfCall)
}

// withoutFailure returns e without the certainty that it carries.
func withoutFailure(e *connect.Error) *connect.Error {
	is := func(d *connect.ErrorDetail) bool { return d.Type == failureType }
	if !slices.ContainsFunc(e.Details(), is) {
		return e
	}
	return rebuilt(e, e.Message(), is)
}

// withMessage returns e with another message.
func withMessage(e *connect.Error, text string) *connect.Error {
	return rebuilt(e, text, func(*connect.ErrorDetail) bool { return false })
}

// rebuilt returns e with a message, and without some of its details.
func rebuilt(e *connect.Error, text string, without func(*connect.ErrorDetail) bool) *connect.Error {
	made := connect.NewError(e.Code(), text).WithCause(errors.Unwrap(e))
	for _, d := range e.Details() {
		if !without(d) {
			made = made.WithDetail(d)
		}
	}
	if e.IsRemote() {
		made = made.WithRemote()
	}
	return made
}

// withdrawnInfo is for a function that this node has just withdrawn.
func (i *identity) withdrawnInfo(namespace, procedure string) ErrorInfo {
	return ErrorInfo{Reason: ReasonFunctionGone, Metadata: map[string]string{
		"namespace": namespace, "procedure": procedure, "origin": i.name, "origin_id": i.id.String(),
		"gone": time.Now().UTC().Format(time.RFC3339Nano), "cause": i.name + " withdrew it",
	}}
}

// nodeClosedError is the error of a call of a closed node.
func (i *identity) nodeClosedError() error {
	return i.leavingInfo().with(i.failed(connect.CodeUnavailable, notStarted, "the node is closed: make the call by another one, or by a new one"))
}

func (i *identity) leavingInfo() ErrorInfo {
	return ErrorInfo{Reason: ReasonNodeLeaving, Metadata: map[string]string{"node": i.name}}
}
