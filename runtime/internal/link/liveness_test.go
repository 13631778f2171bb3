package link_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// livenessConn is a connection that knows of signs of life that are no whole packets.
type livenessConn struct {
	*linktest.Conn
	heard  atomic.Uint64
	unread atomic.Bool
}

func (c *livenessConn) BytesReceived() uint64 { return c.heard.Load() }

func (c *livenessConn) Unread() bool { return c.unread.Load() }

// TestLiveness: the peer counts as gone only if nothing of it comes in, be it no whole packet, and only while this
// end would find out.
func TestLiveness(t *testing.T) {
	for name, alive := range map[string]func(*livenessConn){
		"bytes of a packet that is not whole": func(c *livenessConn) { c.heard.Add(1) },
		"bytes that nobody has read yet":      func(c *livenessConn) { c.unread.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 2, link.Limits{})
				near, far := linktest.Pipe()
				conn := &livenessConn{Conn: near}
				l := &testLink{from: 0, to: 1, near: near, far: far}
				if err := m.linkConns(l, conn, far); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				far.Silence()
				for range 60 {
					alive(conn)
					time.Sleep(500 * time.Millisecond) // fake time
				}
				wantSessionOpen(t, l.dialler)
				conn.unread.Store(false)
				time.Sleep(3 * time.Second) // fake time
				synctest.Wait()
				ended(t, l.nearEnd, link.EndSilent)
				m.close()
			})
		})
	}
}

// TestBusyReaderIsNotSilence: while this end's reader is busy with a table, the peer's silence is not its fault.
func TestBusyReaderIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		m.nodes[0].onTable = func() { time.Sleep(time.Minute) } // fake time
		l := m.link(0, 1)
		m.nodes[1].mu.Lock()
		m.nodes[1].tables = []*linkv1.Table{{Namespace: "default"}}
		m.nodes[1].mu.Unlock()
		l.accept.TableChanged()
		time.Sleep(59 * time.Second) // fake time
		wantSessionOpen(t, l.dialler)
		wantSessionOpen(t, l.accept) // it is told that this end lives, by the writer
		l.far.Silence()
		time.Sleep(5 * time.Second) // fake time
		synctest.Wait()
		ended(t, l.nearEnd, link.EndSilent)
		m.close()
	})
}

func wantSessionOpen(t *testing.T, s *link.Session) {
	t.Helper()
	select {
	case <-s.Done():
		t.Error("the session has ended")
	default:
	}
}
