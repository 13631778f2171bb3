package link

import (
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
)

// Open is what a call is opened with.
type Open struct {
	// Namespace, Procedure, Origin, OriginNamespace and StreamType are as in Incoming.
	Namespace       string
	Procedure       string
	Origin          NodeID
	OriginNamespace string
	StreamType      connect.StreamType
	// Hops is how many links the call may cross after the first.
	Hops uint32
	// Deadline ends the call, as the context's does; the earlier counts. Zero is none. It is cheaper
	// than a context of its own.
	Deadline time.Time
	// Header is sent when the call is opened; until then it may be changed. May be nil.
	Header *connect.Header
	// ResponseHeader and ResponseTrailer are filled in as they arrive, before the Receive that finds
	// them returns. May be nil.
	ResponseHeader, ResponseTrailer *connect.Header
}

// ClientCall is the caller's side of a call. One goroutine may send while another receives; Close may
// be called by any.
type ClientCall struct{}

// SendHeaders opens the call, if that has not been done.
func (c *ClientCall) SendHeaders() error { panic("not implemented") }

// Send sends a message, which may be reused when it returns. It blocks while the window is used up.
// For unary and server-stream calls the first message is the last one, too. It returns io.EOF if the
// call has ended: Receive says how.
func (c *ClientCall) Send(msg []byte) error { panic("not implemented") }

// CloseSend says that no more messages are sent.
func (c *ClientCall) CloseSend() error { panic("not implemented") }

// Receive returns the next message, which is valid until the next Receive or Close. It returns io.EOF
// when the call has ended well, and otherwise a *connect.Error: marked as remote, with code, message
// and details as sent, where the handler or the mesh ended the call.
func (c *ClientCall) Receive() ([]byte, error) { panic("not implemented") }

// Failure says how far the call had come if the mesh, not the handler, ended it, and is nil otherwise.
func (c *ClientCall) Failure() *rpcmeshv1.CallFailure { panic("not implemented") }

// Close cancels the call if it is running and frees what it holds. It is idempotent.
func (c *ClientCall) Close() error { panic("not implemented") }
