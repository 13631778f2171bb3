package link_test

import (
	"bytes"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// countingConn counts the packets that an end sends.
type countingConn struct {
	linktest.NonblockingConn
	packets atomic.Int64
}

func (c *countingConn) Send(p []byte) error {
	c.packets.Add(1)
	return c.NonblockingConn.Send(p)
}

func (c *countingConn) TrySend(p []byte) (bool, error) {
	sent, err := c.NonblockingConn.TrySend(p)
	if sent {
		c.packets.Add(1)
	}
	return sent, err
}

// linkCounting links a node to the next and counts what each sends.
func linkCounting(m *mesh, from int) (l *testLink, near, far *countingConn) {
	a, b := linktest.Pipe()
	near, far = &countingConn{NonblockingConn: linktest.NonblockingConn{Conn: a}}, &countingConn{NonblockingConn: linktest.NonblockingConn{Conn: b}}
	l = &testLink{from: from, to: from + 1, near: a, far: b}
	if err := m.linkConns(l, near, far); err != nil {
		m.tb.Fatal(err)
	}
	return l, near, far
}

// TestPacketsOfMessage has a message that fits into one packet leave in one, and its answer with the
// call's end.
func TestPacketsOfMessage(t *testing.T) {
	for _, size := range []int{10, 10_000, 40_000, 64 << 10, 64<<10 + 10} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 2, link.Limits{})
				l, near, far := linkCounting(m, 0)
				m.nodes[0].next[1] = l.dialler
				m.nodes[1].serve = echoUnary
				synctest.Wait()
				near.packets.Store(0)
				far.packets.Store(0)
				msg := bytes.Repeat([]byte("m"), size)
				reply, err := unary(m.open(t.Context(), 0, 1, link.Open{}), msg)
				if err != nil || !bytes.Equal(reply, msg) {
					t.Errorf("%d bytes came back, %v", len(reply), err)
				}
				synctest.Wait() // a packet is counted once it has been sent, which may be after it came
				if up, down := near.packets.Load(), far.packets.Load(); up != 1 || down != 1 {
					t.Errorf("%d packets went up and %d down, want one each", up, down)
				}
				m.checkIdle()
				m.close()
			})
		})
	}
}

// TestHandlersWriteTogether has handlers that return only when all of them run: none may wait for another to
// return. They are called one by one, and at once.
func TestHandlersWriteTogether(t *testing.T) {
	const n = 100
	synctest.Test(t, func(t *testing.T) {
		m := tryingChain(t, 2, link.Limits{})
		watchdog := time.AfterFunc(time.Minute, func() { panic("the handlers wait for each other") }) // fake time
		defer watchdog.Stop()
		for range 3 { // later ones find idle goroutines
			var all sync.WaitGroup
			all.Add(n)
			m.nodes[1].serve = func(c *link.ServerCall) {
				all.Done()
				all.Wait()
				echoUnary(c)
			}
			var calls sync.WaitGroup
			for i := range n {
				c := m.open(t.Context(), i%2, 1, link.Open{}) // half of them are local
				calls.Go(func() {
					if _, err := unary(c, []byte("x")); err != nil {
						t.Error(err)
					}
				})
				if i < n/2 {
					synctest.Wait()
				}
			}
			calls.Wait()
		}
		m.close()
	})
}

// TestReaderFlushesOnce has a relay handle what has come before it writes.
func TestReaderFlushesOnce(t *testing.T) {
	const n = 10
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3, link.Limits{})
		first, _, _ := linkCounting(m, 0)
		second, relay, _ := linkCounting(m, 1)
		m.nodes[0].next[2], m.nodes[1].next[2] = first.dialler, second.dialler
		m.nodes[2].serve = echoUnary
		synctest.Wait()
		relay.packets.Store(0)
		first.far.Pause()
		var calls sync.WaitGroup
		for range n {
			c := m.open(t.Context(), 0, 2, link.Open{})
			calls.Go(func() {
				if _, err := unary(c, []byte("x")); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // so that each call is a packet
		}
		first.far.Resume()
		calls.Wait()
		synctest.Wait() // the relay has counted it
		if packets := relay.packets.Load(); packets != 1 {
			t.Errorf("the relay wrote %d packets", packets)
		}
		m.close()
	})
}
