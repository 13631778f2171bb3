package link_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// TestGoodbyeCountsAccepted: calls that have reached an end before it says goodbye may have started;
// those that are still on their way have not, and never do.
func TestGoodbyeCountsAccepted(t *testing.T) {
	for _, relays := range []int{0, 1} {
		for _, taken := range []int{0, 1, 3} {
			t.Run(fmt.Sprintf("%d relays, %d taken", relays, taken), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testGoodbye(t, relays, taken) })
			})
		}
	}
}

func testGoodbye(t *testing.T, relays, taken int) {
	m := tryingChain(t, relays+2, link.Limits{})
	last := relays + 1
	l := m.links[relays]
	leaving, conn := l.accept, l.far
	if l.to != last {
		leaving, conn = l.dialler, l.near
	}
	var started atomic.Int32
	m.nodes[last].serve = func(c *link.ServerCall) {
		started.Add(1)
		<-c.Context().Done()
	}
	var calls []*link.ClientCall
	call := func() {
		c := m.open(t.Context(), 0, last, link.Open{})
		calls = append(calls, c)
		if err := c.Send([]byte("x")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
	}
	for range taken {
		call()
	}
	conn.Pause()
	for range 3 {
		call()
	}
	go leaving.Close(&linkv1.Goodbye{Leaving: true})
	synctest.Wait()
	conn.Resume()
	for i, c := range calls {
		want := rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN
		if i >= taken {
			want = rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
		}
		_, err := c.Receive()
		checkFailure(t, c, err, want, relays)
		_ = c.Close()
	}
	m.close()
	if got := started.Load(); got != int32(taken) {
		t.Errorf("%d handlers have run; want %d", got, taken)
	}
}

// TestGoodbyeCountsRefusals: calls that were refused before the goodbye count as taken in.
func TestGoodbyeCountsRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{MaxCalls: 2})
		m.nodes[0].serve = func(c *link.ServerCall) { <-c.Context().Done() }
		p, l := rawPeer(m, 0)
		opens := []*linkv1.Open{openTo(0), openTo(0), openTo(7), openTo(0)}
		for i, open := range opens {
			p.frames(&linkv1.Frame{Call: []uint32{1, 3, 1, 1}[i], Hops: 5, Open: open})
			if i != 1 {
				p.frames(&linkv1.Frame{Call: 1, Cancel: 1})
			}
			synctest.Wait()
			if _, err := p.ends(); err != nil {
				t.Fatal(err)
			}
		}
		go l.accept.Close(nil)
		for {
			packet, err := p.receive()
			if err != nil {
				t.Fatal(err)
			}
			if bye := packet.GetControls(); len(bye) > 0 && bye[0].GetGoodbye() != nil {
				if got := bye[0].GetGoodbye(); got.Taken == nil || got.GetTaken() != uint64(len(opens)) {
					t.Errorf("the goodbye is %v", got)
				}
				break
			}
		}
		p.conn.Close(nil)
		m.close()
	})
}

// TestGoodbyeOfOldNode: one that does not say what it took in may have started whatever it was sent.
func TestGoodbyeOfOldNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{})
		p, l := rawPeer(m, 0)
		m.nodes[0].next[1] = l.accept
		c := m.open(t.Context(), 0, 1, link.Open{})
		if err := c.Send(nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		p.control(&linkv1.Control{Body: &linkv1.Control_Goodbye{Goodbye: &linkv1.Goodbye{Leaving: true}}})
		_, err := c.Receive()
		checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN, 0)
		m.close()
	})
}

// TestGoodbyeWaitsForPeer: the connection is read until the peer has hung up, for a second at most, and closed
// then.
func TestGoodbyeWaitsForPeer(t *testing.T) {
	for _, late := range []time.Duration{0, 300 * time.Millisecond, time.Hour} {
		t.Run(late.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 1, link.Limits{})
				p, l := rawPeer(m, 0)
				synctest.Wait() // it runs
				closed := make(chan time.Duration, 1)
				begin := time.Now()
				go func() {
					l.accept.Close(nil)
					closed <- time.Since(begin)
				}()
				time.AfterFunc(late, func() { p.conn.Close(nil) })
				synctest.Wait()
				if late > 0 && p.conn.Closed() {
					t.Error("the connection was closed over what the other end says")
				}
				p.frames(&linkv1.Frame{Call: 1, Hops: 5, Open: openTo(0)})
				if took, want := <-closed, min(late, time.Second); took != want {
					t.Errorf("Close took %v; want %v", took, want)
				}
				m.close()
			})
		})
	}
}

// TestCloseOfBoundSession: a session that is about to run says goodbye as one that runs.
func TestCloseOfBoundSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := linktest.Pipe()
		m := newMesh(t, 2, link.Limits{})
		accepted := make(chan *link.Session, 1)
		go func() {
			s, err := link.Accept(t.Context(), far, m.nodes[1].cfg, func(link.Peer) (*linkv1.Join, error) { return new(linkv1.Join), nil })
			if err != nil {
				t.Error(err)
			}
			accepted <- s
		}()
		dialler, err := link.Dial(t.Context(), near, m.nodes[0].cfg, new(linkv1.Join))
		if err != nil {
			t.Fatal(err)
		}
		acceptor := <-accepted
		acceptor.Bind(m.nodes[1])
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			acceptor.Close(&linkv1.Goodbye{Leaving: true})
		}()
		synctest.Wait()
		m.runs.Go(func() { ended(t, acceptor.Run(m.nodes[1]), link.EndClosed) })
		if e := ended(t, dialler.Run(m.nodes[0]), link.EndGoodbye); !e.Leaving {
			t.Errorf("%+v", e)
		}
		<-closed
		m.close()
	})
}

// TestCloseOfSessionThatIsNotRun: the peer may have called already, and is told that nothing was taken.
func TestCloseOfSessionThatIsNotRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := linktest.Pipe()
		m := newMesh(t, 2, link.Limits{})
		accepted := make(chan *link.Session, 1)
		go func() {
			s, err := link.Accept(t.Context(), far, m.nodes[1].cfg, func(link.Peer) (*linkv1.Join, error) { return new(linkv1.Join), nil })
			if err != nil {
				t.Error(err)
			}
			accepted <- s
		}()
		dialler, err := link.Dial(t.Context(), near, m.nodes[0].cfg, new(linkv1.Join))
		if err != nil {
			t.Fatal(err)
		}
		m.nodes[0].next[1] = dialler
		acceptor := <-accepted
		m.runs.Go(func() {
			if e := ended(t, dialler.Run(m.nodes[0]), link.EndGoodbye); e.Reason != "no" {
				t.Errorf("%+v", e)
			}
		})
		synctest.Wait()
		c := m.open(t.Context(), 0, 1, link.Open{})
		if err := c.Send(nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		begin := time.Now()
		acceptor.Close(&linkv1.Goodbye{Reason: "no"})
		_, err = c.Receive()
		checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, 0)
		acceptor.Close(nil)
		if took := time.Since(begin); took > 0 {
			t.Errorf("Close took %v", took)
		}
		m.close()
	})
}

// TestCloseWhileBulkWaits: bulk that a congested connection holds back does not hold up Close.
func TestCloseWhileBulkWaits(t *testing.T) {
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
		failed := make(chan error, 1)
		go func() {
			_, err := unary(m.open(t.Context(), 0, 1, link.Open{}), bytes.Repeat([]byte("bulk"), 25_000))
			failed <- err
		}()
		synctest.Wait()
		begin := time.Now()
		l.dialler.Close(nil)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		if err := <-failed; connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("the call ended with %v", err)
		}
		m.close()
	})
}

// TestGoodbyeCountsTooMany: a number beyond what was opened says nothing of what is opened later.
func TestGoodbyeCountsTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{})
		p, l := rawPeer(m, 0)
		m.nodes[0].next[1] = l.accept
		c := m.open(t.Context(), 0, 1, link.Open{})
		_ = c.Send(nil)
		synctest.Wait()
		p.control(&linkv1.Control{Body: &linkv1.Control_Goodbye{Goodbye: &linkv1.Goodbye{Taken: new(uint64(1<<64 - 1))}}})
		_, err := c.Receive()
		checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN, 0)
		m.close()
	})
}

// TestCloseIdle: a session that has a call, of either end's, is not closed by CloseIdle.
func TestCloseIdle(t *testing.T) {
	for name, side := range map[string]int{"caller": 0, "answerer": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := tryingChain(t, 2, link.Limits{})
				release := make(chan struct{})
				m.nodes[1].serve = func(c *link.ServerCall) {
					<-release
					echoUnary(c)
				}
				s := m.links[0].dialler
				if m.links[0].from != side {
					s = m.links[0].accept
				}
				answered := make(chan error, 1)
				go func() {
					_, err := unary(m.open(t.Context(), 0, 1, link.Open{}), []byte("x"))
					answered <- err
				}()
				synctest.Wait()
				if s.CloseIdle(nil) {
					t.Error("closed over a call")
				}
				close(release)
				if err := <-answered; err != nil {
					t.Error(err)
				}
				synctest.Wait()
				if !s.CloseIdle(nil) {
					t.Error("not closed though idle")
				}
				m.close()
			})
		})
	}
}
