package link_test

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestWorkersShrink has a burst of handlers. The goroutines that ran them end when they are not needed any more;
// those that a steady load needs stay, and no call waits for one that is ending.
func TestWorkersShrink(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			m := chain(t, nodes, link.Limits{})
			n := m.nodes[nodes-1]
			n.serve = func(c *link.ServerCall) {
				time.Sleep(time.Second) // fake time
				echoUnary(c)
			}
			burst := func(size int) {
				var calls sync.WaitGroup
				for range size {
					calls.Go(func() {
						start := time.Now()
						if _, err := unary(m.open(t.Context(), 0, nodes-1, link.Open{}), nil); err != nil {
							t.Error(err)
						}
						if took := time.Since(start); took != time.Second {
							t.Errorf("a call took %v", took)
						}
					})
				}
				calls.Wait()
			}
			synctest.Wait()
			before := runtime.NumGoroutine()
			burst(500)
			synctest.Wait()
			if got := runtime.NumGoroutine() - before; got < 490 {
				t.Errorf("%d goroutines wait for more", got)
			}
			for range 40 {
				burst(10)
			}
			synctest.Wait()
			if got := runtime.NumGoroutine() - before; got < 5 || got > 15 {
				t.Errorf("%d goroutines stay for 10 handlers", got)
			}
			time.Sleep(3 * link.IdleTime) // fake time
			synctest.Wait()
			if got := runtime.NumGoroutine() - before; got > 3 { // others of the process come and go
				t.Errorf("%d goroutines stay", got)
			}
			burst(100)
			m.checkIdle()
			m.close()
		})
	}
}
