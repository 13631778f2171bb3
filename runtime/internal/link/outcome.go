package link

import (
	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// outcome is how a call ended, as its caller sees it.
type outcome struct {
	frame.End
	// certainty is how far the call had come, as its caller can know.
	certainty Certainty
}

// correctCertainty returns failure as it can be true: a call of which something was answered has started, whoever
// says otherwise.
func correctCertainty(failure *rpcmeshv1.CallFailure, answered bool) *rpcmeshv1.CallFailure {
	if failure == nil || !answered {
		return failure
	}
	failure = proto.CloneOf(failure)
	failure.Certainty = started
	return failure
}

// encodeEnd returns the body of a handler's End; nothing for success without trailers. What is beyond the
// limits is replaced by an error that says so.
func (c *ServerCall) encodeEnd(err *connect.Error, trailer *connect.Header) []byte {
	limit := c.limits.MaxHeader
	if err == nil && trailer.Len() == 0 {
		return nil
	}
	if _, tooLong := frame.CheckHeaders("trailers", trailer, limit); tooLong != nil {
		return c.failure(tooLong, started).encode(limit)
	}
	end, tooLong := frame.EncodeEnd(err, trailer, nil, limit)
	if tooLong != nil {
		return c.failure(tooLong, started).encode(limit)
	}
	return end
}
