package link

import (
	"context"

	"connectrpc.com/connect/v2"
)

// ServerCall is the handler's side of a call. One goroutine may send while another receives.
type ServerCall struct{}

// Context is the handler's: it has the call's deadline and is cancelled when the caller lets go, the
// link is lost, or the call has ended.
func (c *ServerCall) Context() context.Context { panic("not implemented") }

// Incoming says what is called. It is valid for as long as the call is referenced.
func (c *ServerCall) Incoming() *Incoming { panic("not implemented") }

// Header returns the request's headers.
func (c *ServerCall) Header() *connect.Header { panic("not implemented") }

// Receive returns the next message, which is valid until the next Receive or the call's end, and
// io.EOF after the last. Another error is a *connect.Error.
func (c *ServerCall) Receive() ([]byte, error) { panic("not implemented") }

// SendHeaders sends the response's headers, once, before the first message. h may be nil.
func (c *ServerCall) SendHeaders(h *connect.Header) error { panic("not implemented") }

// Send sends a message, which may be reused when it returns. It blocks while the window is used up.
func (c *ServerCall) Send(msg []byte) error { panic("not implemented") }

// End ends the call: well where err is nil. Only the first End or Reply counts.
func (c *ServerCall) End(err *connect.Error, trailer *connect.Header) error { panic("not implemented") }

// Reply sends headers (unless sent), one last message and a good end together, in one frame if the
// message fits. It is what a unary handler's answer costs least with.
func (c *ServerCall) Reply(header *connect.Header, msg []byte, trailer *connect.Header) error {
	panic("not implemented")
}
