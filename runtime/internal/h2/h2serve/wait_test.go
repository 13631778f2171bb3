package h2serve

import (
	"net"
	"testing"

	"golang.org/x/net/http2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2core"
)

// Streams that are reset while their answers wait for the connection's window leave nothing behind: a client could
// go on for ever.
func TestResetWhileWaiting(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := newConn(t.Context(), far, nil, Options{}.withDefaults())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.outflow = h2core.NewOutflow(0)
	for id := uint32(1); id < 1000; id += 2 {
		st, other := c.newStreamLocked(id), c.newStreamLocked(id+1)
		c.queuePendingLocked(st, pendingWrite{data: []byte("answer")})
		c.queuePendingLocked(other, pendingWrite{data: []byte("answer")})
		c.closeStreamLocked(st, errReset)
		c.resetStreamLocked(other, http2.ErrCodeCancel)
		if st.pending != nil || st.windowTimer.Stop() || other.windowTimer.Stop() {
			t.Fatal("it still waits")
		}
	}
	if len(c.pending) > 0 || c.state.open > 0 {
		t.Errorf("%d streams wait, %d are open", len(c.pending), c.state.open)
	}
}
