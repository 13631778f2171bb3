package link

import (
	"context"
	"sync/atomic"
	"time"
)

// callContext is a ServerCall as its handler's context. One made by the context package would cost several allocations
// and a timer for each call; here the keepalive goroutine looks at the deadline instead. Only when a goroutine waits for
// its end, or derives from it, is a context of that package made, so that those that derive find a parent which they
// know, and need no goroutine.
type callContext ServerCall

// How a callContext ends. The first end counts.
const (
	endCanceled = iota + 1
	endDeadline
	endCause // canceled, and the child has the cause
)

// contextChild is what is made for those who wait for the end of a callContext.
type contextChild struct {
	context.Context // ends with it, and by the same error

	cancelParent func() // ends the Context by the error of the callContext
	cancel       context.CancelCauseFunc
	cause        atomic.Pointer[error] // what cancelCause ends it with
}

// endOf is how a context ends whose error is err.
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

// setEnd sets the context's error, so that a handler whose Send or Receive fails finds it. It may be called under a
// session's lock; cancel must follow.
func (c *callContext) setEnd(err error) { c.ctxEnd.CompareAndSwap(0, endOf(err)) }

// cancel ends the context; the first error counts. It is not called under a session's lock, as it calls functions of
// whoever derived from the context.
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

// endChild ends the child. It may have ended before.
func (c *callContext) endChild(child *contextChild) {
	if c.ctxEnd.Load() == endCause {
		child.cancel(*child.cause.Load())
		return
	}
	child.cancelParent()
	child.cancel(nil)
}

// contextRoot is the parent of a contextChild. The context package hands it the function that ends the child with the
// root's error.
type contextRoot struct {
	c           *callContext
	cancelChild func()
}

var neverDone = make(chan struct{})

func (r *contextRoot) Deadline() (time.Time, bool) { return r.c.Deadline() }
func (r *contextRoot) Done() <-chan struct{}       { return neverDone }
func (r *contextRoot) Err() error                  { return r.c.Err() }
func (r *contextRoot) Value(any) any               { return nil }

// AfterFunc is how the context package registers a child.
func (r *contextRoot) AfterFunc(f func()) (stop func() bool) {
	r.cancelChild = f
	return func() bool { return true }
}
