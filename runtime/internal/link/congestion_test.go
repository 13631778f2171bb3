package link_test

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// congestedConn is a connection that says when it is congested.
type congestedConn struct {
	linktest.NonblockingConn
	congested   atomic.Bool
	uncongested func()
}

func (c *congestedConn) Congested() bool        { return c.congested.Load() }
func (c *congestedConn) OnUncongested(f func()) { c.uncongested = f }

// TestBulkWaitsWhileCongested: bulk waits while its connection is congested, all else does not.
func TestBulkWaitsWhileCongested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		near, far := linktest.Pipe()
		conn := &congestedConn{NonblockingConn: linktest.NonblockingConn{Conn: near}}
		l := &testLink{from: 0, to: 1, near: near, far: far}
		if err := m.linkConns(l, conn, linktest.NonblockingConn{Conn: far}); err != nil {
			t.Fatal(err)
		}
		m.nodes[0].next[1] = l.dialler
		m.nodes[1].serve = echoUnary

		conn.congested.Store(true)
		long, done := bytes.Repeat([]byte("bulk"), 25_000), make(chan error, 1)
		go func() {
			reply, err := unary(m.open(t.Context(), 0, 1, link.Open{}), long)
			if err == nil && !bytes.Equal(reply, long) {
				t.Error("another reply than what was sent")
			}
			done <- err
		}()
		synctest.Wait()
		if _, err := unary(m.open(t.Context(), 0, 1, link.Open{}), []byte("small")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("bulk did not wait: %v", err)
		default:
		}
		conn.congested.Store(false)
		conn.uncongested()
		if err := <-done; err != nil {
			t.Error(err)
		}
		m.close()
	})
}
