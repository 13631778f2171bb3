package link_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// handshakeCase is the outcome of a handshake between two ends.
type handshakeCase struct {
	dialler, listener        *link.Session
	dialErr, acceptErr       error
	answered                 bool
	dialConn, listenConn     *linktest.Conn
	dialConfig, acceptConfig link.Config
}

// newHandshakeCase runs a handshake after change has had its way with it.
func newHandshakeCase(change func(*handshakeCase)) *handshakeCase {
	g := new(handshakeCase)
	g.dialConn, g.listenConn = linktest.Pipe()
	g.dialConfig, g.acceptConfig = newNode(0, link.Limits{}).cfg, newNode(1, link.Limits{}).cfg
	change(g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.listener, g.acceptErr = link.Accept(context.Background(), g.listenConn, g.acceptConfig,
			func(link.Peer) (*linkv1.Join, error) {
				g.answered = true
				return &linkv1.Join{Info: &linkv1.NodeInfo{Name: "listener"}}, nil
			})
	}()
	g.dialler, g.dialErr = link.Dial(context.Background(), g.dialConn, g.dialConfig,
		&linkv1.Join{Info: &linkv1.NodeInfo{Name: "dialler"}})
	<-done
	g.dialConn.Close(nil)
	g.listenConn.Close(nil)
	return g
}

func TestHandshake(t *testing.T) {
	for name, change := range map[string]func(*handshakeCase){
		"secret": func(*handshakeCase) {},
		"anyone": func(g *handshakeCase) {
			for _, cfg := range []*link.Config{&g.dialConfig, &g.acceptConfig} {
				cfg.Secret, cfg.AcceptAnyone = nil, true
			}
		},
		"binding": func(g *handshakeCase) {
			g.dialConn.SetBinding([]byte("exported"))
			g.listenConn.SetBinding([]byte("exported"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testHandshake(t, change) })
		})
	}
}

func testHandshake(t *testing.T, change func(*handshakeCase)) {
	g := newHandshakeCase(func(g *handshakeCase) {
		change(g)
		g.dialConfig.Features, g.dialConfig.Limits.Window = []string{"f", "g"}, 1234
		g.dialConfig.Incarnation = 77
	})
	if err := errors.Join(g.dialErr, g.acceptErr); err != nil {
		t.Fatal(err)
	}
	p := g.listener.Peer()
	if p.Node != nodeID(0) || p.Incarnation != 77 || strings.Join(p.Features, ",") != "f,g" ||
		p.Join.GetInfo().GetName() != "dialler" || p.Join.GetWindow() != 1234 || p.Join.GetMaxCalls() != 65536 ||
		p.Join.GetMaxMessage() != 4<<20 {
		t.Errorf("the listener sees %+v", p)
	}
	p = g.dialler.Peer()
	if p.Node != nodeID(1) || p.Join.GetInfo().GetName() != "listener" || p.Join.GetWindow() != 256<<10 {
		t.Errorf("the dialler sees %+v", p)
	}
}

func TestAnswerRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := linktest.Pipe()
		go func() {
			_, err := link.Accept(t.Context(), far, newNode(1, link.Limits{}).cfg,
				func(p link.Peer) (*linkv1.Join, error) {
					if p.Join == nil || p.Node != nodeID(0) {
						t.Errorf("answer is given %+v", p)
					}
					return nil, connect.NewError(connect.CodePermissionDenied, "not you")
				})
			if connect.CodeOf(err) != connect.CodePermissionDenied {
				t.Errorf("Accept: %v", err)
			}
		}()
		_, err := link.Dial(t.Context(), near, newNode(0, link.Limits{}).cfg, nil)
		ce, _ := errors.AsType[*connect.Error](err)
		if ce.Code() != connect.CodePermissionDenied || ce.Message() != "not you" || !ce.IsRemote() {
			t.Errorf("Dial: %v", err)
		}
		synctest.Wait()
	})
}

func TestConfigRefused(t *testing.T) {
	for name, change := range map[string]func(*link.Config){
		"no secret":         func(c *link.Config) { c.Secret = nil },
		"secret and anyone": func(c *link.Config) { c.AcceptAnyone = true },
		"no workers":        func(c *link.Config) { c.Workers = nil },
		"window":            func(c *link.Config) { c.Limits.Window = -1 },
		"message":           func(c *link.Config) { c.Limits.MaxMessage = -1 },
		"calls":             func(c *link.Config) { c.Limits.MaxCalls = 1 << 30 },
		"header":            func(c *link.Config) { c.Limits.MaxHeader = 1 << 20 },
		"keepalive":         func(c *link.Config) { c.KeepaliveInterval = 2 * time.Second },
		"time":              func(c *link.Config) { c.HandshakeTimeout = -1 },
	} {
		cfg := newNode(0, link.Limits{}).cfg
		change(&cfg)
		near, far := linktest.Pipe()
		if _, err := link.Dial(t.Context(), near, cfg, nil); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := far.Receive(); err == nil {
			t.Errorf("%s: the connection stays open", name)
		}
	}
}

// peer is an end of a connection that says what it likes.
type peer struct {
	t    testing.TB
	conn *linktest.Conn
}

func (p *peer) sendRaw(packet []byte) {
	_ = p.conn.Send(append(make([]byte, link.HeadRoom), packet...))
}

func (p *peer) send(packet *linkv1.Packet) {
	p.t.Helper()
	raw, err := proto.Marshal(packet)
	if err != nil {
		p.t.Fatal(err)
	}
	p.sendRaw(raw)
}

func (p *peer) control(c *linkv1.Control) { p.send(&linkv1.Packet{Controls: []*linkv1.Control{c}}) }

func (p *peer) frames(f ...*linkv1.Frame) { p.send(&linkv1.Packet{Frames: f}) }

// receive returns the next packet.
func (p *peer) receive() (*linkv1.Packet, error) {
	raw, err := p.conn.Receive()
	if err != nil {
		return nil, err
	}
	packet := new(linkv1.Packet)
	return packet, proto.Unmarshal(raw, packet)
}

func hello(change func(*linkv1.Hello)) *linkv1.Control {
	id := nodeID(5)
	h := &linkv1.Hello{Version: 1, Node: id[:], Incarnation: 1, Nonce: make([]byte, 32)}
	change(h)
	return &linkv1.Control{Body: &linkv1.Control_Hello{Hello: h}}
}

func proof(mac []byte) *linkv1.Control {
	return &linkv1.Control{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{Mac: mac}}}
}

func join(change func(*linkv1.Join)) *linkv1.Control {
	j := &linkv1.Join{Window: 1 << 18, MaxCalls: 100, MaxMessage: 1 << 20}
	change(j)
	return &linkv1.Control{Body: &linkv1.Control_Join{Join: j}}
}

// TestAcceptUntrusted has a listener meet diallers that do not keep to the rules.
func TestAcceptUntrusted(t *testing.T) {
	fine := func(*linkv1.Hello) {}
	for name, test := range map[string]struct {
		say  func(p *peer)
		want connect.Code
		in   time.Duration
	}{
		"nothing":       {func(*peer) {}, connect.CodeDeadlineExceeded, 5 * time.Second},
		"gone at once":  {func(p *peer) { p.conn.Close(nil) }, connect.CodeUnavailable, 0},
		"cut":           {func(p *peer) { p.conn.Cut() }, connect.CodeUnavailable, 0},
		"garbage":       {func(p *peer) { p.sendRaw([]byte("GET / HTTP/1.1\r\n\r\n")) }, connect.CodeInvalidArgument, 0},
		"empty packet":  {func(p *peer) { p.sendRaw(nil) }, connect.CodeInvalidArgument, 0},
		"long packet":   {func(p *peer) { p.sendRaw(make([]byte, 100_000)) }, connect.CodeInvalidArgument, 0},
		"frames":        {func(p *peer) { p.frames(&linkv1.Frame{Call: 1}) }, connect.CodeInvalidArgument, 0},
		"join first":    {func(p *peer) { p.control(join(func(*linkv1.Join) {})) }, connect.CodeInvalidArgument, 0},
		"two hellos":    {func(p *peer) { p.send(&linkv1.Packet{Controls: []*linkv1.Control{hello(fine), hello(fine)}}) }, connect.CodeInvalidArgument, 0},
		"other version": {func(p *peer) { p.control(hello(func(h *linkv1.Hello) { h.Version = 2 })) }, connect.CodeFailedPrecondition, 0},
		"no version":    {func(p *peer) { p.control(hello(func(h *linkv1.Hello) { h.Version = 0 })) }, connect.CodeFailedPrecondition, 0},
		"short id":      {func(p *peer) { p.control(hello(func(h *linkv1.Hello) { h.Node = h.Node[1:] })) }, connect.CodeInvalidArgument, 0},
		"short nonce":   {func(p *peer) { p.control(hello(func(h *linkv1.Hello) { h.Nonce = h.Nonce[1:] })) }, connect.CodeInvalidArgument, 0},
		"many features": {func(p *peer) {
			p.control(hello(func(h *linkv1.Hello) { h.Features = make([]string, 100) }))
		}, connect.CodeInvalidArgument, 0},
		"hello, then nothing": {func(p *peer) { p.control(hello(fine)) }, connect.CodeDeadlineExceeded, 5 * time.Second},
		"no mac": {func(p *peer) {
			p.control(hello(fine))
			p.control(proof(nil))
		}, connect.CodeUnauthenticated, 0},
		"wrong mac": {func(p *peer) {
			p.control(hello(fine))
			p.control(proof(make([]byte, 32)))
		}, connect.CodeUnauthenticated, 0},
		"hello again": {func(p *peer) {
			p.control(hello(fine))
			p.control(hello(fine))
		}, connect.CodeInvalidArgument, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := linktest.Pipe()
				start := time.Now()
				test.say(&peer{t, near})
				_, err := link.Accept(t.Context(), far, newNode(1, link.Limits{}).cfg,
					func(link.Peer) (*linkv1.Join, error) { t.Error("answered"); return nil, nil })
				if connect.CodeOf(err) != test.want {
					t.Errorf("Accept: %v", err)
				}
				if took := time.Since(start); took != test.in {
					t.Errorf("it took %v", took)
				}
				for err = nil; err == nil; { // the peer is told, after at most a Hello
					_, err = near.Receive()
				}
			})
		})
	}
}

// TestBadJoin has a dialler that knows the way in (there is no secret) and then says nonsense.
func TestBadJoin(t *testing.T) {
	for name, change := range map[string]func(*linkv1.Join){
		"no window":   func(j *linkv1.Join) { j.Window = 0 },
		"huge window": func(j *linkv1.Join) { j.Window = 1 << 31 },
		"no calls":    func(j *linkv1.Join) { j.MaxCalls = 0 },
		"too long":    func(j *linkv1.Join) { j.Info = &linkv1.NodeInfo{Name: strings.Repeat("n", 300_000)} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := linktest.PipeSize(1 << 20)
				p := &peer{t, near}
				p.control(hello(func(*linkv1.Hello) {}))
				p.control(proof(nil))
				p.control(join(change))
				cfg := newNode(1, link.Limits{}).cfg
				cfg.Secret, cfg.AcceptAnyone = nil, true
				_, err := link.Accept(t.Context(), far, cfg,
					func(link.Peer) (*linkv1.Join, error) { t.Error("answered"); return nil, nil })
				if connect.CodeOf(err) != connect.CodeInvalidArgument {
					t.Errorf("Accept: %v", err)
				}
			})
		})
	}
}

// TestReplayedProof has a dialler repeat what another one said.
func TestReplayedProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := newNode(1, link.Limits{}).cfg
		// A dialler that has the secret meets somebody in the middle, who takes notes.
		near, middleNear := linktest.Pipe()
		middleFar, far := linktest.Pipe()
		var notes [][]byte
		go func() {
			for {
				p, err := middleNear.Receive()
				if err != nil {
					return
				}
				notes = append(notes, bytes.Clone(p))
				_ = middleFar.Send(append(make([]byte, link.HeadRoom), p...))
			}
		}()
		go func() {
			for {
				p, err := middleFar.Receive()
				if err != nil {
					return
				}
				_ = middleNear.Send(append(make([]byte, link.HeadRoom), p...))
			}
		}()
		answer := func(link.Peer) (*linkv1.Join, error) { return nil, nil }
		go func() { _, _ = link.Accept(t.Context(), far, cfg, answer) }()
		if _, err := link.Dial(t.Context(), near, newNode(0, link.Limits{}).cfg, nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		near.Cut()
		far.Cut()
		if len(notes) != 3 {
			t.Fatalf("the dialler said %d packets", len(notes))
		}

		again, listener := linktest.Pipe()
		for _, p := range notes {
			(&peer{t, again}).sendRaw(p)
		}
		_, err := link.Accept(t.Context(), listener, cfg, answer)
		if connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("Accept: %v", err)
		}
	})
}

// TestReflection has a listener that knows nothing and repeats what the dialler says.
func TestReflection(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*linkv1.Hello)
		code   connect.Code
		text   string
	}{
		"as it was": {func(*linkv1.Hello) {}, connect.CodeUnauthenticated, "repeats what this one says"},
		// The dialler proves nothing that could be repeated.
		"new nonce": {func(h *linkv1.Hello) { h.Nonce[0] ^= 1 }, connect.CodeDeadlineExceeded, "took too long"},
		// It has no proof but the dialler's own.
		"new nonce, old order": {func(h *linkv1.Hello) {
			h.Nonce[0] ^= 1
			h.Features = nil
		}, connect.CodeUnauthenticated, "wrong secret"},
	} {
		synctest.Test(t, func(t *testing.T) {
			near, far := linktest.Pipe()
			go func() {
				for first := true; ; first = false {
					p, err := far.Receive()
					if err != nil {
						return
					}
					if first {
						packet := new(linkv1.Packet)
						_ = proto.Unmarshal(p, packet)
						test.change(packet.GetControls()[0].GetHello())
						p, _ = proto.Marshal(packet)
					}
					_ = far.Send(append(make([]byte, link.HeadRoom), p...))
				}
			}()
			cfg := newNode(0, link.Limits{}).cfg
			cfg.AcceptOldProofs = true
			_, err := link.Dial(t.Context(), near, cfg, nil)
			if connect.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: Dial: %v", name, err)
			}
		})
	}
}

func TestHandshakeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := linktest.Pipe()
		start := time.Now()
		_, err := link.Dial(t.Context(), near, newNode(0, link.Limits{}).cfg, nil)
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded || time.Since(start) != 5*time.Second {
			t.Errorf("Dial: %v after %v", err, time.Since(start))
		}
		if _, err := far.Receive(); err != nil {
			t.Errorf("the Hello: %v", err)
		}
		if _, err := far.Receive(); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("the listener is told %v", err)
		}

		ctx, cancel := context.WithCancel(t.Context())
		near, _ = linktest.Pipe()
		time.AfterFunc(time.Second, cancel)
		_, err = link.Dial(ctx, near, newNode(0, link.Limits{}).cfg, nil)
		if connect.CodeOf(err) != connect.CodeCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("Dial: %v", err)
		}
	})
}

// FuzzHandshake has a listener and a dialler meet somebody who says anything. Packets are separated by
// a length byte.
func FuzzHandshake(f *testing.F) {
	keyed := hello(func(h *linkv1.Hello) { h.Features, h.Key = []string{"listener-first"}, publicOf(keyOf(4)) })
	proofOf := func(p *linkv1.Proof) *linkv1.Control { return &linkv1.Control{Body: &linkv1.Control_Proof{Proof: p}} }
	for _, said := range [][]*linkv1.Control{
		{hello(func(*linkv1.Hello) {}), proof(nil), join(func(*linkv1.Join) {})},
		{newHello(), proof(make([]byte, 32)), join(func(*linkv1.Join) {})},
		{keyed, proofOf(&linkv1.Proof{Macs: [][]byte{make([]byte, 32), nil}, Signature: make([]byte, 64), Bound: true})},
		{newHello(), proofOf(&linkv1.Proof{Refused: true})},
	} {
		var packets []byte
		for _, c := range said {
			raw, _ := proto.Marshal(&linkv1.Packet{Controls: []*linkv1.Control{c}})
			packets = append(append(packets, byte(len(raw))), raw...)
		}
		f.Add(packets)
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		for _, dial := range []bool{false, true} {
			near, far := linktest.PipeSize(1 << 20)
			p := &peer{t, near}
			for rest := said; len(rest) > 0; {
				n := min(int(rest[0]), len(rest)-1)
				p.sendRaw(rest[1 : 1+n])
				rest = rest[1+n:]
			}
			near.Close(nil)
			cfg := newNode(1, link.Limits{}).cfg
			var err error
			if dial {
				_, err = link.Dial(t.Context(), far, cfg, nil)
			} else {
				_, err = link.Accept(t.Context(), far, cfg, func(link.Peer) (*linkv1.Join, error) { return nil, nil })
			}
			if _, ok := errors.AsType[*connect.Error](err); !ok {
				t.Fatalf("error %v", err)
			}
		}
	})
}
