package link

import (
	"sync"
	"testing"
)

// TestRecvState takes a receiving half through both orders of its two events, each also twice.
func TestRecvState(t *testing.T) {
	for name, test := range map[string]struct {
		events          string // c for close, s for stop
		want            recvState
		closed, stopped bool
	}{
		"new":            {"", recvOpen, false, false},
		"closed":         {"cc", recvClosed, true, false},
		"stopped":        {"ss", recvStopped, false, true},
		"closed first":   {"csc", recvStoppedClosed, true, true},
		"stopped first":  {"scs", recvStoppedClosed, true, true},
		"stopped, again": {"sccs", recvStoppedClosed, true, true},
	} {
		var r recvState
		for _, event := range test.events {
			if event == 'c' {
				r.close()
			} else {
				r.stop()
			}
		}
		if r != test.want || r.closed() != test.closed || r.stopped() != test.stopped {
			t.Errorf("%s: state %d, closed %v, stopped %v", name, r, r.closed(), r.stopped())
		}
	}
}

// TestStoppedTwice: a message that was cut off stays so, however many events end its call.
func TestStoppedTwice(t *testing.T) {
	c := newStream(nil, new(sync.Mutex), nil)
	c.stopLocked()
	if c.send != sendIdle {
		t.Errorf("nothing waited: state %d", c.send)
	}
	c.send = sendPending
	c.stopLocked()
	c.stopLocked()
	if c.send != sendAborted {
		t.Errorf("a message waited: state %d", c.send)
	}
}
