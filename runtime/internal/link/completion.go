package link

import (
	"errors"
	"io"

	"connectrpc.com/connect/v2"
)

// Completion is called at the end of a call whose caller does not wait: one goroutine can have any number of calls in
// progress. Such a call has one request, and is sent by one Send, which neither blocks nor flushes; what it sends must
// stay as it is until the call is over. Over a session, [Session.FlushNow] writes it.
type Completion interface {
	// CallDone is called once, when the call is over and Result has its response or error; never where opening the call
	// failed. Any goroutine calls it, a session's reader above all, and it must not block. It returns what it has given
	// something to write to, or nil.
	CallDone() Output
}

// Output is what a Completion writes to, so that it is flushed once for many calls. Values are comparable.
type Output interface {
	// Flush writes what is ready. It may wait for the connection.
	Flush()
	// FlushNow is Flush for a goroutine that may not wait.
	FlushNow()
}

// takeCompletionLocked returns the Completion if the call is over, once; then nil.
func (e *callerEndpoint) takeCompletionLocked() Completion {
	if !e.recv.closed() && e.err == nil {
		return nil
	}
	w := e.completion
	e.completion = nil
	return w
}

// takeLocalCompletionLocked is takeCompletionLocked for the caller of a local call.
func (c *ServerCall) takeLocalCompletionLocked() Completion {
	if c.endpoint == nil || c.endpoint.pair == nil {
		return nil
	}
	return c.endpoint.pair.caller.takeCompletionLocked()
}

// complete calls a Completion, which may be nil, on a goroutine that may block.
func complete(w Completion) {
	if w == nil {
		return
	}
	if o := w.CallDone(); o != nil {
		o.Flush()
	}
}

// completeNow is complete on a goroutine that may not block.
func completeNow(w Completion) {
	if w == nil {
		return
	}
	if o := w.CallDone(); o != nil {
		o.FlushNow()
	}
}

// Result returns the response of a call with a Completion, once that has been called, in a Buffer that the caller frees;
// and otherwise an error as Receive does.
func (c *ClientCall) Result() (*Buffer, error) {
	c.mu.Lock()
	e := c.endpoint
	if e == nil {
		err := c.outcome.Err
		c.mu.Unlock()
		return nil, err
	}
	var b *Buffer
	more := false
	if e.err == nil && !e.inbox.empty() {
		b = e.inbox.popBuffer()
		more = !e.inbox.empty()
	}
	headers := e.takeHeadersLocked()
	c.settleLocked(e.outcomeLocked(), callEnded)
	e.recycleLocked()
	stop, err := c.takeStopLocked(), c.outcome.Err
	c.mu.Unlock()
	if stop != nil {
		stop()
	}
	if malformed := c.decodeHeaders(headers); malformed != nil {
		err = malformed
	}
	return unaryResponse(b, more, err)
}

// unaryResponse returns the response b, unless the call ended with an err other than io.EOF, or more messages came.
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
