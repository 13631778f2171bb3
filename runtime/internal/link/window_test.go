package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// TestSlowReader has a handler, or a caller, that reads nothing. Its writer must stop after a window
// and 32 KiB for each hop (each of the two at least once), while other calls on the same links go on.
func TestSlowReader(t *testing.T) {
	const frame = 32 << 10
	for _, test := range []struct{ window, size int }{{100, 50}, {100, 100_000}, {100_000, 5000}} {
		for _, slowCaller := range []bool{false, true} {
			t.Run(fmt.Sprintf("window=%d/message=%d/slowCaller=%v", test.window, test.size, slowCaller), func(t *testing.T) {
				onEveryPath(t, link.Limits{Window: test.window}, func(t *testing.T, m *mesh, from, to int) {
					hops := max(len(m.nodes)-1, 1)
					bound := hops*(test.window+frame) + test.size
					testSlowReader(t, m, from, to, test.size, bound, slowCaller)
				})
			})
		}
	}
}

func testSlowReader(t *testing.T, m *mesh, from, to, size, bound int, slowCaller bool) {
	var sent atomic.Int64
	read := make(chan struct{})
	msg := make([]byte, size)
	write := func(send func([]byte) error) {
		for range 2*bound/size + 10 {
			if send(msg) != nil {
				return
			}
			sent.Add(int64(size))
		}
	}
	m.nodes[to].serve = func(c *link.ServerCall) {
		if c.Callee().Procedure == "/echo" {
			echoUnary(c)
			return
		}
		if slowCaller {
			write(c.Send)
		}
		<-read
		for {
			if _, err := c.Receive(); err != nil {
				break
			}
		}
		_ = c.End(nil, nil)
	}
	c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeBidi})
	_ = c.SendHeaders()
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		if !slowCaller {
			write(c.Send)
		}
	}()
	synctest.Wait()
	if n := int(sent.Load()); n > bound || n == 0 && bound > 2*size {
		t.Errorf("%d bytes were sent to one who reads nothing; the bound is %d", n, bound)
	}
	// Nobody else notices.
	start := time.Now()
	for range 20 {
		if _, err := unary(m.open(t.Context(), from, to, link.Open{Procedure: "/echo"}), []byte("x")); err != nil {
			t.Errorf("another call: %v", err)
		}
	}
	if took := time.Since(start); took > 0 {
		t.Errorf("other calls took %v", took)
	}
	before := sent.Load()
	if slowCaller {
		for range 3 * bound / size / 2 {
			_, _ = c.Receive()
		}
	} else {
		close(read)
	}
	synctest.Wait()
	if sent.Load() == before {
		t.Error("the writer did not go on when its reader did")
	}
	_ = c.Close()
	<-stop
	if slowCaller {
		close(read)
	}
}

// TestManyStreams has 10,000 streams open at once on one link, and through a relay.
func TestManyStreams(t *testing.T) {
	count := 10_000
	if testing.Short() {
		count = 1000
	}
	for _, nodes := range []int{2, 3} {
		synctest.Test(t, func(t *testing.T) {
			m := tryingChain(t, nodes, link.Limits{})
			m.nodes[nodes-1].serve = echo
			calls := make([]*link.ClientCall, count)
			exchange := func(round int) {
				for i, c := range calls {
					if err := c.Send(fmt.Appendf(nil, "%d in round %d", i, round)); err != nil {
						t.Fatal(err)
					}
				}
				for i, c := range calls {
					msg, err := c.Receive()
					if err != nil || string(msg) != fmt.Sprintf("%d in round %d", i, round) {
						t.Fatalf("stream %d: %q, %v", i, msg, err)
					}
				}
			}
			for i := range calls {
				calls[i] = m.open(t.Context(), 0, nodes-1, link.Open{StreamType: connect.StreamTypeBidi})
			}
			exchange(1)
			time.Sleep(time.Minute) // fake time
			exchange(2)
			for i, c := range calls {
				if i%2 == 0 {
					_ = c.Close()
					continue
				}
				_ = c.CloseSend()
				if _, err := c.Receive(); !errors.Is(err, io.EOF) {
					t.Errorf("at the end: %v", err)
				}
			}
			synctest.Wait()
			m.checkIdle()
			m.close()
		})
	}
}

func TestTooManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 3, link.Limits{MaxCalls: 5})
		m.nodes[2].serve = echo
		var calls []*link.ClientCall
		for i := range 8 {
			c := m.open(t.Context(), 0, 2, link.Open{StreamType: connect.StreamTypeBidi})
			if err := c.SendHeaders(); i < 5 && err != nil || i >= 5 && connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Errorf("stream %d: %v", i, err)
			}
			calls = append(calls, c)
		}
		for _, c := range calls {
			_ = c.Close()
		}
		synctest.Wait()
		c := m.open(t.Context(), 0, 2, link.Open{StreamType: connect.StreamTypeBidi})
		if err := c.SendHeaders(); err != nil {
			t.Errorf("after the others have ended: %v", err)
		}
		_ = c.Close()
		synctest.Wait()
		m.checkIdle()
		m.close()
	})
}

func TestLargeMessage(t *testing.T) {
	for nodes, size := range map[int]int{1: 8 << 20, 2: 64 << 20, 3: 8 << 20} {
		if testing.Short() {
			size = min(size, 8<<20)
		}
		synctest.Test(t, func(t *testing.T) {
			m := chain(t, nodes, link.Limits{MaxMessage: size})
			m.nodes[nodes-1].serve = echoUnary
			msg := bytes.Repeat([]byte("0123456789abcdef"), size/16)
			reply, err := unary(m.open(t.Context(), 0, nodes-1, link.Open{}), msg)
			if err != nil || !bytes.Equal(reply, msg) {
				t.Errorf("%d nodes: %d bytes came back, %v", nodes, len(reply), err)
			}
			m.close()
		})
	}
}

// TestSmallBesideBulk has a small call beside streams of bulk on a slow connection: it must not wait
// for more than what is being written and a chunk.
func TestSmallBesideBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{Window: 1 << 20})
		near, far := linktest.PipeSize(1)
		m.nodes[0].next[1] = m.linkOver(0, 1, near, far).dialler
		far.Throttle(32 << 10) // a chunk takes a second
		ctx, cancel := context.WithCancel(t.Context())
		m.nodes[1].serve = func(c *link.ServerCall) {
			if c.Callee().Procedure == "/echo" {
				echoUnary(c)
				return
			}
			for {
				if _, err := c.Receive(); err != nil {
					return
				}
			}
		}
		var bulk sync.WaitGroup
		for range 8 {
			c := m.open(ctx, 0, 1, link.Open{StreamType: connect.StreamTypeBidi})
			bulk.Go(func() {
				sendAll(c.Send, 1<<20)
				_ = c.Close()
			})
		}
		time.Sleep(10 * time.Second) // fake time
		for range 10 {
			time.Sleep(time.Duration(rand.IntN(1e9))) // fake time
			start := time.Now()
			if _, err := unary(m.open(ctx, 0, 1, link.Open{Procedure: "/echo"}), []byte("x")); err != nil {
				t.Errorf("the small call: %v", err)
			}
			// One packet is being received, one is in the pipe, one is being written; each is a little longer
			// than its chunk.
			if took := time.Since(start); took > 4*time.Second+10*time.Millisecond {
				t.Errorf("the small call took %v", took)
			}
		}
		cancel()
		bulk.Wait()
		m.close()
	})
}

// TestSleepingHandler has handlers that sleep for a minute beside others that do not.
func TestSleepingHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 3, link.Limits{})
		m.nodes[2].serve = func(c *link.ServerCall) {
			if c.Callee().Procedure == "/sleep" {
				time.Sleep(time.Minute) // fake time
			}
			echoUnary(c)
		}
		var sleepers sync.WaitGroup
		for range 10 {
			c := m.open(t.Context(), 0, 2, link.Open{Procedure: "/sleep"})
			sleepers.Go(func() {
				if _, err := unary(c, nil); err != nil {
					t.Errorf("sleeper: %v", err)
				}
			})
		}
		start := time.Now()
		for range 1000 {
			if _, err := unary(m.open(t.Context(), 0, 2, link.Open{}), nil); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("other calls took %v", took)
		}
		sleepers.Wait()
		m.close()
	})
}

// TestCallsWithinCalls has the handlers of a ring call each other, and back over the link that they were
// called by, to a depth of 30.
func TestCallsWithinCalls(t *testing.T) {
	for _, step := range []int{1, -1, 2} {
		synctest.Test(t, func(t *testing.T) {
			m := newMesh(t, 3, link.Limits{Window: 100})
			m.linkRing()
			for i, n := range m.nodes {
				n.serve = func(c *link.ServerCall) {
					msg, err := c.Receive()
					if err == nil && len(msg) < 30 {
						next := m.open(c.Context(), i, (i+step+3)%3, link.Open{})
						msg, err = unary(next, append(bytes.Clone(msg), byte(i)))
					}
					if err != nil {
						_ = c.End(asError(err), nil)
						return
					}
					_ = c.Reply(nil, msg, nil)
				}
			}
			reply, err := unary(m.open(t.Context(), 0, 1, link.Open{}), nil)
			if err != nil || len(reply) != 30 {
				t.Errorf("%d bytes, %v", len(reply), err)
			}
			synctest.Wait()
			m.checkIdle()
			m.close()
		})
	}
}
