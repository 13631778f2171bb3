package link

import (
	"errors"
	"io"

	"connectrpc.com/connect/v2"
)

// Completion is told of the end of a call whose caller does not wait: one goroutine can have any number of calls
// under way. Its call has one request, and is sent by one Send, which neither blocks nor flushes; what it
// sends must stay as it is until the call is over. Over a session, [Session.FlushNow] has it written.
type Completion interface {
	// CallDone is called once, when the call is over and Finish has what came of it; never where opening the
	// call failed. Any goroutine calls it, a session's reader above all, and it must not block. It
	// returns what it has given something to write, or nil.
	CallDone() Output
}

// Output is what a Waiter writes to, by which it is told to write once for many calls. Values are comparable.
type Output interface {
	// Flush writes what is ready. It may wait for the connection.
	Flush()
	// FlushNow is Flush for one who may not wait.
	FlushNow()
}

// takeCompletionLocked returns the Waiter, once, when the call is over. mu is held.
func (e *callerEndpoint) takeCompletionLocked() Completion {
	if !e.recvClosed && e.err == nil {
		return nil
	}
	w := e.completion
	e.completion = nil
	return w
}

// takeLocalCompletionLocked returns the Waiter of a local call that is over, once. mu is held.
func (c *ServerCall) takeLocalCompletionLocked() Completion {
	if c.endpoint == nil || c.endpoint.pair == nil {
		return nil
	}
	return c.endpoint.pair.caller.takeCompletionLocked()
}

// complete tells a Waiter, if it is one, on a goroutine that may block.
func complete(w Completion) {
	if w == nil {
		return
	}
	if o := w.CallDone(); o != nil {
		o.Flush()
	}
}

// completeNow is tell on a goroutine that may not block.
func completeNow(w Completion) {
	if w == nil {
		return
	}
	if o := w.CallDone(); o != nil {
		o.FlushNow()
	}
}

// Result takes the end of a call with a Waiter, once that has been told. It returns the response in a
// Buffer that the caller frees, and otherwise an error as Receive does.
func (c *ClientCall) Result() (*Buffer, error) {
	c.mu.Lock()
	e := c.endpoint
	if e == nil {
		err := c.outcome.err
		c.mu.Unlock()
		return nil, err
	}
	var b *Buffer
	more := false
	if e.err == nil && !e.inbox.empty() {
		b = e.inbox.popBuffer()
		more = !e.inbox.empty()
	}
	headers := e.headers
	e.headers = nil
	c.settleLocked(e.outcomeLocked())
	e.recycleLocked()
	stop, err := c.takeStopLocked(), c.outcome.err
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	if headers != nil && c.open.ResponseHeader != nil {
		if herr := parseHeaders(headers, c.open.ResponseHeader); herr != nil {
			err = errMalformedHeaders.WithCause(herr)
		}
	}
	return unaryResponse(b, more, err)
}

// unaryResponse is what Finish returns of what came: a message, whether there were more, and how the call ended.
func unaryResponse(b *Buffer, more bool, err error) (*Buffer, error) {
	switch {
	case !errors.Is(err, io.EOF):
	case more:
		err = connect.NewError(connect.CodeInternal, "the handler sent more than the one response of its method")
	case b != nil:
		return b, nil
	}
	if b != nil {
		b.Free()
	}
	return nil, err
}
