package link_test

import (
	"context"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestBlockingCallerCancels ends the context of a caller that watches it itself: in Receive, and in a Send that waits
// for the window.
func TestBlockingCallerCancels(t *testing.T) {
	for name, size := range map[string]int{"receive": 10, "send": 100_000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := chain(t, 3, link.Limits{Window: 300})
				ended := make(chan error, 1)
				m.nodes[2].serve = func(c *link.ServerCall) {
					<-c.Context().Done()
					ended <- c.Context().Err()
				}
				ctx, cancel := context.WithCancel(t.Context())
				called := make(chan error, 1)
				go func() {
					_, err := unary(m.open(ctx, 0, 2, link.Open{CallerBlocks: true}), make([]byte, size))
					called <- err
				}()
				synctest.Wait()
				cancel()
				if err := <-called; connect.CodeOf(err) != connect.CodeCanceled {
					t.Errorf("the caller got %v", err)
				}
				if err := <-ended; err != context.Canceled {
					t.Errorf("the handler's context ended with %v", err)
				}
				m.close()
			})
		})
	}
}
