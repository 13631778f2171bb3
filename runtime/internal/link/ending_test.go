package link_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

func ended(t *testing.T, err error, want link.EndKind) *link.Ended {
	t.Helper()
	e, ok := errors.AsType[*link.Ended](err)
	if !ok {
		t.Fatalf("the session ended with %v", err)
	}
	if e.Kind != want {
		t.Errorf("the session ended with %v (%v); want %v", e.Kind, err, want)
	}
	return e
}

func checkFailure(t *testing.T, c *link.ClientCall, err error, want rpcmeshv1.CallFailure_Certainty, node int) {
	t.Helper()
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok || ce.Code() != connect.CodeUnavailable || !ce.IsRemote() {
		t.Errorf("error %v", err)
	}
	f := c.Failure()
	if f.GetCertainty() != want || f.GetNodeName() != fmt.Sprintf("node%d", node) || link.NodeID(f.GetNode()) != nodeID(node) {
		t.Errorf("failure %v; want %v at node%d", f, want, node)
	}
}

// TestCutWhileCallsRun cuts each link of a chain while a call is at each point of its way.
func TestCutWhileCallsRun(t *testing.T) {
	const nodes = 4
	for cut := range nodes - 1 {
		for _, how := range []string{"cut", "close", "goodbye at near", "goodbye at far"} {
			for _, point := range []string{"sent", "answered", "sending", "receiving"} {
				t.Run(fmt.Sprintf("%s of %d/%s", how, cut, point), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						m := chain(t, nodes, link.Limits{Window: 1000})
						testCut(t, m, m.links[cut], how, point)
						m.close()
					})
				})
			}
		}
	}
}

func testCut(t *testing.T, m *mesh, l *testLink, how, point string) {
	last := len(m.nodes) - 1
	handled := make(chan error, 1)
	m.nodes[last].serve = func(c *link.ServerCall) {
		switch point {
		case "answered":
			_ = c.SendHeaders(nil)
		case "receiving":
			sendAll(c.Send, 5000)
		}
		<-c.Context().Done()
		handled <- c.Context().Err()
	}
	c := m.open(t.Context(), 0, last, link.Open{StreamType: connect.StreamTypeBidi})
	defer c.Close()
	result := make(chan error, 1)
	want := rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN
	switch point {
	case "sent":
		_ = c.Send([]byte("x"))
	case "answered":
		want = rpcmeshv1.CallFailure_CERTAINTY_STARTED
		_ = c.SendHeaders()
	case "sending":
		go func() { result <- c.Send(make([]byte, 1<<20)) }()
	case "receiving":
		want = rpcmeshv1.CallFailure_CERTAINTY_STARTED
		_ = c.SendHeaders()
	}
	synctest.Wait()
	switch how {
	case "cut":
		l.near.Cut()
	case "close":
		l.far.Close(nil)
	case "goodbye at near":
		l.dialler.Close(&linkv1.Goodbye{Reason: "test"})
	case "goodbye at far":
		l.accept.Close(&linkv1.Goodbye{Leaving: true})
	}
	if err := <-handled; !errors.Is(err, context.Canceled) {
		t.Errorf("handler's context: %v", err)
	}
	if point == "sending" {
		if err := <-result; !errors.Is(err, io.EOF) {
			t.Errorf("Send: %v", err)
		}
	}
	var err error
	got := 0
	for ; err == nil; got++ {
		_, err = c.Receive()
	}
	if point == "receiving" && got < 2 {
		t.Error("what had arrived is lost")
	}
	checkFailure(t, c, err, want, min(l.from, l.to))
	synctest.Wait()
	for _, other := range m.links {
		if other != l && other.dialler.OpenCalls()+other.accept.OpenCalls() != 0 {
			t.Errorf("the link of %d and %d still has calls", other.from, other.to)
		}
	}
}

// TestNotStarted breaks a link whose connection has taken nothing for a while.
func TestNotStarted(t *testing.T) {
	for _, relays := range []int{0, 1} {
		for _, try := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) { testNotStarted(t, relays, try) })
		}
	}
}

func testNotStarted(t *testing.T, relays int, try bool) {
	m := newMesh(t, relays+2, link.Limits{})
	for i := range relays {
		m.link(i, i+1)
	}
	m.try = try
	near, far := linktest.PipeSize(1)
	l := m.linkOver(relays, relays+1, near, far)
	m.nodes[0].next[relays+1] = m.session(0, 1)
	if relays > 0 {
		m.nodes[1].next[2] = l.dialler
	}
	m.nodes[relays+1].serve = echoUnary
	// The session finds out that the connection can try.
	if _, err := unary(m.open(t.Context(), 0, relays+1, link.Open{}), nil); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	far.Pause()
	var calls []*link.ClientCall
	for range 4 {
		c := m.open(t.Context(), 0, relays+1, link.Open{})
		calls = append(calls, c)
		go func() { _ = c.Send([]byte("x")) }()
		synctest.Wait()
	}
	near.Cut()
	// The first filled the connection, the second was being written.
	for i, c := range calls {
		want := rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN
		if i >= 2 {
			want = rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
		}
		_, err := c.Receive()
		checkFailure(t, c, err, want, relays)
		_ = c.Close()
	}
	m.close()
}

func TestNoRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 4, link.Limits{})
		delete(m.nodes[2].next, 3)
		c := m.open(t.Context(), 0, 3, link.Open{})
		_, err := unary(c, nil)
		checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, 2)
		m.checkIdle()
		m.close()
	})
}

func TestHopBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3, link.Limits{})
		for i := range 3 {
			m.link(i, (i+1)%3)
		}
		for i := range 3 {
			m.nodes[i].next[7] = m.session(i, (i+1)%3) // round and round
		}
		for hops, crossed := range map[uint32]int{
			5: 6, link.MaxHops: link.MaxHops + 1, link.MaxHops + 1: link.MaxHops + 1, 1<<32 - 1: link.MaxHops + 1,
		} {
			before := m.opens()
			c := m.open(t.Context(), 0, 7, link.Open{Hops: hops})
			_, err := unary(c, nil)
			checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, crossed%3)
			if got := m.opens() - before; got != crossed {
				t.Errorf("with %d hops it crossed %d links, want %d", hops, got, crossed)
			}
		}
		m.checkIdle()
		m.close()
	})
}

func TestOpenOnEndedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{})
		c := m.open(t.Context(), 0, 1, link.Open{})
		m.close()
		if err := c.Send(nil); connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("Send: %v", err)
		}
		_, err := c.Receive()
		checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, 0)
		if _, err := m.session(0, 1).NewCall(t.Context(), link.Open{}); connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("Open: %v", err)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{})
		l := m.links[0]
		synctest.Wait()
		l.dialler.Close(&linkv1.Goodbye{Leaving: true, Reason: "enough"})
		m.runs.Wait()
		if e := ended(t, l.nearEnd, link.EndClosed); !e.Leaving || e.Reason != "enough" {
			t.Errorf("near: %+v", e)
		}
		if e := ended(t, l.farEnd, link.EndGoodbye); !e.Leaving || e.Reason != "enough" {
			t.Errorf("far: %+v", e)
		}
		l.dialler.Close(nil)
		m.close()
	})
}

// TestCloseSendsWhatIsReady closes a link while answers wait for the connection.
func TestCloseSendsWhatIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		near, far := linktest.PipeSize(1)
		l := m.linkOver(0, 1, near, far)
		m.nodes[0].next[1] = l.dialler
		m.nodes[1].serve = echoUnary
		synctest.Wait()
		near.Pause()
		var calls []*link.ClientCall
		for range 5 {
			c := m.open(t.Context(), 0, 1, link.Open{})
			if err := c.Send([]byte("last words")); err != nil {
				t.Fatal(err)
			}
			calls = append(calls, c)
			synctest.Wait()
		}
		go l.accept.Close(nil)
		synctest.Wait()
		if _, err := l.accept.NewCall(t.Context(), link.Open{}); err == nil || connect.CodeOf(err) != connect.CodeUnavailable {
			t.Errorf("Open while closing: %v", err)
		}
		near.Resume()
		for i, c := range calls {
			if msg, err := c.Receive(); err != nil || string(msg) != "last words" {
				t.Errorf("call %d: %q, %v", i, msg, err)
			}
			_ = c.Close()
		}
		synctest.Wait()
		m.close()
		ended(t, l.nearEnd, link.EndGoodbye)
		ended(t, l.farEnd, link.EndClosed)
	})
}

// TestCloseOnStuckConn closes a session whose peer reads nothing.
func TestCloseOnStuckConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		near, far := linktest.PipeSize(1)
		l := m.linkOver(0, 1, near, far)
		m.nodes[0].next[1] = l.dialler
		far.Pause()
		for range 3 {
			c := m.open(t.Context(), 0, 1, link.Open{})
			go func() { _ = c.Send([]byte("x")) }()
			defer c.Close()
		}
		synctest.Wait()
		start := time.Now()
		l.dialler.Close(nil)
		if took := time.Since(start); took > time.Second {
			t.Errorf("Close took %v", took)
		}
		far.Resume()
		m.close()
		ended(t, l.nearEnd, link.EndClosed)
	})
}

func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 3, link.Limits{})
		m.nodes[2].serve = func(c *link.ServerCall) { <-c.Context().Done() }
		time.Sleep(10*time.Minute + 300*time.Millisecond) // fake time
		c := m.open(t.Context(), 0, 2, link.Open{StreamType: connect.StreamTypeBidi})
		defer c.Close()
		_ = c.SendHeaders()
		for _, l := range m.links {
			if l.nearEnd != nil || l.farEnd != nil {
				t.Fatalf("an idle link ended: %v, %v", l.nearEnd, l.farEnd)
			}
		}
		synctest.Wait()
		start := time.Now()
		m.links[1].near.Silence()
		_, err := c.Receive()
		if took := time.Since(start); took > 3*time.Second || took < 1500*time.Millisecond {
			t.Errorf("silence was found after %v", took)
		}
		checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN, 1)
		time.Sleep(2 * time.Second) // fake time
		m.close()
		ended(t, m.links[1].nearEnd, link.EndSilent)
		ended(t, m.links[1].farEnd, link.EndSilent)
		ended(t, m.links[0].nearEnd, link.EndClosed)
	})
}

// TestKeepaliveOfUnequals links nodes whose ideas of a long silence differ.
func TestKeepaliveOfUnequals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		m.nodes[0].cfg.KeepaliveInterval, m.nodes[0].cfg.KeepaliveTimeout = 50*time.Millisecond, 100*time.Millisecond
		m.nodes[1].cfg.KeepaliveInterval, m.nodes[1].cfg.KeepaliveTimeout = 10*time.Second, time.Minute
		l := m.link(0, 1)
		time.Sleep(10 * time.Minute) // fake time
		m.close()
		ended(t, l.nearEnd, link.EndClosed)
		ended(t, l.farEnd, link.EndGoodbye)
	})
}

// TestSlowSends keeps a link whose other end takes what it is sent slowly.
func TestSlowSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		near, far := linktest.PipeSize(1)
		l := m.linkOver(0, 1, near, far)
		m.nodes[0].next[1] = l.dialler
		m.nodes[1].serve = echo
		c := m.open(t.Context(), 0, 1, link.Open{StreamType: connect.StreamTypeBidi})
		done := make(chan error, 1)
		go func() {
			for range 20 {
				_ = c.Send(make([]byte, 32<<10))
			}
			done <- c.CloseSend()
		}()
		go func() {
			for {
				far.Pause()
				time.Sleep(1500 * time.Millisecond) // fake time
				far.Resume()
				synctest.Wait()
				if len(done) > 0 {
					return
				}
			}
		}()
		for n := 0; ; n++ {
			if _, err := c.Receive(); err != nil {
				if !errors.Is(err, io.EOF) || n != 20 {
					t.Errorf("%d messages, then %v", n, err)
				}
				break
			}
		}
		_ = c.Close()
		m.close()
		ended(t, l.nearEnd, link.EndClosed)
	})
}

// TestSendFails has a connection whose Send fails while Receive does not.
func TestSendFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		near, far := linktest.Pipe()
		l := m.linkOver(0, 1, near, far)
		m.nodes[0].next[1] = l.dialler
		near.BreakSend()
		c := m.open(t.Context(), 0, 1, link.Open{})
		_ = c.Send(nil)
		start := time.Now()
		_, err := c.Receive()
		checkFailure(t, c, err, rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN, 0)
		if took := time.Since(start); took > time.Second {
			t.Errorf("it took %v", took)
		}
		_ = c.Close()
		m.close()
		ended(t, l.nearEnd, link.EndBroken)
	})
}

func TestTables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		for i := range 5 {
			m.nodes[1].tables = append(m.nodes[1].tables, &linkv1.Table{Namespace: fmt.Sprint(i)})
		}
		m.link(0, 1)
		synctest.Wait()
		m.nodes[0].mu.Lock()
		m.nodes[0].tables = append(m.nodes[0].tables, &linkv1.Table{Namespace: "new"})
		m.nodes[0].mu.Unlock()
		synctest.Wait()
		if n := len(m.nodes[1].told); n != 0 {
			t.Errorf("told of %d tables without a TableChanged", n)
		}
		m.session(0, 1).TableChanged()
		synctest.Wait()
		var got string
		for _, table := range m.nodes[0].told {
			got += table.GetNamespace()
		}
		if got != "01234" || len(m.nodes[1].told) != 1 || m.nodes[1].told[0].GetNamespace() != "new" {
			t.Errorf("tables %q and %v", got, m.nodes[1].told)
		}
		m.close()
	})
}

func TestBadTable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		m.nodes[1].tables = append(m.nodes[1].tables, &linkv1.Table{Namespace: "bad"})
		l := m.link(0, 1)
		m.runs.Wait()
		ended(t, l.nearEnd, link.EndViolation)
		e := ended(t, l.farEnd, link.EndBroken)
		if ce, ok := errors.AsType[*connect.Error](e.Err); !ok || ce.Message() != "a bad table" {
			t.Errorf("the other end is told %v", e.Err)
		}
		m.close()
	})
}
