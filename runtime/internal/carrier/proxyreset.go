package carrier

import (
	"errors"
	"fmt"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// Where nginx's client_max_body_size is at its default, a stream is reset within so many bytes.
const (
	nginxBodyLimit      = 1 << 20
	nginxBodyLimitSlack = 128 << 10
)

// ProxyResetError is the cause of an error of a link whose stream was reset, after the node at its other end had answered,
// by what is in front of that. Once it has passed on that answer, a proxy that bounds a request's body can no
// longer answer with a status (413).
type ProxyResetError struct {
	Sent uint64 // bytes of the request's body, some of which the proxy need not have seen
}

// LikelyBodyLimit reports whether the number of bytes alone suggests a limit of the body.
func (e *ProxyResetError) LikelyBodyLimit() bool {
	return e.Sent >= nginxBodyLimit && e.Sent < nginxBodyLimit+nginxBodyLimitSlack
}

func (e *ProxyResetError) Error() string {
	why := "if that recurs at about the same number, a proxy in front limits the size of a request body"
	if e.LikelyBodyLimit() {
		why = "a proxy in front limits the size of a request body"
	}
	return fmt.Sprintf("the stream was reset after %d bytes: %s (nginx: client_max_body_size 0)", e.Sent, why)
}

// Receive returns the next packet, which is valid until the next Receive. The cause of its error is a *ProxyResetError
// where it is that.
func (c Conn) Receive() ([]byte, error) {
	p, err := c.Conn.Receive()
	if err == nil || c.attempt == nil || c.Stage() != h2link.ResponseReceived {
		return p, err
	}
	reset, ok := errors.AsType[*h2link.ResetError](err)
	if !ok || reset.Code != http2.ErrCodeInternal {
		return p, err
	}
	cut := &ProxyResetError{Sent: c.Sent()}
	return nil, connect.NewError(connect.CodeUnavailable, cut.Error()).WithCause(cut)
}
