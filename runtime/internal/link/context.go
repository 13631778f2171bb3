package link

import (
	"context"
	"sync/atomic"
	"time"
)

// callContext is a ServerCall as its handler's context. It is a type of its own because one made with the context
// package costs several allocations and a timer for each call; the keeper watches the deadline instead. Only
// when somebody waits for its end, or derives from it, is one of the context package's made, so that
// those that derive find a parent which they know and need no goroutine.
type callContext ServerCall

// How a callContext ends; the first one counts.
const (
	endCanceled = iota + 1
	endDeadline
	endCause // canceled, and the child has the cause
)

// contextChild is what those find who wait for the end of a callContext.
type contextChild struct {
	context.Context // ends with it, and by the same error

	cancelParent func() // ends the Context by the error of the callContext
	cancel       context.CancelCauseFunc
	cause        atomic.Pointer[error] // what tell ends it with
}

// endOf is how a context ends that ends by err.
func endOf(err error) uint32 {
	if err == context.DeadlineExceeded { //nolint:errorlint // it is one of two
		return endDeadline
	}
	return endCanceled
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Err implements context.Context.
func (c *callContext) Err() error {
	switch c.ctxEnd.Load() {
	case 0:
		return nil
	case endDeadline:
		return context.DeadlineExceeded
	default:
		return context.Canceled
	}
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return (*ServerCall)(c)
	}
	if child := c.ctxChild.Load(); child != nil {
		return child.Value(key)
	}
	return nil
}

type callKey struct{}

// CallerOf returns who made the call where ctx is a handler's or derived from it, nil where nobody knows.
func CallerOf(ctx context.Context) (caller *Caller, ok bool) {
	c, ok := ctx.Value(callKey{}).(*ServerCall)
	if !ok {
		return nil, false
	}
	return c.caller, true
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.ensureChild().Done() }

// ensureChild returns the child, which it makes where there is none yet.
func (c *callContext) ensureChild() *contextChild {
	if child := c.ctxChild.Load(); child != nil {
		return child
	}
	parent := &contextRoot{c: c}
	child := new(contextChild)
	child.Context, child.cancel = context.WithCancelCause(parent)
	child.cancelParent = parent.cancelChild
	if !c.ctxChild.CompareAndSwap(nil, child) {
		return c.ctxChild.Load()
	}
	if c.ctxEnd.Load() != 0 {
		c.endChild(child)
	}
	return child
}

// setEnd sets the context's error, so that a handler whose Send or Receive fails finds it. cancel must
// follow. It may be called with a session's lock held.
func (c *callContext) setEnd(err error) { c.ctxEnd.CompareAndSwap(0, endOf(err)) }

// cancel ends the context; the first error counts. It is not called with a session's lock held: whoever
// derived from the context is told.
func (c *callContext) cancel(err error) {
	c.setEnd(err)
	if child := c.ctxChild.Load(); child != nil {
		c.endChild(child)
	}
}

// cancelCause ends the context with cause, which [context.Cause] finds, while the call goes on.
func (c *callContext) cancelCause(cause error) {
	child := c.ensureChild()
	child.cause.CompareAndSwap(nil, &cause)
	c.ctxEnd.CompareAndSwap(0, endCause)
	c.endChild(child)
}

// endChild ends the child. That it has ended before does not matter.
func (c *callContext) endChild(child *contextChild) {
	if c.ctxEnd.Load() == endCause {
		child.cancel(*child.cause.Load())
		return
	}
	child.cancelParent()
	child.cancel(nil)
}

// contextRoot is the parent of a contextChild. It hands the function that ends the child, with the
// root's error, to the callContext.
type contextRoot struct {
	c           *callContext
	cancelChild func()
}

var neverDone = make(chan struct{})

func (r *contextRoot) Deadline() (time.Time, bool) { return r.c.Deadline() }
func (r *contextRoot) Done() <-chan struct{}       { return neverDone }
func (r *contextRoot) Err() error                  { return r.c.Err() }
func (r *contextRoot) Value(any) any               { return nil }

// AfterFunc is what the context package registers a child with.
func (r *contextRoot) AfterFunc(f func()) (stop func() bool) {
	r.cancelChild = f
	return func() bool { return true }
}
