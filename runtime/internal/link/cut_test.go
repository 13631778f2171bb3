package link_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// TestCutAfterEachPacket breaks a connection after each of the packets that an exchange of several calls
// takes, from the first of the handshake on. Whatever has been said by then, all calls end, and rightly.
func TestCutAfterEachPacket(t *testing.T) {
	for _, atNear := range []bool{false, true} {
		for _, try := range []bool{false, true} {
			t.Run(fmt.Sprintf("near=%v/try=%v", atNear, try), func(t *testing.T) {
				whole := false
				for n := 0; !whole; n++ {
					synctest.Test(t, func(t *testing.T) { whole = testCutAfter(t, n, atNear, try) })
					if n > 1000 {
						t.Fatal("the exchange has no end")
					}
				}
			})
		}
	}
}

// testCutAfter reports whether the exchange took fewer than n packets.
func testCutAfter(t *testing.T, n int, atNear, try bool) (whole bool) {
	m := newMesh(t, 3, link.Limits{Window: 200})
	m.link(0, 1)
	near, far := linktest.Pipe()
	if atNear {
		near.CutAfter(n)
	} else {
		far.CutAfter(n)
	}
	m.nodes[2].serve = echo
	l, err := m.tryLink(1, 2, near, far, try)
	if err != nil && connect.CodeOf(err) != connect.CodeUnavailable {
		t.Errorf("linking: %v", err)
	}
	if err == nil {
		m.nodes[0].next[2], m.nodes[1].next[2] = m.session(0, 1), l.dialler
		whole = exchange(t, m)
	}
	m.close()
	return whole
}

// exchange makes calls from node 0 to node 2 and reports whether all went well.
func exchange(t *testing.T, m *mesh) bool {
	well := true
	for i := range 5 {
		c := m.open(t.Context(), 0, 2, link.Open{StreamType: connect.StreamTypeBidi})
		got := 0
		for range i {
			if c.Send(make([]byte, 150*i)) != nil {
				break
			}
			if _, err := c.Receive(); err != nil {
				break
			}
			got++
		}
		_ = c.CloseSend()
		_, err := c.Receive()
		switch f := c.Failure(); {
		case errors.Is(err, io.EOF) && got == i:
		case connect.CodeOf(err) != connect.CodeUnavailable || f == nil:
			t.Errorf("call %d ended with %v, failure %v", i, err, f)
		case got > 0 && f.GetCertainty() != rpcmeshv1.CallFailure_CERTAINTY_STARTED:
			t.Errorf("call %d had been answered, but its failure is %v", i, f)
		default:
			well = false
		}
		_ = c.Close()
	}
	synctest.Wait()
	if n := m.session(0, 1).OpenCalls(); n != 0 {
		t.Errorf("%d calls are left", n)
	}
	return well
}
