package link

import (
	"context"
	"sync"
	"time"
)

// callContext is a handler's context. It is a type of its own because one made with the context package
// costs several allocations and a timer for each call; the keeper watches the deadline instead. Only
// when somebody waits for its end, or derives from it, is one of the context package's made, so that
// those that derive find a parent which they know and need no goroutine.
type callContext struct {
	deadline time.Time
	incoming *Incoming

	mu    sync.Mutex
	err   error
	cause error           // what tell ended it with; nil: err
	told  bool            // inner has been ended, or need not be
	inner context.Context // ends with this one, and by the same error
	hook  func()          // ends inner by the error of this one
	free  context.CancelCauseFunc
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if key == (incomingKey{}) {
		return c.incoming
	}
	c.mu.Lock()
	inner, cause := c.inner, c.cause
	c.mu.Unlock()
	if inner == nil && cause != nil {
		inner = c.child() // context.Cause asks it
	}
	if inner == nil {
		return nil
	}
	return inner.Value(key)
}

type incomingKey struct{}

// IncomingOf returns what is called where ctx is a handler's or derived from it, which is not to be changed.
func IncomingOf(ctx context.Context) (*Incoming, bool) {
	in, ok := ctx.Value(incomingKey{}).(*Incoming)
	return in, ok
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.child().Done() }

// child returns inner, which it makes where there is none yet.
func (c *callContext) child() context.Context {
	c.mu.Lock()
	if c.inner != nil {
		defer c.mu.Unlock()
		return c.inner
	}
	parent := &contextRoot{c: c}
	c.inner, c.free = context.WithCancelCause(parent)
	c.hook = parent.hook
	inner, ended := c.inner, c.err != nil
	c.mu.Unlock()
	if ended {
		c.end()
	}
	return inner
}

// mark sets the context's error, so that a handler whose Send or Receive fails finds it. cancel must
// follow. It may be called with a session's lock held.
func (c *callContext) mark(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

// cancel ends the context; the first error counts. It is not called with a session's lock held: whoever
// derived from the context is told.
func (c *callContext) cancel(err error) {
	c.mark(err)
	c.mu.Lock()
	waited := c.inner != nil && !c.told
	c.told = true
	c.mu.Unlock()
	if waited {
		c.end()
	}
}

// tell ends the context with cause, which [context.Cause] finds, while the call goes on.
func (c *callContext) tell(cause error) {
	c.mu.Lock()
	if c.err == nil {
		c.err, c.cause = context.Canceled, cause
	}
	c.mu.Unlock()
	c.cancel(context.Canceled)
}

// end ends inner. That it has ended before does not matter.
func (c *callContext) end() {
	c.mu.Lock()
	cause := c.cause
	c.mu.Unlock()
	if cause == nil {
		c.hook()
	}
	c.free(cause)
}

// contextRoot is the parent of callContext.inner. It hands the function that ends inner, with the
// root's error, to the callContext.
type contextRoot struct {
	c    *callContext
	hook func()
}

var never = make(chan struct{})

func (r *contextRoot) Deadline() (time.Time, bool) { return r.c.Deadline() }
func (r *contextRoot) Done() <-chan struct{}       { return never }
func (r *contextRoot) Err() error                  { return r.c.Err() }
func (r *contextRoot) Value(any) any               { return nil }

// AfterFunc is what the context package registers a child with.
func (r *contextRoot) AfterFunc(f func()) (stop func() bool) {
	r.hook = f
	return func() bool { return true }
}
