package link_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// embeddedHandler is a call within something of its handler's own.
type embeddedHandler struct {
	call  link.ServerCall
	serve func(*embeddedHandler)
}

func (s *embeddedHandler) Call() *link.ServerCall { return &s.call }
func (s *embeddedHandler) Serve()                 { s.serve(s) }

// TestRequestWithItsCall has a stranger open calls in all the ways that a request can come. It is handed over with the
// call where it came whole and short, and received where it did not; either way the caller gets its answer.
func TestRequestWithItsCall(t *testing.T) {
	const canceled, exhausted, internal = connect.CodeCanceled, connect.CodeResourceExhausted, connect.CodeInternal
	long := bytes.Repeat([]byte("long"), 300)
	whole := func(data []byte) *linkv1.Frame { return &linkv1.Frame{Data: data, CloseSend: true} }
	for name, test := range map[string]struct {
		open   *linkv1.Frame
		kind   connect.StreamType
		then   []*linkv1.Frame
		with   string // what is handed over with the call
		next   string // what is received then
		code   connect.Code
		answer func(*link.ServerCall, []byte)
	}{
		"whole":            {open: whole([]byte("all")), with: "all"},
		"empty":            {open: whole([]byte{}), with: ""},
		"long":             {open: whole(long), next: string(long)},
		"too long":         {open: whole(bytes.Repeat(long, 4)), code: exhausted},
		"to be closed":     {open: &linkv1.Frame{Data: []byte("a")}, then: []*linkv1.Frame{{CloseSend: true}}, next: "a"},
		"in two":           {open: &linkv1.Frame{Data: []byte("a"), More: true}, then: []*linkv1.Frame{whole([]byte("b"))}, next: "ab"},
		"cut":              {open: &linkv1.Frame{Data: []byte("a"), More: true, CloseSend: true}, code: connect.CodeInvalidArgument},
		"none":             {open: &linkv1.Frame{CloseSend: true}, code: connect.CodeUnknown},
		"a stream's":       {open: whole([]byte("a")), kind: connect.StreamTypeClient, next: "a"},
		"with credit":      {open: &linkv1.Frame{Data: []byte("a"), CloseSend: true, Window: 5}, next: "a"},
		"canceled at once": {open: &linkv1.Frame{Data: []byte("a"), CloseSend: true, Cancel: 1}, code: canceled},
		"canceled next":    {open: whole([]byte("a")), with: "a", then: []*linkv1.Frame{{Cancel: 1}}, code: canceled},
		"more than all":    {open: whole([]byte("a")), with: "a", then: []*linkv1.Frame{{Data: []byte("b")}}, code: connect.CodeInvalidArgument},
		"panic":            {open: whole([]byte("a")), with: "a", answer: func(*link.ServerCall, []byte) { panic("no") }, code: internal},
		"panic, answered": {open: whole([]byte("a")), with: "a", answer: func(c *link.ServerCall, msg []byte) {
			if !c.ReplyFinal(msg) {
				t.Error("ReplyLast has to wait")
			}
			panic("no")
		}},
		"long answer": {open: whole([]byte("a")), with: "a", answer: func(c *link.ServerCall, _ []byte) {
			if c.ReplyFinal(make([]byte, 9<<10)) {
				t.Error("ReplyLast has sent what is to wait for its turn")
			}
			_ = c.Reply(nil, []byte("a"), nil)
		}},
		"too long answer": {open: whole([]byte("a")), with: "a", answer: func(c *link.ServerCall, _ []byte) {
			if c.ReplyFinal(make([]byte, 5<<10)) {
				t.Error("ReplyLast has sent what is too long")
			}
			_ = c.Reply(nil, []byte("a"), nil)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				limits := link.Limits{Window: 20_000, MaxMessage: 4 << 10}
				if name == "long answer" {
					limits.MaxMessage = 0
				}
				m := newMesh(t, 1, limits)
				var got, handed []byte
				m.nodes[0].newHandler = func() link.CallHandler {
					return &embeddedHandler{serve: func(s *embeddedHandler) {
						c := &s.call
						if b := c.TakeRequest(); b != nil {
							handed = bytes.Clone(b.B)
							b.Free()
						} else if msg, err := c.Receive(); err != nil {
							_ = c.End(asError(err), nil)
							return
						} else {
							got = bytes.Clone(msg)
						}
						if _, err := c.Receive(); !errors.Is(err, io.EOF) {
							_ = c.End(asError(err), nil)
							return
						}
						if test.answer != nil {
							test.answer(c, handed)
						} else if !c.ReplyFinal(handed) {
							_ = c.Reply(nil, handed, nil)
						}
					}}
				}
				p, l := rawPeer(m, 0)
				for range 3 { // with what the call before has left
					got, handed = nil, nil
					open := openTo(0)
					open.StreamType = uint32(test.kind)
					test.open.Call, test.open.Open, test.open.Hops = 1, open, 5
					frames := []*linkv1.Frame{test.open}
					for _, f := range test.then {
						f.Call = 1
						frames = append(frames, f)
					}
					p.frames(frames...)
					ends, closed := p.ends()
					if end := ends[1]; closed != nil || end == nil || end.GetCode() != uint32(test.code) {
						t.Errorf("the call's end is %v, %v; want code %v", end, closed, test.code)
						break
					}
					if string(handed) != test.with || test.code == 0 && string(got) != test.next {
						t.Errorf("handed over %.20q, received %.20q", handed, got)
					}
					if h, held := l.accept.Handlers(), l.accept.Held(); h != 0 || held != 0 || l.accept.OpenCalls() != 0 {
						t.Errorf("%d handlers, %d bytes, %d calls are left", h, held, l.accept.OpenCalls())
					}
				}
				p.conn.Close(nil)
				m.close()
			})
		})
	}
}

// TestReplyLastBesideReceive has a handler answer while somebody that it has let the call to waits for more.
func TestReplyLastBesideReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{})
		var left error
		received, answer := make(chan struct{}), make(chan struct{})
		m.nodes[0].newHandler = func() link.CallHandler {
			return &embeddedHandler{serve: func(s *embeddedHandler) {
				go func() {
					_, left = s.call.Receive()
					close(received)
				}()
				<-answer
				if s.call.ReplyFinal([]byte("a")) {
					t.Error("ReplyLast has left the call to one who waits")
				}
				_ = s.call.Reply(nil, []byte("a"), nil)
				<-received
			}}
		}
		p, l := rawPeer(m, 0)
		p.frames(&linkv1.Frame{Call: 1, Hops: 5, Open: openTo(0)})
		synctest.Wait()
		close(answer)
		if ends, err := p.ends(); err != nil || ends[1] == nil || ends[1].GetCode() != 0 {
			t.Errorf("the call's end is %v, %v", ends[1], err)
		}
		if connect.CodeOf(left) != connect.CodeCanceled || l.accept.Handlers() != 0 {
			t.Errorf("Receive: %v; %d handlers are left", left, l.accept.Handlers())
		}
		p.conn.Close(nil)
		m.close()
	})
}

// TestDrainedWaitsForAnOpen: a session is not drained while a call's way is being decided, whatever comes of the call.
func TestDrainedWaitsForAnOpen(t *testing.T) {
	for name, to := range map[string]int{"served": 0, "refused": 7, "malformed": -1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 1, link.Limits{})
				answer := make(chan struct{})
				m.nodes[0].serve = func(c *link.ServerCall) {
					<-answer
					_ = c.Reply(nil, nil, nil)
				}
				p, l := rawPeer(m, 0)
				var drained <-chan struct{}
				m.nodes[0].onRoute = func() {
					drained = l.accept.Drained()
					if isClosed(drained) || l.accept.CloseIdle(nil) {
						t.Error("nothing seems to be open while a call is being taken in")
					}
				}
				open := openTo(max(to, 0))
				if to < 0 {
					open.Origin = open.Origin[1:]
				}
				p.frames(&linkv1.Frame{Call: 1, Hops: 5, Open: open})
				synctest.Wait()
				if to < 0 {
					drained = l.accept.Drained()
				}
				if got, want := isClosed(drained), to != 0; got != want {
					t.Errorf("drained: %v, want %v", got, want)
				}
				close(answer)
				synctest.Wait()
				if !isClosed(drained) {
					t.Error("not drained when the call has ended")
				}
				p.conn.Close(nil)
				m.close()
			})
		})
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestGoodbyeWhileOpening: a goodbye that is due while a call's way is being decided waits for the call to be taken in
// and counts it.
func TestGoodbyeWhileOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{})
		m.nodes[0].serve = func(c *link.ServerCall) { <-c.Context().Done() }
		p, l := rawPeer(m, 0)
		var closing sync.WaitGroup
		m.nodes[0].onRoute = func() {
			closing.Go(func() { l.accept.Close(nil) })
			time.Sleep(time.Millisecond) // fake time
			if p.conn.Buffered() > 0 {
				t.Error("the goodbye does not wait")
			}
		}
		p.frames(&linkv1.Frame{Call: 1, Hops: 5, Open: openTo(0)})
		for {
			packet, err := p.receive()
			if err != nil {
				t.Fatal(err)
			}
			if bye := packet.GetControls(); len(bye) > 0 && bye[0].GetGoodbye() != nil {
				if got := bye[0].GetGoodbye().GetTaken(); got != 1 {
					t.Errorf("the goodbye tells of %d calls", got)
				}
				break
			}
		}
		p.conn.Close(nil)
		closing.Wait()
		m.close()
	})
}

// TestRelaysAreRecycled has callers let go of calls through a relay just as their answers come, and others beside them:
// each gets its own answer or none.
func TestRelaysAreRecycled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		m := tryingChain(t, 3, link.Limits{Window: 300, MaxCalls: 64})
		m.nodes[0].serve, m.nodes[2].serve = echoUnary, echoUnary
		var callers sync.WaitGroup
		for i := range 8 {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			callers.Go(func() {
				for j := range 20 {
					msg := fmt.Appendf(nil, "%d.%d.%*d", i, j, random.IntN(600), 0)
					c := m.open(t.Context(), i%2*2, 2-i%2*2, link.Open{})
					let := make(chan struct{})
					go func() {
						for range random.IntN(4) * (j % 2) {
							<-time.After(0) // fake time
						}
						if j%2 == 1 {
							_ = c.Close()
						}
						close(let)
					}()
					if got, err := unary(c, msg); err == nil && !bytes.Equal(got, msg) {
						t.Errorf("got %.20q for %.20q", got, msg)
					} else if err != nil && j%2 == 0 {
						t.Errorf("%.20q: %v", msg, err)
					}
					<-let
				}
			})
		}
		callers.Wait()
		synctest.Wait()
		m.checkIdle()
		m.close()
	})
}
