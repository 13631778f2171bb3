package frame

import (
	"io"
	"strings"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// MaxDetails bounds the details of an error.
const MaxDetails = 100

// End is how a call ended, as its caller sees it.
type End struct {
	// Err is io.EOF where the call ended well, and otherwise a *connect.Error, marked as remote where it was received.
	Err error
	// Trailer are the response's trailers.
	Trailer *linkv1.Headers
	// Failure is set where the mesh ended the call on its way.
	Failure *rpcmeshv1.CallFailure
}

// AddTrailerTo adds the trailers to h, which may be nil.
func (e *End) AddTrailerTo(h *connect.Header) {
	if h == nil {
		return
	}
	for _, header := range e.Trailer.GetHeaders() {
		for _, v := range header.GetValues() {
			h.Add(header.GetKey(), string(v))
		}
	}
}

// EncodeEnd returns the body of an End, or why there can be none: it would take more than limit bytes, or have more than
// MaxDetails details. A nil err is a good end.
func EncodeEnd(err *connect.Error, trailer *connect.Header, failure *rpcmeshv1.CallFailure, limit int) ([]byte, *connect.Error) {
	end := &linkv1.End{Trailers: protoHeaders(trailer), Failure: failure}
	if err != nil {
		end.Code = uint32(err.Code())
		end.Message = strings.ToValidUTF8(err.Message(), "\uFFFD")
		for _, d := range err.Details() {
			end.Details = append(end.Details, &linkv1.Detail{Type: d.Type, Value: d.Value, Debug: d.Debug})
		}
	}
	b, merr := proto.Marshal(end)
	if merr != nil || len(b) > limit || len(end.GetDetails()) > MaxDetails {
		return nil, connect.Errorf(connect.CodeResourceExhausted,
			"the call's error and trailers take %d bytes with %d details: the limits are %d and %d",
			len(b), len(end.GetDetails()), limit, MaxDetails)
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

// DecodeEnd reads the body of an End. The Err of one that is malformed says so.
func DecodeEnd(b []byte) End {
	if len(b) == 0 {
		return End{Err: io.EOF}
	}
	end := new(linkv1.End)
	if err := proto.Unmarshal(b, end); err != nil || len(end.GetDetails()) > MaxDetails {
		return End{Err: connect.NewError(connect.CodeInternal, "link: the call's end is malformed").WithCause(err)}
	}
	out := End{Err: io.EOF, Trailer: end.GetTrailers(), Failure: end.GetFailure()}
	if end.GetCode() != 0 {
		err := connect.NewError(connect.Code(end.GetCode()), end.GetMessage())
		for _, d := range end.GetDetails() {
			err = err.WithDetail(&connect.ErrorDetail{Type: d.GetType(), Value: d.GetValue(), Debug: d.GetDebug()})
		}
		out.Err = err.WithRemote()
	}
	return out
}
