package h2link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

var errClosed = connect.NewError(connect.CodeCanceled, "link's connection closed from this end").WithCause(net.ErrClosed)

// ResetError is the cause of an error of a call whose stream the peer has reset.
type ResetError struct{ Code http2.ErrCode }

func (e *ResetError) Error() string { return fmt.Sprintf("the peer reset the stream: %s", e.Code) }

// codeFor maps an HTTP/2 error code as Connect and gRPC do:
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#errors
func codeFor(code http2.ErrCode) connect.Code {
	switch code {
	case http2.ErrCodeRefusedStream:
		return connect.CodeUnavailable
	case http2.ErrCodeCancel:
		return connect.CodeCanceled
	case http2.ErrCodeEnhanceYourCalm:
		return connect.CodeResourceExhausted
	case http2.ErrCodeInadequateSecurity:
		return connect.CodePermissionDenied
	default:
		return connect.CodeInternal
	}
}

// codeForStatus maps the status of an HTTP response that is no Connect response:
// https://connectrpc.com/docs/protocol#http-to-error-code
func codeForStatus(status int) connect.Code {
	switch status {
	case 400:
		return connect.CodeInternal
	case 401:
		return connect.CodeUnauthenticated
	case 403:
		return connect.CodePermissionDenied
	case 404:
		return connect.CodeUnimplemented
	case 429, 502, 503, 504:
		return connect.CodeUnavailable
	default:
		return connect.CodeUnknown
	}
}

// callerError makes of err what a caller may see.
func (c *Conn) callerError(err error) error {
	if ce, ok := errors.AsType[*connect.Error](err); ok {
		return ce
	}
	if b, ok := errors.AsType[*h2core.ConnError](err); ok {
		return connect.Errorf(codeFor(b.Code), "the peer broke a rule or limit of HTTP/2: %s", b).WithCause(b)
	}
	text := "connection broke"
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return connect.Errorf(connect.CodeDeadlineExceeded,
			"the peer did not do its part of the start within %s", c.opts.HandshakeTimeout).WithCause(err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "connection closed by the peer"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.goAway != "" {
		text += " after " + c.state.goAway
	}
	return connect.NewError(connect.CodeUnavailable, text).WithCause(err)
}
