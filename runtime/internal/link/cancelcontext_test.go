package link_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestCancelContext: a handler that is told something learns it by its context, whenever it looks and from whatever was derived
// of that, and its call goes on.
func TestCancelContext(t *testing.T) {
	cause := errors.New("told")
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		for _, early := range []bool{true, false} { // who looks before, and who does not
			m.nodes[to].serve = func(c *link.ServerCall) {
				ctx := c.Context()
				derived := ctx
				if early {
					var cancel context.CancelFunc
					derived, cancel = context.WithTimeout(context.WithValue(ctx, link.Open{}, 1), time.Hour)
					defer cancel()
				}
				c.CancelContext(cause)
				c.CancelContext(errors.New("too late"))
				<-derived.Done()
				for _, ctx := range []context.Context{ctx, derived} {
					if ctx.Err() != context.Canceled || context.Cause(ctx) != cause {
						t.Errorf("early %v: %v because of %v", early, ctx.Err(), context.Cause(ctx))
					}
				}
				echo(c)
			}
			c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeBidi})
			for range 3 {
				if err := c.Send([]byte("still")); err != nil {
					t.Fatal(err)
				}
				if msg, err := c.Receive(); err != nil || string(msg) != "still" {
					t.Errorf("%q, %v", msg, err)
				}
			}
			if err := c.CloseSend(); err != nil {
				t.Error(err)
			}
			if _, err := c.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("the end: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}
