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
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// callResult is how a unary call ended, as its caller can know.
type callResult struct {
	reply     string
	err       string
	code      connect.Code
	remote    bool
	certainty rpcmeshv1.CallFailure_Certainty
	failure   string
}

func resultOf(c *link.ClientCall, reply []byte, err error) callResult {
	v := callResult{reply: string(reply)}
	if err != nil {
		ce, _ := errors.AsType[*connect.Error](err)
		v.err, v.code, v.remote = err.Error(), connect.CodeOf(err), ce != nil && ce.IsRemote()
		v.certainty = c.Certainty()
		if f := c.Failure(); f != nil {
			v.failure = fmt.Sprintf("%v %v %x %s", f.GetCertainty(), f.GetByHandler(), f.GetNode(), f.GetNodeName())
		}
	}
	return v
}

// openOf is what calls from one node to another are opened with.
func openOf(to int) link.Open {
	return link.Open{Namespace: "default", Procedure: "/test.v1.Test/Call", Origin: nodeID(to), Hops: 16, CallerBlocks: true}
}

// prepare is the way from one node to another.
func (m *mesh) prepare(from, to int) *link.PreparedCall {
	m.tb.Helper()
	o := openOf(to)
	w, err := m.nodes[from].next[to].Prepare(&o)
	if err != nil {
		m.tb.Fatal(err)
	}
	return w
}

// callAsUnary makes a unary call in one go, or what it can of it. timeout 0 is none.
func callAsUnary(ctx context.Context, u *link.Unary, w *link.PreparedCall, to int, timeout time.Duration, msg []byte) (link.UnaryResult, callResult) {
	o := openOf(to)
	if timeout > 0 {
		o.Deadline = time.Now().Add(timeout)
	}
	switch progress := u.Do(ctx, w, o.Deadline, timeout, msg); progress {
	case link.Answered:
		return progress, callResult{reply: string(u.Answer())}
	case link.Unfinished:
		var c link.ClientCall
		o.ResponseHeader, o.ResponseTrailer = new(connect.Header), new(connect.Header)
		u.ToClientCall(ctx, o, &c)
		defer c.Close()
		if c.Send(msg) == nil {
			return progress, callResult{err: "the call takes a second request"}
		}
		reply, err := receiveOnly(&c)
		return progress, resultOf(&c, reply, err)
	default:
		return progress, callResult{}
	}
}

// callAsClientCall makes the same call in the other way.
func (m *mesh) callAsClientCall(ctx context.Context, from, to int, timeout time.Duration, msg []byte) callResult {
	o := openOf(to)
	if timeout > 0 {
		o.Deadline = time.Now().Add(timeout)
	}
	o.ResponseHeader, o.ResponseTrailer = new(connect.Header), new(connect.Header)
	c := m.open(ctx, from, to, o)
	defer c.Close()
	if err := c.Send(msg); err != nil && !errors.Is(err, io.EOF) {
		return resultOf(c, nil, err)
	}
	reply, err := receiveOnly(c)
	return resultOf(c, reply, err)
}

var errMore = errors.New("more than one response")

// receiveOnly returns the one response of a call that ends well.
func receiveOnly(c *link.ClientCall) ([]byte, error) {
	reply, err := c.Receive()
	if err != nil {
		return nil, err
	}
	reply = append([]byte{}, reply...)
	switch _, err := c.Receive(); {
	case err == nil:
		return nil, errMore
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return reply, nil
}

// answers are what a handler can do about a unary call, and how far a Unary comes with it.
var answers = map[string]struct {
	serve func(*link.ServerCall)
	want  link.UnaryResult
}{
	"an answer":       {echoUnary, link.Answered},
	"an empty answer": {func(c *link.ServerCall) { _ = c.Reply(nil, nil, nil) }, link.Answered},
	"1 KiB":           {func(c *link.ServerCall) { _ = c.Reply(nil, make([]byte, 1<<10), nil) }, link.Answered},
	"8 KiB":           {func(c *link.ServerCall) { _ = c.Reply(nil, make([]byte, 8<<10), nil) }, link.Answered},
	"more than that":  {func(c *link.ServerCall) { _ = c.Reply(nil, make([]byte, 8<<10+1), nil) }, link.Unfinished},
	"in pieces":       {func(c *link.ServerCall) { _ = c.Reply(nil, make([]byte, 900_000), nil) }, link.Unfinished},
	"headers":         {func(c *link.ServerCall) { _ = c.Reply(header("A", "b"), []byte("x"), nil) }, link.Unfinished},
	"headers first": {func(c *link.ServerCall) {
		_ = c.SendHeaders(header("A", "b"))
		time.Sleep(time.Second) // fake time
		_ = c.Reply(nil, []byte("x"), nil)
	}, link.Unfinished},
	"trailers":   {func(c *link.ServerCall) { _ = c.Reply(nil, []byte("x"), header("A", "b")) }, link.Unfinished},
	"no answer":  {func(c *link.ServerCall) { _ = c.End(nil, nil) }, link.Unfinished},
	"an error":   {func(c *link.ServerCall) { _ = c.End(connect.NewError(connect.CodeNotFound, "no"), nil) }, link.Unfinished},
	"a panic":    {func(*link.ServerCall) { panic("no") }, link.Unfinished},
	"not begun":  {func(c *link.ServerCall) { _ = c.Fail(connect.NewError(connect.CodeAborted, "no"), declined()) }, link.Unfinished},
	"end behind": {func(c *link.ServerCall) { _ = c.Send([]byte("x")); _ = c.End(nil, nil) }, link.Unfinished},
	"two answers": {func(c *link.ServerCall) {
		_ = c.Send([]byte("x"))
		_ = c.Reply(nil, []byte("y"), nil)
	}, link.Unfinished},
	"an answer and an error": {func(c *link.ServerCall) {
		_ = c.Send([]byte("x"))
		_ = c.End(connect.NewError(connect.CodeDataLoss, "no"), nil)
	}, link.Unfinished},
}

func declined() *rpcmeshv1.CallFailure {
	return &rpcmeshv1.CallFailure{Certainty: rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, ByHandler: true}
}

// TestUnaryLikeAnyCall: whatever becomes of a call, it is the same in one go as in the other way, and each Unary is
// as good as new after it.
func TestUnaryLikeAnyCall(t *testing.T) {
	for relays := range 2 {
		synctest.Test(t, func(t *testing.T) {
			m := chain(t, 2+relays, link.Limits{Window: 50_000})
			u, w := link.NewUnary(), m.prepare(0, 1+relays)
			for name, answer := range answers {
				m.nodes[1+relays].serve = answer.serve
				for range 2 {
					progress, got := callAsUnary(t.Context(), u, w, 1+relays, time.Hour, []byte("request"))
					want := m.callAsClientCall(t.Context(), 0, 1+relays, time.Hour, []byte("request"))
					if progress != answer.want || got != want {
						t.Errorf("%s, %d relays: progress %v, %.200v\nwant %v, %.200v", name, relays, progress, got, answer.want, want)
					}
				}
			}
			synctest.Wait()
			m.checkIdle()
			m.close()
		})
	}
}

// unaryArrival is what a handler finds of a call.
type unaryArrival struct {
	callee  link.Callee
	caller  string
	timeout time.Duration
}

// TestUnaryArrives: the handler finds what it finds of any other call.
func TestUnaryArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{})
		arrived := make(chan unaryArrival, 1)
		m.nodes[1].serve = func(c *link.ServerCall) {
			a := unaryArrival{callee: *c.Callee(), caller: fmt.Sprintf("%+v", c.Caller())}
			a.callee.Cached = false
			if deadline, limited := c.Context().Deadline(); limited {
				a.timeout = time.Until(deadline)
			}
			arrived <- a
			echoUnary(c)
		}
		for _, caller := range []*link.Caller{nil, {Node: nodeID(3), Name: "who"}} {
			for _, timeout := range []time.Duration{0, time.Nanosecond << 10, 48 * time.Hour} {
				o := openOf(1)
				o.OriginNamespace, o.Caller = "other", caller
				w, err := m.nodes[0].next[1].Prepare(&o)
				if err != nil {
					t.Fatal(err)
				}
				deadline := time.Time{}
				if timeout > 0 {
					deadline = time.Now().Add(timeout)
				}
				if progress := link.NewUnary().Do(t.Context(), w, deadline, timeout, nil); progress != link.Answered {
					t.Fatal(progress)
				}
				got := <-arrived
				o.Deadline, o.CallerBlocks = deadline, false
				if _, err := unary(m.open(t.Context(), 0, 1, o), nil); err != nil {
					t.Fatal(err)
				}
				if want := <-arrived; got != want || got.timeout != timeout {
					t.Errorf("got %+v\nwant %+v", got, want)
				}
			}
		}
		m.close()
	})
}

// TestUnaryUnsent: where a call cannot go in one go nothing is done at all.
func TestUnaryUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 2, link.Limits{MaxMessage: 100})
		m.nodes[1].cfg.Limits.MaxCalls = 1
		m.linkRow()
		m.nodes[1].serve = wait
		u, w := link.NewUnary(), m.prepare(0, 1)
		unsent := func(why string, msg []byte) {
			t.Helper()
			if progress := u.Do(t.Context(), w, time.Time{}, 0, msg); progress != link.Unsent {
				t.Errorf("%s: %v", why, progress)
			}
		}
		unsent("a long message", make([]byte, 101))
		c := m.open(t.Context(), 0, 1, link.Open{})
		if err := c.Send(nil); err != nil {
			t.Fatal(err)
		}
		unsent("as many calls as may be", nil)
		_ = c.Close()
		synctest.Wait()
		m.nodes[1].serve = echoUnary
		if progress, got := callAsUnary(t.Context(), u, w, 1, 0, []byte("x")); progress != link.Answered || got.reply != "x" {
			t.Errorf("after all that: %v, %v", progress, got)
		}
		opens := m.opens()
		m.links[0].dialler.Close(nil)
		unsent("a link that is closed", nil)
		if m.opens() != opens {
			t.Error("a call arrived all the same")
		}
		m.checkIdle()
		m.close()
	})
}

// TestUnaryMemory: an answer that is longer than what goes with each call counts until its caller has it, and goes
// the other way where there is no memory for it.
func TestUnaryMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{Memory: 1 << 20})
		s := m.nodes[0].next[1]
		held := make(chan int, 1)
		m.nodes[1].serve = func(c *link.ServerCall) { _ = c.Reply(nil, make([]byte, 5000), nil) }
		u, w := link.NewUnary(), m.prepare(0, 1)
		for range 3 {
			if progress, _ := callAsUnary(t.Context(), u, w, 1, 0, nil); progress != link.Answered {
				t.Error(progress)
			}
			held <- s.Held()
			if n := <-held; n != 0 {
				t.Errorf("%d bytes are held", n)
			}
		}
		s.Hold(1<<20 - 4000)
		if progress, got := callAsUnary(t.Context(), u, w, 1, 0, nil); progress != link.Unsent {
			t.Errorf("without room for a window: %v, %v", progress, got)
		}
		m.nodes[1].serve = func(c *link.ServerCall) {
			s.Hold(1<<20 - 4000)
			_ = c.Reply(nil, make([]byte, 5000), nil)
		}
		s.Hold(-(1<<20 - 4000))
		if progress, got := callAsUnary(t.Context(), u, w, 1, 0, nil); progress != link.Unfinished || got.code != connect.CodeResourceExhausted {
			t.Errorf("without memory for the answer: %v, %v", progress, got)
		}
		s.Hold(-(1<<20 - 4000))
		synctest.Wait()
		m.checkIdle()
		m.close()
	})
}

// TestUnaryReceiveAfterCancel: when a call has been let go of, its handler gets its request no more, and its caller
// no answer.
func TestUnaryReceiveAfterCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{})
		got := make(chan error, 1)
		m.nodes[1].serve = func(c *link.ServerCall) {
			<-c.Context().Done()
			msg, err := c.Receive()
			if err == nil {
				t.Errorf("the handler receives %q", msg)
			}
			got <- err
			_ = c.Reply(nil, msg, nil)
		}
		u, w := link.NewUnary(), m.prepare(0, 1)
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			progress, v := callAsUnary(ctx, u, w, 1, 0, []byte("request"))
			if progress != link.Unfinished || v.code != connect.CodeDeadlineExceeded || v.reply != "" {
				t.Errorf("the caller has %v, %v", progress, v)
			}
			if err := <-got; connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Errorf("the handler has %v", err)
			}
			cancel()
		}
		m.nodes[1].serve = echoUnary
		if progress, v := callAsUnary(t.Context(), u, w, 1, 0, []byte("x")); progress != link.Answered || v.reply != "x" {
			t.Errorf("after that: %v, %v", progress, v)
		}
		synctest.Wait()
		m.checkIdle()
		m.close()
	})
}

// TestUnaryLost: of a call whose link ends its caller knows as much as of any other.
func TestUnaryLost(t *testing.T) {
	for name, end := range map[string]func(*mesh){
		"cut":     func(m *mesh) { m.links[0].near.Cut() },
		"closed":  func(m *mesh) { m.links[0].dialler.Close(&linkv1.Goodbye{Reason: "why"}) },
		"goodbye": func(m *mesh) { m.links[0].accept.Close(&linkv1.Goodbye{Leaving: true}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got [2]callResult
				for i := range got {
					m := chain(t, 2, link.Limits{})
					m.nodes[1].serve = wait
					time.AfterFunc(time.Second, func() { end(m) })
					if i > 0 {
						got[i] = m.callAsClientCall(t.Context(), 0, 1, 0, nil)
					} else {
						_, got[i] = callAsUnary(t.Context(), link.NewUnary(), m.prepare(0, 1), 1, 0, nil)
					}
					synctest.Wait()
					m.close()
				}
				if got[0] != got[1] || got[0].err == "" {
					t.Errorf("got  %v\nwant %v", got[0], got[1])
				}
			})
		})
	}
}

// FuzzAnswer has the peer say anything for an answer: a Unary finds the same in it as any other call.
func FuzzAnswer(f *testing.F) {
	for _, frames := range [][]*linkv1.Frame{
		{{Call: 2, Data: []byte("x"), End: &linkv1.End{}}},
		{{Call: 2, Data: []byte("x")}, {Call: 2, End: &linkv1.End{}}},
		{{Call: 2, Data: []byte("x"), More: true}, {Call: 2, Data: []byte("y"), End: &linkv1.End{}}},
		{{Call: 2, Data: []byte("x"), More: true, End: &linkv1.End{}}},
		{{Call: 2, Data: []byte("x"), Window: 1 << 31, End: &linkv1.End{}}},
		{{Call: 2, Data: []byte("x"), Headers: &linkv1.Headers{}, End: &linkv1.End{}}},
		{{Call: 2, Data: []byte("x"), End: &linkv1.End{}}, {Call: 2, Data: []byte("x"), End: &linkv1.End{}}},
		{{Call: 2, Data: []byte("x"), End: &linkv1.End{Code: 3, Message: "no"}}, {Call: 4, End: &linkv1.End{}}},
		{{Call: 2, Window: 3}, {Call: 2, Data: []byte("x"), End: &linkv1.End{}}},
	} {
		raw, err := proto.Marshal(&linkv1.Packet{Frames: frames})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, len(raw)/2)
		f.Add(raw, len(raw))
	}
	f.Fuzz(func(t *testing.T, said []byte, cut int) {
		synctest.Test(t, func(t *testing.T) {
			var got [2]callResult
			for i := range got {
				m := newMesh(t, 1, link.Limits{Window: 100})
				p, l := rawPeer(m, 0)
				m.nodes[0].next[7] = l.accept
				time.AfterFunc(time.Second, func() {
					if cut > 0 && cut < len(said) {
						p.sendRaw(said[:cut])
						p.sendRaw(said[cut:])
					} else {
						p.sendRaw(said)
					}
					synctest.Wait()
					p.conn.Close(nil)
				})
				if i > 0 {
					got[i] = m.callAsClientCall(t.Context(), 0, 7, 0, []byte("request"))
				} else {
					_, got[i] = callAsUnary(t.Context(), link.NewUnary(), m.prepare(0, 7), 7, 0, []byte("request"))
				}
				time.Sleep(time.Minute) // fake time
				m.close()
			}
			if got[0] != got[1] {
				t.Errorf("got  %+v\nwant %+v", got[0], got[1])
			}
		})
	})
}
