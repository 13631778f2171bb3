package rpcmesh_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestOverloadIsToldAtOnce: what a node refuses because it has too many calls is not tried again.
func TestOverloadIsToldAtOnce(t *testing.T) {
	for _, path := range [][]string{{"a"}, {"b", "a"}, {"c", "b", "a"}} {
		for _, level := range []connect.IdempotencyLevel{connect.IdempotencyUnknown, connect.IdempotencyNoSideEffects} {
			t.Run(fmt.Sprint(path, " ", level), func(t *testing.T) {
				inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
					c.Node("a", func(cfg *rpcmesh.Config) { cfg.Limits.MaxCalls = 3 })
					for i := range len(path) - 1 {
						c.Node(path[i])
					}
					for i := range len(path) - 1 {
						c.Link(path[i], path[i+1], "public")
					}
					spec := connect.Spec{Procedure: "/test.v1.Worker/Work", IdempotencyLevel: level}
					over := make(chan struct{})
					mustRegister(t, c.Node("a").Namespace("public"), unary(spec, func(context.Context, string) (string, error) {
						<-over
						return "done", nil
					}))
					synctest.Wait()
					caller := c.Node(path[0]).Namespace("public")
					var busy sync.WaitGroup
					for range 3 {
						busy.Go(func() {
							if _, err := do(t.Context(), caller, spec, ""); err != nil {
								t.Error(err)
							}
						})
					}
					synctest.Wait()
					begin := time.Now()
					_, err := do(t.Context(), caller, spec, "")
					wantError(t, err, connect.CodeResourceExhausted, "")
					if took := time.Since(begin); took > 0 {
						t.Errorf("it was told after %v", took)
					}
					close(over)
					busy.Wait()
				})
			})
		}
	}
}

// TestRetryBudget: calls that fail for good are repeated for no more than a fifth of the calls of the last ten
// seconds and ten a second, whoever says that they may be.
func TestRetryBudget(t *testing.T) {
	for name, failure := range map[string]func(error) error{
		"not started": rpcmesh.NotStarted,
		"unknown":     func(err error) error { return rpcmesh.WithCertainty(err, rpcmesh.CertaintyUnknown) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				spec := connect.Spec{Procedure: "/test.v1.Worker/Work", IdempotencyLevel: connect.IdempotencyIdempotent}
				var handled atomic.Int64
				c.Node("m")
				for _, name := range []string{"a", "b", "c"} {
					mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin), unary(spec, func(context.Context, string) (string, error) {
						handled.Add(1)
						return "", failure(errDown)
					}))
					c.Link(name, "m", "public")
				}
				synctest.Wait()
				begin, calls := time.Now(), 0
				load := func(each time.Duration, span time.Duration) {
					var callers sync.WaitGroup
					for until := time.Now().Add(span); time.Now().Before(until); time.Sleep(each) { // fake time
						calls++
						callers.Go(func() {
							_, err := do(t.Context(), c.Node("m").Namespace("public"), spec, "")
							if _, ok := rpcmesh.FailureOf(err); !ok || connect.CodeOf(err) != errDown.Code() {
								t.Errorf("got %v", err)
							}
						})
					}
					callers.Wait()
					retries := float64(handled.Load()) - float64(calls)
					spanned := time.Since(begin).Seconds()
					if most := 100 + 0.2*float64(calls) + 10*spanned; retries > most {
						t.Errorf("%d calls in %v s were repeated %v times; at most %v", calls, spanned, retries, most)
					} else if retries < min(most/3, float64(calls)) {
						t.Errorf("%d calls in %v s were repeated %v times; the budget is %v", calls, spanned, retries, most)
					}
				}
				load(100*time.Millisecond, 10*time.Second) // few calls: all are repeated
				load(5*time.Millisecond, 10*time.Second)
				load(5*time.Millisecond, 10*time.Second)
			})
		})
	}
}

// TestLostCallsNeedNoBudget: a node that goes at once, without a drain, loses no call that had not reached it,
// however many there are.
func TestLostCallsNeedNoBudget(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		const calls = 3000
		c.Node("m")
		var reached atomic.Int64
		for _, name := range []string{"a", "b"} {
			mustRegister(t, c.Node(name).Namespace("public").Replicated(rpcmesh.PolicyRoundRobin), worker(func(context.Context, string) (string, error) {
				reached.Add(1)
				return name, nil
			}))
			c.Link(name, "m", "public")
		}
		synctest.Wait()
		c.Delay("a", "m", 50*time.Millisecond)
		var callers sync.WaitGroup
		for range calls {
			callers.Go(func() {
				if _, err := do(t.Context(), c.Node("m").Namespace("public"), workSpec(), ""); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		c.Stop("a")
		callers.Wait()
		if got := reached.Load(); got != calls {
			t.Errorf("%d calls were handled %d times", calls, got)
		}
	})
}
