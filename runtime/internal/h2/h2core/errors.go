package h2core

import (
	"errors"
	"fmt"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// ConnError is a connection error (RFC 9113 section 5.4.1): what the peer did against HTTP/2 or a limit. It ends the
// connection by a GOAWAY with the code and the reason.
type ConnError struct {
	Code   http2.ErrCode
	Reason string
}

func (e *ConnError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Reason) }

// ConnErrorf returns a [*ConnError].
func ConnErrorf(code http2.ErrCode, format string, args ...any) error {
	return &ConnError{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// framerError returns a [*ConnError] where the Framer has found a connection error. A stream error
// ([http2.StreamError]), and any other, is returned as it is.
func (r *FrameReader) framerError(f http2.Frame, err error) error {
	if mh, ok := f.(*http2.MetaHeadersFrame); ok && mh.Truncated {
		return ConnErrorf(http2.ErrCodeEnhanceYourCalm, "more than %d bytes of headers", r.limits.HeaderList)
	}
	if ce, ok := errors.AsType[http2.ConnectionError](err); ok {
		reason := "malformed frame"
		if detail := r.framer.ErrorDetail(); detail != nil {
			reason = detail.Error()
		}
		return ConnErrorf(http2.ErrCode(ce), "%s", reason)
	}
	switch {
	case errors.Is(err, netio.ErrLimit):
		return ConnErrorf(http2.ErrCodeEnhanceYourCalm, "header block of more than %d bytes", r.limits.HeaderBlock)
	case errors.Is(err, http2.ErrFrameTooLarge):
		return ConnErrorf(http2.ErrCodeFrameSize, "frame longer than this end takes")
	}
	return err
}
