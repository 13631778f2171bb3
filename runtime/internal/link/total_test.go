package link_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestAnnouncedLength has a peer say, rightly or not, or not at all, how long a message is that comes in pieces. The
// pieces count, unless it is said to be longer than is taken: that is told at once.
func TestAnnouncedLength(t *testing.T) {
	const size, most = 100_000, 1 << 20
	for _, said := range []uint32{0, 1, 40_000, size, size + 1, 500_000, most, most + 1, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		synctest.Test(t, func(t *testing.T) {
			m := newMesh(t, 1, link.Limits{MaxMessage: most})
			var got []byte
			var err error
			m.nodes[0].serve = func(c *link.ServerCall) {
				var msg []byte
				msg, err = c.Receive()
				got = bytes.Clone(msg)
				if err == nil {
					_, err = c.Receive()
				}
				_ = c.End(nil, nil)
			}
			p, _ := rawPeer(m, 0)
			msg := bytes.Repeat([]byte("0123456789"), size/10)
			p.frames(&linkv1.Frame{Call: 1, Open: openTo(0), Hops: 5, Data: msg[:chunk], More: true, Total: said})
			if said > most {
				synctest.Wait()
				ends, closed := p.ends()
				if ends[1].GetCode() != uint32(connect.CodeResourceExhausted) || closed != nil {
					t.Errorf("said %d: the call ended with %v, the link with %v", said, ends[1], closed)
				}
			} else {
				// What a later piece says does not matter.
				p.frames(&linkv1.Frame{Call: 1, Data: msg[chunk : 2*chunk], More: true, Total: most + 1 - 1})
				p.frames(&linkv1.Frame{Call: 1, Data: msg[2*chunk : 3*chunk], More: true})
				p.frames(&linkv1.Frame{Call: 1, Data: msg[3*chunk:], CloseSend: true, Total: 1<<32 - 1})
				synctest.Wait()
				if !bytes.Equal(got, msg) || !errors.Is(err, io.EOF) {
					t.Errorf("said %d: got %d bytes, %v", said, len(got), err)
				}
			}
			p.conn.Close(nil)
			synctest.Wait()
			m.checkIdle()
			m.close()
		})
	}
}

// TestAnnouncedLengthTakesNoMemory has a peer begin many messages that it says are long. What is held for that is
// counted, is a part of the link's memory and of the node's at most, and leaves room for others' calls.
func TestAnnouncedLengthTakesNoMemory(t *testing.T) {
	const memory, most, calls = 8 << 20, 4 << 20, 200
	for name, limit := range map[string]func(*link.Config){
		"link":      func(cfg *link.Config) { cfg.Limits.Memory = memory },
		"node":      func(cfg *link.Config) { cfg.Budget = link.NewBudget(memory) },
		"very much": func(cfg *link.Config) { cfg.Limits.Memory = most / 2 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 1, link.Limits{MaxMessage: most})
				limit(&m.nodes[0].cfg)
				m.nodes[0].serve = wait
				p, l := rawPeer(m, 0)
				for i := range uint32(calls) {
					p.frames(&linkv1.Frame{Call: 2*i + 1, Open: openTo(0), Hops: 5, Data: make([]byte, 2000), More: true, Total: most})
					synctest.Wait()
				}
				ends, closed := p.ends()
				if len(ends) > 0 && name != "very much" || closed != nil {
					t.Errorf("%d calls ended; the link: %v", len(ends), closed)
				}
				if held := l.accept.Held(); name == "very much" && held > most || held > memory/2+calls*(link.ServedCost+4<<10) {
					t.Errorf("%d bytes are held", held)
				}
				m.nodes[0].serve = echoUnary
				open := openTo(0)
				open.StreamType = 0
				p.frames(&linkv1.Frame{Call: 2*calls + 1, Open: open, Hops: 5, Data: make([]byte, 10), CloseSend: true})
				synctest.Wait()
				if ends, _ := p.ends(); name != "very much" && ends[2*calls+1].GetCode() != 0 {
					t.Errorf("another call ended with %v", ends[2*calls+1])
				}
				p.conn.Close(nil)
				synctest.Wait()
				m.checkIdle()
				m.close()
			})
		})
	}
}
