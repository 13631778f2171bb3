package h2serve

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// connError is what the client did against HTTP/2 or a limit. It ends the connection; the client is told the
// code in a GOAWAY.
type connError struct {
	code   http2.ErrCode
	reason string
}

func (b *connError) Error() string { return fmt.Sprintf("%s: %s", b.code, b.reason) }

func connErrorf(code http2.ErrCode, format string, args ...any) error {
	return &connError{code: code, reason: fmt.Sprintf(format, args...)}
}

var (
	errConn    = fmt.Errorf("h2serve: the connection has ended: %w", net.ErrClosed)
	errIdle    = fmt.Errorf("h2serve: nothing was asked for too long: %w", net.ErrClosed)
	errDrained = fmt.Errorf("h2serve: the client was told to leave: %w", net.ErrClosed)
	errReset   = errors.New("h2serve: the client has reset the stream")
	errStream  = errors.New("h2serve: the stream has ended")
	errClosed  = errors.New("h2serve: the body was closed")
)

// framerError makes a connError of what the Framer found wrong with the connection. What it found wrong with a
// stream comes back as that stream's, and other errors as they are.
func framerError(fr *http2.Framer, err error) error {
	if ce, ok := errors.AsType[http2.ConnectionError](err); ok {
		reason := "malformed frame"
		if detail := fr.ErrorDetail(); detail != nil {
			reason = detail.Error()
		}
		return connErrorf(http2.ErrCode(ce), "%s", reason)
	}
	switch {
	case errors.Is(err, netio.ErrLimit):
		return connErrorf(http2.ErrCodeEnhanceYourCalm, "header block longer than this end takes")
	case errors.Is(err, http2.ErrFrameTooLarge):
		return connErrorf(http2.ErrCodeFrameSize, "frame longer than this end takes")
	}
	return err
}
