package rpcmesh_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"golang.org/x/net/http2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// cutter is a proxy at the host "front" that resets streams to "hub" whose request is longer than limit, as nginx
// does where client_max_body_size is that and the answer has begun.
type cutter struct {
	finds
	limit   int
	streams atomic.Int64
	cuts    atomic.Int64
	open    atomic.Int64
}

func newCutter(t *testing.T, c *rpcmeshtest.Cluster, limit int) *cutter {
	x := &cutter{finds: finds{t, c}, limit: limit}
	l, err := c.Listen("front")
	if err != nil {
		t.Fatal(err)
	}
	x.run(l, func() { x.accept(l, x.pass) })
	return x
}

// pass passes a connection on.
func (x *cutter) pass(near net.Conn) {
	far, err := x.Dialer("front")(x.Context(), "tcp", "hub:80")
	if err != nil {
		return
	}
	defer far.Close()
	stop := context.AfterFunc(x.Context(), func() {
		near.Close()
		far.Close()
	})
	defer stop()
	x.streams.Add(1)
	x.open.Add(1)
	defer x.open.Add(-1)
	var back sync.WaitGroup
	back.Go(func() {
		_ = copyFrames(near, far, func(http2.FrameType, int) bool { return true })
		_ = near.Close()
	})
	sent := 0
	if _, err := io.CopyN(far, near, int64(len(http2.ClientPreface))); err == nil {
		_ = copyFrames(far, near, func(kind http2.FrameType, size int) bool {
			if kind == http2.FrameData {
				sent += size
			}
			return sent <= x.limit
		})
	}
	if sent > x.limit {
		x.cuts.Add(1)
		_ = http2.NewFramer(near, nil).WriteRSTStream(1, http2.ErrCodeInternal)
		_, _ = io.Copy(io.Discard, near)
	}
	_ = far.Close()
	back.Wait()
}

// copyFrames copies frames while more wants them.
func copyFrames(to io.Writer, from io.Reader, more func(http2.FrameType, int) bool) error {
	const header = 9
	for buf := make([]byte, header+1<<20); ; { // a node's DATA frames have 1 MiB at most
		if _, err := io.ReadFull(from, buf[:header]); err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(buf) >> 8)
		if !more(http2.FrameType(buf[3]), size) {
			return nil
		}
		if _, err := io.ReadFull(from, buf[header:header+size]); err != nil {
			return err
		}
		if _, err := to.Write(buf[:header+size]); err != nil {
			return err
		}
	}
}

// recycled is a node whose link to a hub goes through a cutter, and both have a function.
type recycled struct {
	*cutter
	hub, node *rpcmesh.Namespace
	link      *rpcmesh.Link
	log       lockedBuffer
}

func newRecycled(t *testing.T, c *rpcmeshtest.Cluster, limit int) *recycled {
	x := &recycled{cutter: newCutter(t, c, limit)}
	slow := func(_ context.Context, name string) (string, error) {
		time.Sleep(5 * time.Millisecond) // fake time
		return name, nil
	}
	x.hub = c.Node("hub").Namespace("public")
	mustRegister(t, x.hub, unary(specOf("AtHub"), slow))
	node := c.Node("node", func(cfg *rpcmesh.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(&x.log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	})
	x.node = node.Namespace("public")
	mustRegister(t, x.node, unary(specOf("AtNode"), slow))
	x.link = mustLink(t, node, rpcmeshtest.URL("front"), "public")
	synctest.Wait()
	return x
}

func specOf(name string) connect.Spec {
	return connect.Spec{Procedure: "/test.v1.Recycled/" + name, StreamType: connect.StreamTypeUnary}
}

// call makes calls one way and the other, several at a time, and returns how many failed.
func (x *recycled) call(calls int) int64 {
	var failed atomic.Int64
	var callers sync.WaitGroup
	for i := range calls {
		text := fmt.Sprint(i) + strings.Repeat("x", 4000)
		for from, name := range map[*rpcmesh.Namespace]string{x.node: "AtHub", x.hub: "AtNode"} {
			callers.Go(func() {
				if got, err := do(x.Context(), from, specOf(name), text); err != nil || got != text {
					failed.Add(1)
				}
			})
		}
		time.Sleep(time.Millisecond) // fake time
	}
	callers.Wait()
	return failed.Load()
}

// TestRecycle: behind a proxy that bounds a request's body, calls fail only until the link has learnt the bound:
// by one cut where that is nginx's default, by two where it is another.
func TestRecycle(t *testing.T) {
	for limit, cuts := range map[int]int64{1 << 20: 1, 300 << 10: 2} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				x := newRecycled(t, c, limit)
				for x.cuts.Load() < cuts {
					x.call(10)
				}
				if err := x.link.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				before := x.streams.Load()
				if failed := x.call(1000); failed > 0 || x.cuts.Load() > cuts {
					t.Errorf("%d calls failed, %d streams were cut", failed, x.cuts.Load()-cuts)
				}
				if streams := x.streams.Load() - before; streams < 5 || streams > int64(2*8_400_000/limit+2) {
					t.Errorf("%d streams", streams)
				}
				time.Sleep(time.Second) // fake time
				if open := x.open.Load(); open != 1 {
					t.Errorf("%d streams are open", open)
				}
				if log := x.log.String(); strings.Count(log, "client_max_body_size 0") != 1 || !strings.Contains(log, "bytes=") {
					t.Errorf("the log says %s", log)
				}
			})
		})
	}
}

// TestRecycleKeepsStreams: a call that goes on for long keeps its stream, and ends well.
func TestRecycleKeepsStreams(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		x := newRecycled(t, c, 1<<20)
		release := make(chan struct{})
		mustRegister(t, x.hub, worker(func(context.Context, string) (string, error) {
			<-release
			return "released", nil
		}))
		for x.cuts.Load() == 0 {
			x.call(10)
		}
		if err := x.link.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		var long sync.WaitGroup
		for range 3 {
			long.Go(func() {
				if got, err := do(rpcmesh.WaitForReady(t.Context()), x.node, workSpec(), ""); err != nil || got != "released" {
					t.Errorf("%q, %v", got, err)
				}
			})
			if failed := x.call(200); failed > 0 {
				t.Errorf("%d calls failed", failed)
			}
		}
		time.Sleep(time.Second) // fake time
		if open := x.open.Load(); open != 4 {
			t.Errorf("%d streams are open; want one for each call and one for all else", open)
		}
		close(release)
		long.Wait()
		time.Sleep(time.Second) // fake time
		if open := x.open.Load(); open != 1 {
			t.Errorf("%d streams are open", open)
		}
		if err := x.link.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestTooLittleToRecycle: a bound that leaves no room for calls is only named.
func TestTooLittleToRecycle(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		x := newRecycled(t, c, 40<<10)
		for err := error(nil); err == nil; {
			_, err = do(t.Context(), x.node, specOf("AtHub"), strings.Repeat("x", 4000))
		}
		const cause = "a proxy in front limits the size of a request body (nginx: client_max_body_size 0)"
		over, cancel := context.WithCancel(t.Context())
		cancel()
		wantError(t, x.link.Ready(over), connect.CodeCanceled, cause)
		for info := range c.Node("node").Links() {
			wantError(t, info.Err, connect.CodeUnavailable, cause)
		}
		for x.cuts.Load() < 5 {
			x.call(10)
			if err := x.link.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if streams, cuts := x.streams.Load(), x.cuts.Load(); streams != cuts+1 {
			t.Errorf("%d streams for %d cuts", streams, cuts)
		}
		if log := x.log.String(); strings.Count(log, "client_max_body_size 0") != 1 {
			t.Errorf("the log says %s", log)
		}
	})
}
