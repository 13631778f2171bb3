package link_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// rawPeer dials a node of m and then says what it likes.
func rawPeer(m *mesh, to int) (*peer, *testLink) {
	near, far := linktest.PipeSize(16 << 20)
	l := &testLink{from: -1, to: to, near: near, far: far}
	p := &peer{m.tb, near}
	cfg := m.nodes[to].cfg
	cfg.Secret, cfg.AcceptAnyone = nil, true
	p.control(hello(func(*linkv1.Hello) {}))
	p.control(proof(nil))
	p.control(join(func(j *linkv1.Join) { j.Window = 1000 }))
	var err error
	l.accept, err = link.Accept(m.tb.Context(), far, cfg, func(link.Peer) (*linkv1.Join, error) { return nil, nil })
	if err != nil {
		m.tb.Fatal(err)
	}
	for range 3 {
		if _, err := p.receive(); err != nil {
			m.tb.Fatal(err)
		}
	}
	m.runs.Go(func() { l.farEnd = l.accept.Run(m.nodes[to]) })
	return p, l
}

// ends reads until there is nothing more to read, or the connection has ended, and returns how each
// call ended.
func (p *peer) ends() (ends map[uint32]*linkv1.End, closed error) {
	ends = make(map[uint32]*linkv1.End)
	for {
		if p.conn.Buffered() == 0 {
			synctest.Wait()
			if p.conn.Buffered() == 0 && !p.conn.Closed() {
				return ends, nil
			}
		}
		packet, err := p.receive()
		if err != nil {
			return ends, err
		}
		for _, f := range packet.GetFrames() {
			if f.GetEnd() != nil {
				ends[f.GetCall()] = f.GetEnd()
			}
		}
	}
}

func openTo(to int) *linkv1.Open {
	id := nodeID(to)
	return &linkv1.Open{Namespace: "default", Procedure: "/p", Origin: id[:], StreamType: 3}
}

// TestOpenBeforeTheEnd has a dialler use a call's id again before it can know that the call has ended: a breach,
// unless the end was on its way already, which happens now and then.
func TestOpenBeforeTheEnd(t *testing.T) {
	for to := range 2 {
		breaches := 0
		for range 20 {
			synctest.Test(t, func(t *testing.T) {
				m := chain(t, 2, link.Limits{Window: 1000})
				m.nodes[to].serve = echo
				p, l := rawPeer(m, 0)
				open := &linkv1.Frame{Call: 1, Open: openTo(to), Hops: 5}
				p.frames(open, &linkv1.Frame{Call: 1, Cancel: 1}, open)
				ends, closed := p.ends()
				p.conn.Close(nil)
				synctest.Wait()
				switch {
				case closed != nil:
					breaches++
					ended(t, l.farEnd, link.EndViolation)
				case ends[1].GetCode() != uint32(connect.CodeCanceled):
					t.Errorf("neither a breach nor the end of a call that was canceled: %v", ends)
				}
				m.checkIdle()
				m.close()
			})
		}
		if breaches < 10 {
			t.Errorf("at node %d it was a breach %d times of 20", to, breaches)
		}
	}
}

// TestViolations has a dialler break the rules towards a node that is the origin of its call (node 0)
// or that relays it (to node 1). What must close the link closes it; what must end the call ends it;
// what must be skipped is skipped. The link behind the relay is not harmed.
func TestViolations(t *testing.T) {
	const closes = connect.Code(99)
	some := new(linkv1.Open) // stands for openTo
	frames := func(f ...*linkv1.Frame) func(*peer, int) {
		return func(p *peer, to int) {
			var said []*linkv1.Frame
			for _, frame := range f {
				isSome := frame.Open == some
				frame = proto.CloneOf(frame)
				if isSome {
					frame.Open = openTo(to)
				}
				if frame.Open != nil {
					frame.Hops = 5
				}
				said = append(said, frame)
			}
			p.frames(said...)
		}
	}
	raw := func(b ...byte) func(*peer, int) { return func(p *peer, _ int) { p.sendRaw(b) } }
	big := make([]byte, 32<<10)
	origin := make([]byte, 16)
	origin[15] = 1

	// A handler that receives at once may grant a window, or end the call, before the next frame is looked at.
	holds := map[string]bool{"beyond the window": true, "data after close_send": true}

	for name, test := range map[string]struct {
		say  func(p *peer, to int)
		want connect.Code // of call 1; 0 for none
	}{
		"garbage":                  {raw(0xff, 0xff, 0xff), closes},
		"truncated":                {raw(0x12, 0x50, 0x0d), closes},
		"frame without call":       {raw(0x12, 2, 0x40, 1), closes},
		"call 0":                   {frames(&linkv1.Frame{Call: 0, CloseSend: true}), closes},
		"long packet":              {raw(append([]byte{15<<3 | 2, 0x80, 0x80, 0x10}, make([]byte, 256<<10)...)...), closes},
		"hello":                    {func(p *peer, _ int) { p.control(hello(func(*linkv1.Hello) {})) }, closes},
		"proof":                    {func(p *peer, _ int) { p.control(proof(nil)) }, closes},
		"join":                     {func(p *peer, _ int) { p.control(join(func(*linkv1.Join) {})) }, closes},
		"malformed control":        {raw(0x0a, 2, 0x0a, 0x50), closes},
		"open of the other's":      {frames(&linkv1.Frame{Call: 2, Open: some}), closes},
		"headers by opener":        {frames(&linkv1.Frame{Call: 1, Open: some, Headers: &linkv1.Headers{}}), closes},
		"end by opener":            {frames(&linkv1.Frame{Call: 1, End: &linkv1.End{}}), closes},
		"id beyond the limit":      {frames(&linkv1.Frame{Call: 2*65536 + 1, Open: some}), closes},
		"any id beyond it":         {frames(&linkv1.Frame{Call: 1<<32 - 1, Data: big}), closes},
		"open twice":               {frames(&linkv1.Frame{Call: 1, Open: some}, &linkv1.Frame{Call: 1, Open: some}), closes},
		"too much data in a frame": {frames(&linkv1.Frame{Call: 1, Open: some, Data: make([]byte, 32<<10+1)}), closes},

		"beyond the window": {frames(
			&linkv1.Frame{Call: 1, Open: some, Data: big, More: true},
			&linkv1.Frame{Call: 1, Data: big, More: true},
			&linkv1.Frame{Call: 1, Data: big, More: true},
		), connect.CodeResourceExhausted},
		"data after close_send": {frames(
			&linkv1.Frame{Call: 1, Open: some, CloseSend: true},
			&linkv1.Frame{Call: 1, Data: []byte{1}},
		), connect.CodeInvalidArgument},
		"much credit": {frames(
			&linkv1.Frame{Call: 1, Open: some, Window: 1<<31 - 1},
			&linkv1.Frame{Call: 1, Window: 1<<31 - 1},
		), connect.CodeResourceExhausted},
		"huge credit":      {frames(&linkv1.Frame{Call: 1, Open: some, Window: 1<<32 - 1}), connect.CodeResourceExhausted},
		"short origin":     {frames(&linkv1.Frame{Call: 1, Open: &linkv1.Open{Origin: origin[1:]}}), connect.CodeInvalidArgument},
		"long namespace":   {frames(&linkv1.Frame{Call: 1, Open: &linkv1.Open{Origin: origin, Namespace: string(big[:256])}}), connect.CodeInvalidArgument},
		"malformed open":   {raw(0x12, 9, 0x0d, 1, 0, 0, 0, 0x1a, 2, 0x0a, 0x50), connect.CodeInvalidArgument},
		"canceled":         {frames(&linkv1.Frame{Call: 1, Open: some}, &linkv1.Frame{Call: 1, Cancel: 1}), connect.CodeCanceled},
		"time is up":       {frames(&linkv1.Frame{Call: 1, Open: some}, &linkv1.Frame{Call: 1, Cancel: 4}), connect.CodeDeadlineExceeded},
		"canceled at once": {frames(&linkv1.Frame{Call: 1, Open: some, Cancel: 77}), connect.CodeCanceled},
		"cut short": {frames(
			&linkv1.Frame{Call: 1, Open: some, Data: []byte("x"), More: true},
			&linkv1.Frame{Call: 1, CloseSend: true},
		), connect.CodeInvalidArgument},

		"unknown call":     {frames(&linkv1.Frame{Call: 5, Data: []byte{1}}, &linkv1.Frame{Call: 6, End: &linkv1.End{}}), 0},
		"unknown control":  {raw(0x0a, 3, 15<<3|2, 1, 0), 0},
		"unknown part":     {raw(15<<3|2, 1, 0), 0},
		"unknown in frame": {raw(0x12, 8, 0x0d, 1, 0, 0, 0, 15<<3|2, 1, 0), 0},
		"no control":       {raw(0x0a, 0), 0},
		"empty":            {raw(), 0},
	} {
		for to := range 2 {
			t.Run(name+[]string{" at an origin", " at a relay"}[to], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := chain(t, 2, link.Limits{Window: 1000})
					m.nodes[to].serve = echo
					if holds[name] {
						m.nodes[to].serve = func(c *link.ServerCall) { <-c.Context().Done() }
					}
					p, l := rawPeer(m, 0)
					test.say(p, to)
					ends, closed := p.ends()
					switch {
					case test.want == closes:
						ce, ok := errors.AsType[*connect.Error](closed)
						if !ok || !ce.IsRemote() {
							t.Errorf("the link ended with %v", closed)
						}
					case closed != nil:
						t.Errorf("the link ended with %v", closed)
					case test.want != 0 && ends[1].GetCode() != uint32(test.want), test.want == 0 && len(ends) > 0:
						t.Errorf("ends %v; want %v", ends, test.want)
					}
					m.nodes[1].serve = echoUnary
					if reply, err := unary(m.open(t.Context(), 0, 1, link.Open{}), []byte("x")); string(reply) != "x" {
						t.Errorf("a call on the link behind: %q, %v", reply, err)
					}
					p.conn.Close(nil)
					synctest.Wait()
					if test.want == closes {
						ended(t, l.farEnd, link.EndViolation)
					} else {
						ended(t, l.farEnd, link.EndBroken)
					}
					m.checkIdle()
					m.close()
				})
			})
		}
	}
}

// TestBadAnswers has the answering end break the rules.
func TestBadAnswers(t *testing.T) {
	big := make([]byte, 32<<10)
	for name, test := range map[string]struct {
		say    []*linkv1.Frame
		want   connect.Code
		closes bool
	}{
		"open":         {[]*linkv1.Frame{{Call: 2, Open: openTo(0)}}, connect.CodeUnavailable, true},
		"close_send":   {[]*linkv1.Frame{{Call: 2, CloseSend: true}}, connect.CodeUnavailable, true},
		"cancel":       {[]*linkv1.Frame{{Call: 2, Cancel: 1}}, connect.CodeUnavailable, true},
		"two headers":  {[]*linkv1.Frame{{Call: 2, Headers: &linkv1.Headers{}}, {Call: 2, Headers: &linkv1.Headers{}}}, connect.CodeInternal, false},
		"late headers": {[]*linkv1.Frame{{Call: 2, Data: []byte{}}, {Call: 2, Headers: &linkv1.Headers{}}}, connect.CodeInternal, false},
		"beyond the window": {[]*linkv1.Frame{
			{Call: 2, Data: big, More: true}, {Call: 2, Data: big, More: true}, {Call: 2, Data: big, More: true},
		}, connect.CodeResourceExhausted, false},
		"cut short":     {[]*linkv1.Frame{{Call: 2, Data: big, More: true}, {Call: 2, End: &linkv1.End{}}}, connect.CodeInternal, false},
		"unknown code":  {[]*linkv1.Frame{{Call: 2, End: &linkv1.End{Code: 4711}}}, 4711, false},
		"after the end": {[]*linkv1.Frame{{Call: 2, End: &linkv1.End{Code: 5}}, {Call: 2, Data: big}, {Call: 2, End: &linkv1.End{}}}, connect.CodeNotFound, false},
	} {
		for relays := range 2 {
			t.Run(name+[]string{" at the caller", " at a relay"}[relays], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := chain(t, 1+relays, link.Limits{Window: 1000})
					p, l := rawPeer(m, relays)
					m.nodes[0].next[7] = l.accept
					if relays > 0 {
						m.nodes[0].next[7], m.nodes[1].next[7] = m.session(0, 1), l.accept
					}
					c := m.open(t.Context(), 0, 7, link.Open{StreamType: connect.StreamTypeBidi})
					if err := c.SendHeaders(); err != nil {
						t.Fatal(err)
					}
					if packet, err := p.receive(); err != nil || packet.GetFrames()[0].GetCall() != 2 {
						t.Fatalf("open arrives as %v, %v", packet, err)
					}
					p.frames(test.say...)
					synctest.Wait()
					var err error
					for err == nil {
						_, err = c.Receive()
					}
					if connect.CodeOf(err) != test.want {
						t.Errorf("the call ended with %v", err)
					}
					_ = c.Close()
					p.frames(&linkv1.Frame{Call: 2, End: &linkv1.End{}}) // what a cancel is answered with
					if _, closed := p.ends(); (closed != nil) != test.closes {
						t.Errorf("the link ended with %v", closed)
					}
					m.checkIdle()
					p.conn.Close(nil)
					m.close()
				})
			})
		}
	}
}

// TestWindowIsForOneLink has a dialler grant a relay much, in the frame that opens the call: the next link
// must not take that for its own window.
func TestWindowIsForOneLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := chain(t, 2, link.Limits{Window: 1000})
		m.nodes[1].serve = func(c *link.ServerCall) {
			for range 10 {
				if err := c.Send(make([]byte, 5000)); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
			_ = c.End(nil, nil)
		}
		p, _ := rawPeer(m, 0)
		p.frames(&linkv1.Frame{Call: 1, Hops: 1, Open: openTo(1), Window: 1 << 30, Data: []byte("x")})
		ends, closed := p.ends()
		if end := ends[1]; closed != nil || end == nil || end.GetCode() != 0 {
			t.Errorf("the call ended with %v, the link with %v", end, closed)
		}
		p.conn.Close(nil)
		m.close()
	})
}

// TestHandlerDeadline has a caller that says how much time there is, and then nothing.
func TestHandlerDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{})
		m.nodes[0].serve = func(c *link.ServerCall) {
			start := time.Now()
			_, err := c.Receive()
			if connect.CodeOf(err) != connect.CodeDeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Receive: %v", err)
			}
			if err := c.Send(nil); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Errorf("Send: %v", err)
			}
			if took := time.Since(start); took != 120*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			_ = c.End(asError(err), nil)
		}
		p, _ := rawPeer(m, 0)
		open := openTo(0)
		open.Timeout = int64(120 * time.Millisecond)
		p.frames(&linkv1.Frame{Call: 1, Open: open})
		time.Sleep(time.Second) // fake time
		ends, closed := p.ends()
		if ends[1].GetCode() != uint32(connect.CodeDeadlineExceeded) || closed != nil {
			t.Errorf("the call ended with %v, the link with %v", ends[1], closed)
		}
		p.conn.Close(nil)
		m.close()
	})
}

// TestRapidReset has a dialler open and cancel calls whose handlers take no notice.
func TestRapidReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{MaxCalls: 10})
		release := make(chan struct{})
		running, most := 0, 0
		m.nodes[0].serve = func(*link.ServerCall) {
			m.nodes[0].mu.Lock()
			running++
			most = max(most, running)
			m.nodes[0].mu.Unlock()
			<-release
			m.nodes[0].mu.Lock()
			running--
			m.nodes[0].mu.Unlock()
		}
		p, _ := rawPeer(m, 0)
		exhausted := 0
		for range 100 {
			p.frames(&linkv1.Frame{Call: 1, Open: openTo(0)}, &linkv1.Frame{Call: 1, Cancel: 1})
			ends, closed := p.ends()
			if closed != nil {
				t.Fatal(closed)
			}
			if ends[1].GetCode() == uint32(connect.CodeResourceExhausted) {
				exhausted++
			}
		}
		if exhausted != 90 || most != 10 {
			t.Errorf("%d handlers ran at once, %d calls were refused", most, exhausted)
		}
		close(release)
		p.conn.Close(nil)
		m.close()
	})
}

// TestControlFlood has a dialler ask for pongs that it does not read.
func TestControlFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 1, link.Limits{})
		p, l := rawPeer(m, 0)
		p.conn.Pause()
		ping := &linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: 7}}}
		many := make([]*linkv1.Control, 10_000)
		for i := range many {
			many[i] = ping
		}
		for range 10 {
			p.send(&linkv1.Packet{Controls: many})
			synctest.Wait()
		}
		if n := p.conn.Buffered(); n > 1000 {
			t.Errorf("%d bytes of pongs", n)
		}
		p.conn.Resume()
		if _, closed := p.ends(); closed != nil {
			t.Error(closed)
		}
		p.conn.Close(nil)
		m.close()
		ended(t, l.farEnd, link.EndBroken)
	})
}

// FuzzSession has a node that serves and relays meet somebody who says anything, in one packet after
// another. Whatever it is, the node's other link and the calls on it are not harmed.
func FuzzSession(f *testing.F) {
	add := func(frames ...*linkv1.Frame) {
		raw, err := proto.Marshal(&linkv1.Packet{Frames: frames})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, len(raw)/2)
	}
	for to := range 2 {
		add(&linkv1.Frame{Call: 1, Hops: 3, Open: openTo(to), Data: []byte("x"), CloseSend: true})
		add(&linkv1.Frame{Call: 1, Hops: 3, Open: openTo(to), Window: 5}, &linkv1.Frame{Call: 1, Data: []byte("x"), Window: 3},
			&linkv1.Frame{Call: 1, Cancel: 1})
		add(&linkv1.Frame{Call: 3, Open: openTo(to)}, &linkv1.Frame{Call: 2, Headers: &linkv1.Headers{}, End: &linkv1.End{Code: 3}})
	}
	f.Fuzz(func(t *testing.T, said []byte, cut int) {
		m := chain(t, 2, link.Limits{Window: 100, MaxCalls: 100})
		m.nodes[0].serve, m.nodes[1].serve = echo, echo
		p, l := rawPeer(m, 0)
		m.nodes[0].next[7] = l.accept
		c := m.open(t.Context(), 0, 7, link.Open{})
		_ = c.SendHeaders()
		if cut >= 0 && cut < len(said) {
			p.sendRaw(said[:cut])
			said = said[cut:]
		}
		p.sendRaw(said)
		_ = c.Close()
		p.conn.Close(nil)
		if reply, err := unary(m.open(t.Context(), 0, 1, link.Open{}), []byte("x")); string(reply) != "x" {
			t.Errorf("a call on the other link: %q, %v", reply, err)
		}
		m.close()
	})
}
