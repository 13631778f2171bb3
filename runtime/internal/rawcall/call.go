package rawcall

import (
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
)

// Call is a unary call of one who passes calls on, as a gateway does: its messages stay encoded, and no
// goroutine waits for it. Otherwise it is a call like those of a namespace's clients: with the same
// deadlines, retries and errors. Its owner sets the fields and the request's headers, and leaves it alone
// from [Caller.Begin] until Owner.Done is called.
type Call struct {
	// Procedure is the function's, and Idempotency what it was registered with.
	Procedure   string
	Idempotency connect.IdempotencyLevel
	// Deadline ends the call. Zero: the node's Config.CallTimeout from its beginning.
	Deadline time.Time
	// Outside says how the call came in from outside, nil for a call of this program's own. It is not changed
	// until Owner.Done is called.
	Outside *Outside
	// Request is the encoded request. Begin copies it, unless it is Owned: then it is the call's once Begin has
	// returned true, and stays as it is.
	Request []byte
	Owned   bool
	// Owner is told of the call's end.
	Owner Owner
	// Info has the headers and trailers: the request's may be changed until the call begins, the response's are
	// there when Owner.Done is called.
	Info connect.CallInfo

	// Response is the encoded response where Err is nil, until Owner.Done returns, or for good by KeepResponse.
	Response []byte
	// Err is how the call failed, as for a [connect.ClientStream].
	Err error

	run      Canceler // set before begun
	begun    atomic.Bool
	canceled atomic.Bool
	kept     bool // the response is
}

// Owner is who makes a Call.
type Owner interface {
	// Done is called once when the call is over, by any goroutine and perhaps before Begin has returned. It
	// must not block: others' calls wait meanwhile. What it gives something to write it returns, or nil.
	Done(c *Call) Output
}

// Output is what [Owner.Done] writes to. It is told to write once for many calls. Values are comparable.
type Output interface {
	// Flush writes what is ready. It may wait for the connection.
	Flush()
	// FlushNow is Flush for one who may not wait.
	FlushNow()
}

// Canceler is what a Call runs by.
type Canceler interface {
	// Cancel ends the call. It does not block, and may be called at any time, by any goroutine.
	Cancel()
}

// Outside is how a call came in from outside, by the names of the gateway that let it in and of the token that it was
// admitted by, and the network address of its caller: package rpcmesh's type of that name.
type Outside struct{ Gateway, Token, Addr string }

// Cancel ends the call; Owner.Done is called in any case where Begin returns true. It does not block, and may be
// called at any time, by any goroutine.
func (c *Call) Cancel() {
	c.canceled.Store(true)
	if c.begun.Load() {
		c.run.Cancel()
	}
}

// Canceled reports whether Cancel was called.
func (c *Call) Canceled() bool { return c.canceled.Load() }

// SetRun tells the call, once, what it runs by. It reports whether Cancel was called before, and may have missed it.
func (c *Call) SetRun(run Canceler) (canceled bool) {
	c.run = run
	c.begun.Store(true)
	return c.canceled.Load()
}

// KeepResponse leaves Response to the call's owner for good. It may be called while Owner.Done runs.
func (c *Call) KeepResponse() { c.kept = true }

// Kept reports whether KeepResponse was called.
func (c *Call) Kept() bool { return c.kept }
