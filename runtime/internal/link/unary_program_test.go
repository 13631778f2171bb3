package link_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
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

// TestUnaryPrograms has callers call over and over, each by one Unary, at the same time and with random ends: contexts
// and deadlines that end before the answer, with it and after it, and all that handlers do. An answer is its own
// request's, and who gets none knows why.
func TestUnaryPrograms(t *testing.T) {
	if *seed != 0 {
		runUnaryProgram(t, *seed)
		return
	}
	for i := range (*programs + 1) / 2 {
		t.Run(fmt.Sprintf("seed=%d", i+1), func(t *testing.T) { runUnaryProgram(t, uint64(i+1)) })
	}
}

func runUnaryProgram(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(seed, 2))
		m := newMesh(t, 2+r.IntN(2), link.Limits{Window: 1 + r.IntN(20_000)})
		m.try = r.IntN(2) == 0
		m.linkRow()
		to := len(m.nodes) - 1
		m.nodes[to].serve = serveShort
		watchdog := time.AfterFunc(time.Hour, func() { panic(fmt.Sprintf("program %d stalls", seed)) })
		defer watchdog.Stop()
		var callers sync.WaitGroup
		for range 1 + r.IntN(20) {
			own := rand.New(rand.NewPCG(r.Uint64(), 0))
			callers.Go(func() {
				u, w := link.NewUnary(), m.prepare(0, to)
				for range 20 {
					newShortProgram(own).run(t, u, w, to)
				}
			})
		}
		callers.Wait()
		time.Sleep(time.Minute) // fake time
		m.checkIdle()
		m.close()
	})
}

// shortProgram is one call. Its request tells the handler its part, and is what is answered.
type shortProgram struct {
	id       uint64
	delay    time.Duration // until the answer
	how      byte          // it is answered
	size     int
	cancel   time.Duration // until the caller lets go; 0: never
	deadline bool          // and does so by a deadline
}

func newShortProgram(r *rand.Rand) *shortProgram {
	p := &shortProgram{id: r.Uint64(), delay: time.Duration(r.IntN(4)) * time.Millisecond, size: 17 + r.IntN(3000)}
	if r.IntN(2) == 0 {
		p.how = byte(r.IntN(6))
	}
	if r.IntN(2) == 0 {
		p.cancel, p.deadline = time.Duration(1+r.IntN(4))*time.Millisecond, r.IntN(2) == 0
	}
	return p
}

func (p *shortProgram) request() []byte {
	b := binary.LittleEndian.AppendUint64(nil, p.id)
	b = binary.LittleEndian.AppendUint64(b, uint64(p.delay))
	b = append(b, p.how)
	return append(b, bytes.Repeat([]byte{byte(p.id)}, p.size-len(b))...)
}

// serveShort is the handler's part.
func serveShort(c *link.ServerCall) {
	msg, err := c.Receive()
	if err != nil {
		_ = c.End(asError(err), nil)
		return
	}
	time.Sleep(time.Duration(binary.LittleEndian.Uint64(msg[8:]))) // fake time
	switch msg[16] {
	case 1:
		err = c.Reply(header("A", "b"), msg, nil)
	case 2:
		err = c.Reply(nil, msg, header("A", "b"))
	case 3:
		if err = c.Send(msg); err == nil {
			err = c.End(nil, nil)
		}
	case 4:
		err = c.End(connect.NewError(connect.CodeNotFound, "planned"), nil)
	case 5:
		err = c.Reply(nil, bytes.Repeat(msg, 30), nil)
	default:
		err = c.Reply(nil, msg, nil)
	}
	if err != nil {
		_ = c.End(asError(err), nil)
	}
}

func (p *shortProgram) run(t *testing.T, u *link.Unary, w *link.PreparedCall, to int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var timeout time.Duration
	switch {
	case p.deadline:
		timeout = p.cancel
	case p.cancel > 0:
		stop := time.AfterFunc(p.cancel, cancel)
		defer stop.Stop()
	}
	start := time.Now()
	request := p.request()
	progress, got := callAsUnary(ctx, u, w, to, timeout, request)
	letGo := p.cancel > 0 && time.Since(start) >= p.cancel
	want := string(request)
	if p.how == 5 {
		want = string(bytes.Repeat(request, 30))
	}
	switch {
	case got.code == connect.CodeCanceled && letGo && !p.deadline:
	case got.code == connect.CodeDeadlineExceeded && letGo && p.deadline:
	case p.how == 4 && got.code == connect.CodeNotFound && got.remote:
	case p.how != 4 && got.err == "" && got.reply == want:
		if short := (p.how == 0 || p.how == 5) && len(want) <= 8<<10; (progress == link.Answered) != short && !letGo {
			t.Errorf("%+v: progress %v", p, progress)
		}
	default:
		t.Errorf("%+v: progress %v, %.300v", p, progress, got)
	}
	if took := time.Since(start); p.cancel > 0 && took > p.cancel || progress == link.Unsent {
		t.Errorf("%+v: progress %v after %v", p, progress, took)
	}
}

// TestUnaryRaces has calls whose answer comes just as their context ends, each with another after it by the same
// Unary: either end of the first leaves nothing behind that would keep the other from being answered.
func TestUnaryRaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{})
		var ends sync.Map // of a context, by the request of the call that has it
		m.nodes[1].serve = func(c *link.ServerCall) {
			msg, err := c.Receive()
			if err != nil {
				return
			}
			if end, ok := ends.LoadAndDelete(string(msg)); ok {
				time.AfterFunc(0, end.(context.CancelFunc))
				time.Sleep(0) // fake time
			}
			_ = c.Reply(nil, msg, nil)
		}
		var callers sync.WaitGroup
		var answered, canceled atomic.Int64
		for i := range 10 {
			callers.Go(func() {
				u, w := link.NewUnary(), m.prepare(0, 1)
				for j := range 50 {
					ctx, cancel := context.WithCancel(t.Context())
					request := fmt.Sprint(i, j)
					ends.Store(request, cancel)
					if progress, _ := callAsUnary(ctx, u, w, 1, 0, []byte(request)); progress == link.Answered {
						answered.Add(1)
					} else {
						canceled.Add(1)
					}
					cancel()
					ends.Delete(request)
					if progress, got := callAsUnary(t.Context(), u, w, 1, 0, []byte(request)); progress != link.Answered || got.reply != request {
						t.Errorf("progress %v, %v", progress, got)
					}
				}
			})
		}
		callers.Wait()
		t.Logf("%d were answered, %d were not", answered.Load(), canceled.Load())
		synctest.Wait()
		m.checkIdle()
		m.close()
	})
}

// hookedConn is a connection that does something, once, after it has sent a packet.
type hookedConn struct {
	linktest.NonblockingConn
	then func()
}

// TrySend sends as its Conn does.
func (c *hookedConn) TrySend(p []byte) (bool, error) {
	sent, err := c.NonblockingConn.TrySend(p)
	if then := c.then; then != nil {
		c.then = nil
		then()
	}
	return sent, err
}

// TestUnaryAnsweredAndEnded has calls that find their answer and the end of their context at the same time, when
// they have sent their request.
func TestUnaryAnsweredAndEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{})
		near, far := linktest.Pipe()
		conn := &hookedConn{NonblockingConn: linktest.NonblockingConn{Conn: near}}
		l := &testLink{from: 0, to: 1, near: near, far: far}
		if err := m.linkConns(l, conn, far); err != nil {
			t.Fatal(err)
		}
		m.nodes[0].next[1], m.nodes[1].serve = l.dialler, echoUnary
		synctest.Wait()
		u, w := link.NewUnary(), m.prepare(0, 1)
		for i := range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			if i%2 == 0 {
				conn.then = func() { cancel(); synctest.Wait() }
			}
			if progress, got := callAsUnary(ctx, u, w, 1, 0, []byte{byte(i)}); progress != link.Answered || got.reply != string([]byte{byte(i)}) {
				t.Errorf("call %d: progress %v, %v", i, progress, got)
			}
			cancel()
		}
		m.checkIdle()
		m.close()
	})
}
