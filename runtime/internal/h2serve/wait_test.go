package h2serve

import (
	"net"
	"testing"

	"golang.org/x/net/http2"
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
	c.state.window = 0
	for id := uint32(1); id < 1000; id += 2 {
		st, other := c.newStream(id), c.newStream(id+1)
		c.waitLocked(st, waiting{data: []byte("answer")})
		c.waitLocked(other, waiting{data: []byte("answer")})
		c.endWith(st, errReset)
		c.reset(other, http2.ErrCodeCancel)
		if st.waiting != nil || st.stall.Stop() || other.stall.Stop() {
			t.Fatal("it still waits")
		}
	}
	if len(c.waiters) > 0 || c.state.open > 0 {
		t.Errorf("%d streams wait, %d are open", len(c.waiters), c.state.open)
	}
}
