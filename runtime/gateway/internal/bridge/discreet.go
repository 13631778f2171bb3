package bridge

import (
	"errors"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// Discreet returns err, of a call of procedure, as those outside the mesh may know it: without nodes, links and
// addresses. What the mesh itself says keeps its code, what it says of how far the call had come, and its reason
// ([google.rpc.ErrorInfo]), and gets a text that has nothing but what the caller knows. A function's own words stay
// as they are, whatever they tell. nil stays nil.
//
// [google.rpc.ErrorInfo]: https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto
func Discreet(err error, procedure string) error {
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || e == nil {
		return err
	}
	failure, failed := rpcmesh.FailureOf(e)
	if !failed {
		return err
	}
	text := e.Message()
	if !failure.ByHandler {
		text = saying(e.Code(), failure.Certainty, procedure)
	}
	told := connect.NewError(e.Code(), text).WithCause(err)
	for _, d := range e.Details() {
		switch {
		case d.Type == failureType:
			if d, ok := anonymous(failure); ok {
				told = told.WithDetail(d)
			}
		case failure.ByHandler:
			told = told.WithDetail(d)
		case d.Type == infoType:
			told = told.WithDetail(&connect.ErrorDetail{Type: d.Type, Value: withoutMetadata(d.Value)})
		}
	}
	if e.IsRemote() {
		told = told.WithRemote()
	}
	return told
}

// DiscreetSchema is Discreet for what keeps the schema of a function from being had, or that which defines a name.
func DiscreetSchema(err error, name string) error {
	if err == nil || err == protoregistry.NotFound { //nolint:errorlint // it is returned as it is
		return err
	}
	if _, failed := rpcmesh.FailureOf(err); failed {
		return Discreet(err, name)
	}
	text := "no schema that can be had now defines " + name
	switch connect.CodeOf(err) {
	case connect.CodeNotFound:
		text = name + " was registered without a schema"
	case connect.CodeUnimplemented:
		text = saying(connect.CodeUnimplemented, 0, name)
	}
	return connect.NewError(connect.CodeOf(err), text).WithCause(err)
}

// saying is what the mesh says of a call to those outside.
func saying(code connect.Code, certainty rpcmesh.Certainty, procedure string) string {
	switch code {
	case connect.CodeUnimplemented:
		return procedure + " cannot be called here: no such function is known"
	case connect.CodeDeadlineExceeded:
		return "the call's time is up"
	case connect.CodeCanceled:
		return "the call was canceled"
	case connect.CodeResourceExhausted:
		return "the call met a limit: it is too large, or too many are under way"
	case connect.CodeUnavailable:
	default:
		return "the call of " + procedure + " was refused or has failed on its way"
	}
	switch certainty {
	case rpcmesh.CertaintyNotStarted:
		return procedure + " cannot be reached now: the call has not started, try again"
	case rpcmesh.CertaintyStarted:
		return "the call of " + procedure + " was lost after it had started"
	}
	return "the call of " + procedure + " was lost: it may have started"
}

// anonymous is a detail that says what failure does, but not where.
func anonymous(failure rpcmesh.Failure) (*connect.ErrorDetail, bool) {
	value, err := proto.Marshal(&rpcmeshv1.CallFailure{Certainty: rpcmeshv1.CallFailure_Certainty(failure.Certainty), ByHandler: failure.ByHandler})
	return &connect.ErrorDetail{Type: failureType, Value: value}, err == nil
}

// infoMetadata is the field of an ErrorInfo that has what is beside its reason and domain.
const infoMetadata = 3

// withoutMetadata returns an encoded ErrorInfo without its metadata.
func withoutMetadata(info []byte) (rest []byte) {
	for len(info) > 0 {
		num, _, n := protowire.ConsumeField(info)
		if n < 0 {
			return rest
		}
		if num != infoMetadata {
			rest = append(rest, info[:n]...)
		}
		info = info[n:]
	}
	return rest
}
