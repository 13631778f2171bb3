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

// hearing is a connection that knows of signs of life that are no whole packets.
type hearing struct {
	*linktest.Conn
	heard  atomic.Uint64
	unread atomic.Bool
}

func (c *hearing) BytesReceived() uint64 { return c.heard.Load() }

func (c *hearing) Unread() bool { return c.unread.Load() }

// TestSignsOfLife: the peer counts as gone only if nothing of it comes in, be it no whole packet, and only while this
// end would find out.
func TestSignsOfLife(t *testing.T) {
	for name, alive := range map[string]func(*hearing){
		"bytes of a packet that is not whole": func(c *hearing) { c.heard.Add(1) },
		"bytes that nobody has read yet":      func(c *hearing) { c.unread.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 2, link.Limits{})
				near, far := linktest.Pipe()
				conn := &hearing{Conn: near}
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
				wantOpen(t, l.dialler)
				conn.unread.Store(false)
				time.Sleep(3 * time.Second) // fake time
				synctest.Wait()
				ended(t, l.nearEnd, link.EndSilent)
				m.close()
			})
		})
	}
}

// TestBusyReaderHearsNothing: while this end's reader is busy with a table, the peer's silence is not its fault.
func TestBusyReaderHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		m.nodes[0].taking = func() { time.Sleep(time.Minute) } // fake time
		l := m.link(0, 1)
		m.nodes[1].mu.Lock()
		m.nodes[1].tables = []*linkv1.Table{{Namespace: "default"}}
		m.nodes[1].mu.Unlock()
		l.accept.TableChanged()
		time.Sleep(59 * time.Second) // fake time
		wantOpen(t, l.dialler)
		wantOpen(t, l.accept) // it is told that this end lives, by the writer
		l.far.Silence()
		time.Sleep(5 * time.Second) // fake time
		synctest.Wait()
		ended(t, l.nearEnd, link.EndSilent)
		m.close()
	})
}

func wantOpen(t *testing.T, s *link.Session) {
	t.Helper()
	select {
	case <-s.Done():
		t.Error("the session has ended")
	default:
	}
}
