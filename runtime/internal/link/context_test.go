package link

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// TestContextInParallel has many wait for a handler's context, derive from it and look at it while others end it in
// different ways: all find one and the same end, whose cause goes with it.
func TestContextInParallel(t *testing.T) {
	told := errors.New("told")
	type key struct{}
	for range 40 {
		c := &ServerCall{caller: new(Caller), deadline: time.Now().Add(time.Hour)}
		ctx := c.Context()
		var all sync.WaitGroup
		ends := make(chan error, 8)
		for i := range cap(ends) {
			all.Go(func() {
				look := ctx
				if i%2 == 1 {
					derived, cancel := context.WithCancel(context.WithValue(ctx, key{}, i))
					defer cancel()
					look = derived
				}
				<-look.Done()
				if by, ok := CallerOf(look); !ok || by != c.caller {
					t.Errorf("the caller is %v, %v", by, ok)
				}
				if look.Value(key{}) != nil && look == ctx {
					t.Error("a value that was given to a context derived from it")
				}
				err, cause := look.Err(), context.Cause(look)
				if want := err; cause != want && (!errors.Is(cause, told) || !errors.Is(err, context.Canceled)) {
					t.Errorf("ended by %v because of %v", err, cause)
				}
				ends <- cause
			})
		}
		all.Go(func() { c.CancelContext(told) })
		all.Go(func() { c.context().cancel(context.Canceled) })
		all.Go(func() {
			c.context().setEnd(context.DeadlineExceeded)
			c.context().cancel(context.DeadlineExceeded)
		})
		all.Wait()
		first := <-ends
		for range cap(ends) - 1 {
			if cause := <-ends; !errors.Is(cause, first) {
				t.Fatalf("one found %v, another %v", first, cause)
			}
		}
	}
}
