package link

import (
	"io"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// maxDetails bounds the details of an error.
const maxDetails = 100

// outcome is how a call ended, as the caller sees it.
type outcome struct {
	// err is io.EOF or a *connect.Error.
	err     error
	trailer *linkv1.Headers
	// failure is said where the mesh ended the call on its way.
	failure *rpcmeshv1.CallFailure
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
// limits is replaced.
func (c *ServerCall) encodeEnd(err *connect.Error, trailer *connect.Header) []byte {
	limit := c.limits.MaxHeader
	if err == nil && trailer.Len() == 0 {
		return nil
	}
	if _, tooLong := checkHeaders("trailers", trailer, limit); tooLong != nil {
		return c.failure(tooLong, started).encode(limit)
	}
	end, tooLong := encodeEnd(err, trailer, nil, limit)
	if tooLong != nil {
		return c.failure(tooLong, started).encode(limit)
	}
	return end
}

// encodeEnd returns the body of an End, or says why there can be none.
func encodeEnd(err *connect.Error, trailer *connect.Header, failure *rpcmeshv1.CallFailure, limit int) ([]byte, *connect.Error) {
	end := &linkv1.End{Trailers: protoHeaders(trailer), Failure: failure}
	if err != nil {
		end.Code = uint32(err.Code())
		end.Message = strings.ToValidUTF8(err.Message(), "\uFFFD")
		for _, d := range err.Details() {
			end.Details = append(end.Details, &linkv1.Detail{Type: d.Type, Value: d.Value, Debug: d.Debug})
		}
	}
	b, merr := proto.Marshal(end)
	if merr != nil || len(b) > limit || len(end.GetDetails()) > maxDetails {
		return nil, connect.Errorf(connect.CodeResourceExhausted,
			"the call's error and trailers take %d bytes with %d details: the limits are %d and %d",
			len(b), len(end.GetDetails()), limit, maxDetails)
	}
	return b, nil
}

func protoHeaders(h *connect.Header) *linkv1.Headers {
	if h.Len() == 0 {
		return nil
	}
	out := new(linkv1.Headers)
	for key, values := range h.All() {
		header := &linkv1.Header{Key: key}
		for _, v := range values {
			header.Values = append(header.Values, []byte(v))
		}
		out.Headers = append(out.Headers, header)
	}
	return out
}

// addTo adds the trailers to h, which may be nil.
func (o *outcome) addTrailer(h *connect.Header) {
	if h == nil {
		return
	}
	for _, header := range o.trailer.GetHeaders() {
		for _, v := range header.GetValues() {
			h.Add(header.GetKey(), string(v))
		}
	}
}

// decodeEnd reads the body of an End.
func decodeEnd(b []byte) outcome {
	if len(b) == 0 {
		return outcome{err: io.EOF}
	}
	end := new(linkv1.End)
	if err := proto.Unmarshal(b, end); err != nil || len(end.GetDetails()) > maxDetails {
		return outcome{err: connect.NewError(connect.CodeInternal, "link: the call's end is malformed").WithCause(err)}
	}
	out := outcome{err: io.EOF, trailer: end.GetTrailers(), failure: end.GetFailure()}
	if end.GetCode() != 0 {
		err := connect.NewError(connect.Code(end.GetCode()), end.GetMessage())
		for _, d := range end.GetDetails() {
			err = err.WithDetail(&connect.ErrorDetail{Type: d.GetType(), Value: d.GetValue(), Debug: d.GetDebug()})
		}
		out.err = err.WithRemote()
	}
	return out
}
