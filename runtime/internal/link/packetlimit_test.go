package link_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// limitedConn is a connection that notes how long its packets may be.
type limitedConn struct {
	*linktest.Conn
	mu     sync.Mutex
	limits []int
}

func (c *limitedConn) LimitMessage(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limits = append(c.limits, n)
}

// TestPacketLimitBeforeProof: who has proven nothing cannot make an end hold a long packet.
func TestPacketLimitBeforeProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		near, far := linktest.Pipe()
		dials, accepts := &limitedConn{Conn: near}, &limitedConn{Conn: far}
		if err := m.linkConns(&testLink{from: 0, to: 1, near: near, far: far}, dials, accepts); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*limitedConn{dials, accepts} {
			if want := []int{4 << 10, link.MaxPacket}; !slices.Equal(c.limits, want) {
				t.Errorf("the limits were %d, want %d", c.limits, want)
			}
		}
		m.close()
	})
}
