package h2link

import (
	"bytes"
	"testing"

	"golang.org/x/net/http2"
)

// A socket without any room leaves the windows, and the next message, as they were.
func TestTrySendOfAFullSocket(t *testing.T) {
	p, _ := clientOf(t, Options{}, func(c *Conn) error {
		c.mu.Lock() // the answer to the request has been written
		for c.state.socket != socketFree {
			c.cond.Wait()
		}
		before := c.state
		c.mu.Unlock()
		raw := c.raw
		c.raw = fullSocket{}
		if ok, err := c.TrySend(packet([]byte("not sent"))); ok || err != nil {
			t.Errorf("TrySend said %v, %v", ok, err)
		}
		c.raw = raw
		c.mu.Lock()
		if after := c.state; after.streamOutflow != before.streamOutflow || after.connOutflow != before.connOutflow || after.socket != socketFree {
			t.Errorf("before %+v, after %+v", before, after)
		}
		c.mu.Unlock()
		if ok, err := c.TrySend(packet([]byte("sent"))); !ok || err != nil {
			t.Errorf("TrySend said %v, %v", ok, err)
		}
		return nil
	})
	p.call()
	if got := await[*http2.DataFrame](p).Data(); !bytes.Equal(got, envelope(0, "sent")) {
		t.Errorf("got %q", got)
	}
}

// fullSocket has no room.
type fullSocket struct{}

func (fullSocket) TryWrite([]byte) (int, error) { return 0, nil }
