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
	told  bool            // cancel has been called
	inner context.Context // ends with this one, and by the same error
	hook  func()          // ends inner by the error of this one
	free  func()
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
	inner := c.inner
	c.mu.Unlock()
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
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	if c.inner != nil {
		defer c.mu.Unlock()
		return c.inner.Done()
	}
	parent := &contextRoot{c: c}
	c.inner, c.free = context.WithCancel(parent)
	c.hook = parent.hook
	inner, ended := c.inner, c.err != nil
	c.mu.Unlock()
	if ended {
		c.end()
	}
	return inner.Done()
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

// end ends inner.
func (c *callContext) end() {
	c.hook()
	c.free()
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
