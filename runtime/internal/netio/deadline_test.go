package netio

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// deadlines is a connection that keeps the write deadlines that it is given.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestWriteDeadlineIsSetAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, w := new(deadlines), WriteDeadline{}
		start := time.Now()
		for range 10 {
			w.Extend(nc, 4*time.Second)
			if last := nc.set[len(nc.set)-1]; time.Until(last) < 4*time.Second || time.Until(last) > 5*time.Second {
				t.Errorf("a write has %v", time.Until(last))
			}
			time.Sleep(300 * time.Millisecond) // fake time
		}
		if len(nc.set) != 3 || !nc.set[0].Equal(start.Add(5*time.Second)) {
			t.Errorf("deadlines were set to %v", nc.set)
		}
		w.Extend(nc, 10*time.Second)
		if last := nc.set[len(nc.set)-1]; time.Until(last) < 10*time.Second {
			t.Errorf("a longer write has %v", time.Until(last))
		}
		w.Clear(nc)
		if !nc.set[len(nc.set)-1].IsZero() {
			t.Error("the deadline was not cleared")
		}
	})
}

func TestCloseWriteOfWhatCannot(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	if CloseWrite(near) {
		t.Error("a pipe cannot be closed by half")
	}
}
