package link_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// limited returns the ways to give a call d from now on.
func limited(ctx context.Context, d time.Duration) (map[string]func() (context.Context, link.Open), context.CancelFunc) {
	limit, cancel := context.WithTimeout(ctx, d)
	return map[string]func() (context.Context, link.Open){
		"deadline":         func() (context.Context, link.Open) { return ctx, link.Open{Deadline: time.Now().Add(d)} },
		"context":          func() (context.Context, link.Open) { return limit, link.Open{} },
		"a prompt context": func() (context.Context, link.Open) { return limit, link.Open{CallerBlocks: true} },
	}, cancel
}

// wantInTime makes calls that have a second and no answer, and checks that each ends in time.
func wantInTime(t *testing.T, m *mesh, size int) {
	t.Helper()
	ways, cancel := limited(t.Context(), time.Second)
	defer cancel()
	start := time.Now()
	var calls sync.WaitGroup
	for name, way := range ways {
		for range 5 {
			calls.Go(func() {
				ctx, o := way()
				_, err := unary(m.open(ctx, 0, 1, o), make([]byte, size))
				if took := time.Since(start); connect.CodeOf(err) != connect.CodeDeadlineExceeded || took != time.Second {
					t.Errorf("%s, %d bytes: got %v after %v", name, size, err, took)
				}
			})
		}
	}
	calls.Wait()
}

// TestDeadlineOnAStuckConnection has calls over connections of which the peer reads nothing more. Whoever writes to them
// waits; the calls end in time.
func TestDeadlineOnAStuckConnection(t *testing.T) {
	for _, try := range []bool{false, true} {
		for _, size := range []int{100, 10_000, 200_000} {
			t.Run(fmt.Sprintf("try=%v/size=%d", try, size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMesh(t, 2, link.Limits{})
					m.try, m.pipe = try, 1
					for _, n := range m.nodes {
						n.cfg.KeepaliveTimeout = time.Hour
					}
					m.linkRow()
					m.nodes[1].serve = echoUnary
					if _, err := unary(m.open(t.Context(), 0, 1, link.Open{}), nil); err != nil {
						t.Fatal(err)
					}
					m.links[0].far.Pause()
					wantInTime(t, m, size)
					wantInTime(t, m, size)
					m.links[0].far.Resume()
					synctest.Wait()
					m.checkIdle()
					m.close()
				})
			})
		}
	}
}

// TestDeadlineWhileTheEndIsTold has a handler that takes its time over the end of its session. The session's calls
// are yet to be told: they end in time all the same.
func TestDeadlineWhileTheEndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{})
		m.nodes[1].serve = wait
		m.nodes[0].onEnded = func() { time.Sleep(time.Minute) } // fake time
		cut := time.AfterFunc(time.Second/2, m.links[0].near.Cut)
		defer cut.Stop()
		wantInTime(t, m, 100)
		m.close()
	})
}
