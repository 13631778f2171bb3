package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const chunk = 32 << 10

// outOfMemory reports whether err is how a call ends for which there is no memory.
func outOfMemory(err error) bool {
	return connect.CodeOf(err) == connect.CodeResourceExhausted &&
		(strings.Contains(err.Error(), "Limits.LinkMemory of ") || strings.Contains(err.Error(), "Limits.NodeMemory of "))
}

func wantOutOfMemory(t *testing.T, err error, limit string) {
	t.Helper()
	if !outOfMemory(err) || !strings.Contains(err.Error(), limit) {
		t.Errorf("got %v, want an error that names %s", err, limit)
	}
}

// wait is a handler that receives nothing until its call ends.
func wait(c *link.ServerCall) {
	<-c.Context().Done()
	_ = c.End(nil, nil)
}

// serveBoth waits, but for calls of /echo.
func serveBoth(c *link.ServerCall) {
	if c.Callee().Procedure == "/echo" {
		echoUnary(c)
		return
	}
	wait(c)
}

// TestExceederGoesOn has budgets in which not even one call has room: one after the other they go on all
// the same, also with messages much longer than all that.
func TestExceederGoesOn(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 100, Memory: 300}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = echo
		for _, size := range []int{0, 100, 5000, 1 << 20} {
			msg := bytes.Repeat([]byte{'x'}, size)
			c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeBidi})
			for range 3 {
				sent := make(chan error)
				go func() { sent <- c.Send(msg) }()
				got, err := c.Receive()
				if err := errors.Join(err, <-sent); err != nil || len(got) != size {
					t.Fatalf("%d bytes came back as %d, %v", size, len(got), err)
				}
			}
			_ = c.Close()
			synctest.Wait()
		}
	})
}

// TestLinkMemory has a peer open all the calls that it may and fill all windows: a session holds no more than
// its limit, refuses calls beyond it before they start, and has room for a small call all the time.
func TestLinkMemory(t *testing.T) {
	const memory, window = 4 << 20, 64 << 10
	for _, nodes := range []int{2, 3} {
		synctest.Test(t, func(t *testing.T) {
			m := newMesh(t, nodes, link.Limits{Window: window})
			for _, n := range m.nodes[1:] {
				n.cfg.Limits.Memory = memory
			}
			m.linkRow()
			far := nodes - 1
			m.nodes[far].serve = serveBoth
			full, refused := 0, 0
			var calls []*link.ClientCall
			for range 4 * memory / window {
				c, err := m.fill(t.Context(), 0, far, window)
				calls = append(calls, c)
				if err == nil {
					full++
				} else {
					wantOutOfMemory(t, err, "Limits.LinkMemory of 4194304")
				}
				if c.Failure().GetCertainty() == rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED {
					refused++
				}
				if held := m.links[0].accept.Held(); held > memory+chunk {
					t.Fatalf("%d bytes are held after %d calls", held, full)
				}
			}
			if full < memory/(window+chunk)/2 || refused == 0 {
				t.Errorf("%d calls are open, %d were refused", full, refused)
			}
			if _, err := unary(m.open(t.Context(), 0, far, link.Open{Procedure: "/echo"}), make([]byte, 1000)); err != nil {
				t.Errorf("a small call: %v", err)
			}
			for _, c := range calls {
				_ = c.Close()
			}
			synctest.Wait()
			m.checkIdle()
			m.close()
		})
	}
}

// TestLongMessagesTakeTurns has many messages under way that cannot be in memory at once, each longer than all
// but one may hold. All arrive.
func TestLongMessagesTakeTurns(t *testing.T) {
	const memory, size, callers = 5 << 20, 1 << 20, 12
	for _, shared := range []bool{false, true} {
		onEveryPath(t, link.Limits{Window: 4000, MaxMessage: size}, func(t *testing.T, m *mesh, from, to int) {
			// Tighter than its neighbours, so that it is the one that is tested.
			if from == to {
				return
			}
			m = newMesh(t, len(m.nodes), link.Limits{Window: 4000, MaxMessage: size})
			n := m.nodes[to]
			if shared {
				n.cfg.Budget = link.NewBudget(3 * memory) // of which one link gets a third
			} else {
				n.cfg.Limits.Memory = memory
			}
			m.linkRow()
			var mu sync.Mutex
			peak := 0
			n.serve = func(c *link.ServerCall) {
				msg, err := c.Receive()
				mu.Lock()
				for _, l := range m.links {
					peak = max(peak, l.accept.Held(), l.dialler.Held())
				}
				mu.Unlock()
				if err == nil && len(msg) != size {
					err = fmt.Errorf("got %d bytes", len(msg))
				}
				if err != nil {
					_ = c.End(asError(err), nil)
					return
				}
				time.Sleep(10 * time.Millisecond) // fake time
				_ = c.Reply(nil, nil, nil)
			}
			var calls sync.WaitGroup
			for range callers {
				calls.Go(func() {
					if _, err := unary(m.open(t.Context(), from, to, link.Open{}), make([]byte, size)); err != nil {
						t.Error(err)
					}
				})
			}
			calls.Wait()
			if peak > memory+2*size+chunk {
				t.Errorf("%d bytes were held", peak)
			}
			synctest.Wait()
			m.checkIdle()
			m.close()
		})
	}
}

// TestMemoryWaitExpires has one call take the place of the one that may go on and say nothing more. Calls that wait
// for memory do so for a while, and then it ends, too.
func TestMemoryWaitExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{Window: 4000})
		for _, n := range m.nodes {
			n.cfg.KeepaliveTimeout = time.Minute
		}
		m.nodes[1].cfg.Limits.Memory = 600_000
		m.linkRow()
		results := make(chan error, 4)
		m.nodes[1].serve = func(c *link.ServerCall) {
			_, err := c.Receive()
			results <- err
			_ = c.End(asError(err), nil)
		}
		m.links[0].near.Pause() // gets no window
		start := time.Now()
		var sending sync.WaitGroup
		for range 4 {
			c := m.open(t.Context(), 0, 1, link.Open{StreamType: connect.StreamTypeBidi})
			sending.Go(func() { _ = c.Send(make([]byte, 1<<20)) })
			synctest.Wait()
		}
		for range 3 { // the first has reserved what it needs, and is just slow
			wantOutOfMemory(t, <-results, "Limits.LinkMemory")
		}
		if took := time.Since(start); took < link.StarveLimit || took > link.StarveLimit+2*time.Second {
			t.Errorf("they ended after %v", took)
		}
		m.links[0].near.Resume()
		sending.Wait()
		if err := <-results; err != nil {
			t.Errorf("the first call: %v", err)
		}
		m.close()
	})
}

// TestNodeMemory has several hostile links of one node hold all that they can get: together they hold no more
// than the node's budget, and a window each, and an honest link finds room.
func TestNodeMemory(t *testing.T) {
	const memory, window, hostile = 8 << 20, 64 << 10, 6
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, hostile+2, link.Limits{Window: window})
		hub := m.nodes[0]
		hub.cfg.Budget = link.NewBudget(memory)
		hub.serve = serveBoth
		for i := range hostile + 1 {
			m.nodes[i+1].next[0] = m.link(i+1, 0).dialler
		}
		var calls []*link.ClientCall
		for i := range hostile {
			for range 2 * memory / window / hostile {
				c, err := m.fill(t.Context(), i+1, 0, window)
				if calls = append(calls, c); err != nil {
					wantOutOfMemory(t, err, "Limits.NodeMemory of 8388608")
				}
			}
			if held := hub.cfg.Budget.Held(); held > memory+hostile*(window+2*chunk) {
				t.Fatalf("%d bytes are held", held)
			}
		}
		if held := hub.cfg.Budget.Held(); held < memory/2 {
			t.Errorf("only %d bytes are held", held)
		}
		for range 20 {
			synctest.Wait() // until the handler of the one before has returned
			msg := make([]byte, 200_000)
			if _, err := unary(m.open(t.Context(), hostile+1, 0, link.Open{Procedure: "/echo"}), msg); err != nil {
				t.Errorf("an honest call: %v", err)
			}
		}
		for _, c := range calls {
			_ = c.Close()
		}
		synctest.Wait()
		m.checkIdle()
		if held := hub.cfg.Budget.Held(); held != 0 {
			t.Errorf("%d bytes are held at the end", held)
		}
		m.close()
	})
}

// TestMemoryIsWhatIsCounted holds the heap against the count, for calls that hold most for what they are counted:
// idle ones, ones with the shortest messages, and the beginnings of messages.
func TestMemoryIsWhatIsCounted(t *testing.T) {
	const memory = 24 << 20
	for name, send := range map[string]func(c *link.ClientCall) error{
		"idle":     func(c *link.ClientCall) error { return c.SendHeaders() },
		"headers":  func(c *link.ClientCall) error { return c.SendHeaders() },
		"empty":    func(c *link.ClientCall) error { return sendEach(c, 4000, nil) },
		"short":    func(c *link.ClientCall) error { return sendEach(c, 500, make([]byte, 100)) },
		"a window": func(c *link.ClientCall) error { return sendEach(c, 2, make([]byte, chunk)) },
	} {
		t.Run(name, func(t *testing.T) {
			long := header("X-Long", strings.Repeat("x", 60_000))
			m := newMesh(t, 2, link.Limits{Window: 64 << 10})
			m.nodes[1].cfg.Limits.Memory = memory
			m.linkRow()
			m.nodes[1].serve = wait
			before := heap()
			calls := 0
			for {
				o := link.Open{StreamType: connect.StreamTypeBidi}
				if name == "headers" {
					o.Header = long
				}
				c := m.open(t.Context(), 0, 1, o)
				defer c.Close()
				if send(c) != nil || c.Failure() != nil || calls > 20_000 {
					break
				}
				calls++
				if calls%64 == 0 && m.links[0].accept.Held() > memory*9/10 {
					break
				}
			}
			held := m.links[0].accept.Held()
			grown := heap() - before - calls*800 // the caller's
			t.Logf("%d calls: %d KiB are counted, %d KiB held", calls, held>>10, grown>>10)
			if grown > held*5/4+2<<20 {
				t.Errorf("%d calls hold %d bytes, of which %d are counted", calls, grown, held)
			}
			m.close()
		})
	}
}

func sendEach(c *link.ClientCall, n int, msg []byte) error {
	for range n {
		if err := c.Send(msg); err != nil {
			return err
		}
	}
	return nil
}

// heap is how many bytes of heap and stacks are in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int(s.HeapAlloc + s.StackInuse)
}
