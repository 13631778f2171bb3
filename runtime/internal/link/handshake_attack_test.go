package link_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/linktest"
)

// newHello is the Hello of one who knows the second order of proofs.
func newHello() *linkv1.Control {
	return hello(func(h *linkv1.Hello) { h.Features = []string{"listener-first"} })
}

func listenerProof(macs ...[]byte) *linkv1.Control {
	return &linkv1.Control{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{Macs: macs}}}
}

// TestUntrustedListener: whoever answers without the secret gets nothing from the dialler by which it could
// guess at it.
func TestUntrustedListener(t *testing.T) {
	many := make([][]byte, 100)
	for name, says := range map[string][]*linkv1.Control{
		"nothing":                 {},
		"hello":                   {newHello()},
		"no macs":                 {newHello(), listenerProof()},
		"an empty mac":            {newHello(), listenerProof(nil)},
		"wrong macs":              {newHello(), listenerProof(make([]byte, 32), make([]byte, 32))},
		"many macs":               {newHello(), listenerProof(many...)},
		"the proof of a dialler":  {newHello(), proof(make([]byte, 32))},
		"a refusal":               {newHello(), {Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{Refused: true}}}},
		"an introduction instead": {newHello(), join(func(*linkv1.Join) {})},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := linktest.Pipe()
				p := &peer{t, far}
				for _, c := range says {
					p.control(c)
				}
				cfg := newNode(0, link.Limits{}).cfg
				cfg.Key, cfg.OtherSecrets = keyOf(0), [][]byte{[]byte("another")}
				if _, err := link.Dial(t.Context(), near, cfg, nil); err == nil {
					t.Fatal("the dialler believes it")
				}
				for {
					packet, err := p.receive()
					if err != nil {
						break
					}
					for _, c := range packet.GetControls() {
						switch {
						case c.GetHello() != nil, proto.Equal(c.GetProof(), &linkv1.Proof{Refused: true}):
						default:
							t.Errorf("the dialler says %v", c)
						}
					}
				}
			})
		})
	}
}

// TestUntrustedDialler: the listener's own proof is of no use to the one who gets it.
func TestUntrustedDialler(t *testing.T) {
	for name, answer := range map[string]func(p *linkv1.Proof) *linkv1.Proof{
		"repeats it":           func(p *linkv1.Proof) *linkv1.Proof { return p },
		"takes its mac":        func(p *linkv1.Proof) *linkv1.Proof { return &linkv1.Proof{Mac: p.GetMacs()[0]} },
		"takes another mac":    func(p *linkv1.Proof) *linkv1.Proof { return &linkv1.Proof{Mac: p.GetMacs()[1]} },
		"takes its signature":  func(p *linkv1.Proof) *linkv1.Proof { return &linkv1.Proof{Mac: p.GetSignature()} },
		"says nothing":         func(*linkv1.Proof) *linkv1.Proof { return new(linkv1.Proof) },
		"refuses, and goes on": func(*linkv1.Proof) *linkv1.Proof { return &linkv1.Proof{Refused: true} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := linktest.Pipe()
				cfg := newNode(1, link.Limits{}).cfg
				cfg.Key, cfg.OtherSecrets = keyOf(1), [][]byte{[]byte("another")}
				accepted := make(chan error)
				go func() {
					_, err := link.Accept(t.Context(), far, cfg,
						func(link.Peer) (*linkv1.Join, error) { t.Error("answered"); return nil, nil })
					accepted <- err
				}()
				p := &peer{t, near}
				p.control(newHello())
				if _, err := p.receive(); err != nil {
					t.Fatal(err)
				}
				packet, err := p.receive()
				if err != nil || len(packet.GetControls()[0].GetProof().GetMacs()) != 2 {
					t.Fatalf("the listener proves %v, %v", packet, err)
				}
				p.control(&linkv1.Control{Body: &linkv1.Control_Proof{Proof: answer(packet.GetControls()[0].GetProof())}})
				p.control(join(func(*linkv1.Join) {}))
				if err := <-accepted; connect.CodeOf(err) != connect.CodeUnauthenticated {
					t.Errorf("Accept: %v", err)
				}
			})
		})
	}
}

// interceptor is somebody between two ends, who sees and may change each packet.
type interceptor struct {
	said [][]byte // in the order in which it went through
}

// intercept has a dialler and a listener meet through a tap. change is given the number of each packet, from
// either end in turn of arrival, and returns what goes on.
func intercept(t testing.TB, dial, accept link.Config, bindings [2]string, change func(n int, packet []byte) []byte) (*interceptor, error, error) {
	near, nearTap := linktest.Pipe()
	farTap, far := linktest.Pipe()
	for i, c := range []*linktest.Conn{near, far} {
		if bindings[i] != "" {
			c.SetBinding([]byte(bindings[i]))
		}
	}
	tp := new(interceptor)
	turns := make(chan int, 1)
	turns <- 0
	pass := func(from, to *linktest.Conn) {
		for {
			p, err := from.Receive()
			if err != nil {
				to.Close(err)
				return
			}
			n := <-turns
			p = change(n, bytes.Clone(p))
			tp.said = append(tp.said, p)
			(&peer{t, to}).sendRaw(p)
			turns <- n + 1
		}
	}
	done := make(chan error, 1)
	go pass(nearTap, farTap)
	go pass(farTap, nearTap)
	go func() {
		_, err := link.Accept(t.Context(), far, accept, func(link.Peer) (*linkv1.Join, error) { return nil, nil })
		done <- err
	}()
	_, dialErr := link.Dial(t.Context(), near, dial, nil)
	acceptErr := <-done
	near.Cut()
	far.Cut()
	return tp, dialErr, acceptErr
}

// pair are the configs of two ends with keys and two secrets each, one of them in common.
func pair() (dial, accept link.Config) {
	dial, accept = newNode(0, link.Limits{}).cfg, newNode(1, link.Limits{}).cfg
	dial.Key, accept.Key = keyOf(0), keyOf(1)
	dial.Secret, dial.OtherSecrets = []byte("new"), [][]byte{[]byte("old")}
	accept.Secret, accept.OtherSecrets = []byte("old"), [][]byte{[]byte("new")}
	return dial, accept
}

func unchanged(_ int, packet []byte) []byte { return packet }

// TestEveryBit changes each byte of what proves the ends to each other on its way: no link comes of it.
func TestEveryBit(t *testing.T) {
	dial, accept := pair()
	bindings := [2]string{"channel", "channel"}
	synctest.Test(t, func(t *testing.T) {
		whole, dialErr, acceptErr := intercept(t, dial, accept, bindings, unchanged)
		if dialErr != nil || acceptErr != nil || len(whole.said) != 6 {
			t.Fatalf("unchanged: %v, %v, %d packets", dialErr, acceptErr, len(whole.said))
		}
		for n, packet := range whole.said[:4] {
			for i := range packet {
				_, dialErr, acceptErr := intercept(t, dial, accept, bindings, func(at int, p []byte) []byte {
					if at == n && i < len(p) {
						p[i] ^= 1 << (i % 8)
					}
					return p
				})
				if dialErr == nil || acceptErr == nil {
					t.Errorf("byte %d of packet %d, %x: Dial: %v, Accept: %v", i, n, packet, dialErr, acceptErr)
				}
			}
		}
	})
}

// TestStrippedProof: who takes the better of the listener's proofs away does not bring about a link by the other.
func TestStrippedProof(t *testing.T) {
	strip := func(change func(*linkv1.Control)) func(int, []byte) []byte {
		return func(_ int, p []byte) []byte {
			packet := new(linkv1.Packet)
			if err := proto.Unmarshal(p, packet); err != nil {
				t.Error(err)
			}
			for _, c := range packet.GetControls() {
				change(c)
			}
			p, _ = proto.Marshal(packet)
			return p
		}
	}
	for name, change := range map[string]func(*linkv1.Control){
		"a mac": func(c *linkv1.Control) {
			if p := c.GetProof(); len(p.GetMacs()) == 2 {
				p.Macs = p.GetMacs()[:1]
			}
		},
		"their order": func(c *linkv1.Control) { slices.Reverse(c.GetProof().GetMacs()) },
		"features": func(c *linkv1.Control) {
			if h := c.GetHello(); h != nil {
				h.Features = nil
			}
		},
		"keys": func(c *linkv1.Control) {
			if h := c.GetHello(); h != nil {
				h.Key = nil
			}
		},
		"signatures": func(c *linkv1.Control) {
			if p := c.GetProof(); p != nil {
				p.Signature = nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial, accept := pair()
				dial.AcceptOldProofs, accept.AcceptOldProofs = true, true // so that all is left to the proofs
				_, dialErr, acceptErr := intercept(t, dial, accept, [2]string{}, strip(change))
				for _, err := range []error{dialErr, acceptErr} {
					if connect.CodeOf(err) != connect.CodeUnauthenticated {
						t.Errorf("Dial: %v, Accept: %v", dialErr, acceptErr)
					}
				}
			})
		})
	}
}

// untold is what a node said that did not tell its channel yet.
func untold(_ int, packet []byte) []byte {
	p := new(linkv1.Packet)
	if proto.Unmarshal(packet, p) == nil && len(p.GetControls()) == 1 && p.GetControls()[0].GetProof() != nil {
		p.GetControls()[0].GetProof().Channel = nil
		packet, _ = proto.Marshal(p)
	}
	return packet
}

// TestRelayed has somebody pass a handshake on over channels of its own, word by word, and TLS end at a proxy.
func TestRelayed(t *testing.T) {
	for name, c := range map[string]struct {
		bindings [2]string
		text     string
		older    bool // neither end tells its channel
	}{
		"another channel":      {[2]string{"one", "two"}, "no secret can be proven", false},
		"another, older":       {[2]string{"one", "two"}, "wrong secret, or none at one end, or TLS ends at a proxy", true},
		"TLS at the dialler":   {[2]string{"one", ""}, "it ends at a proxy", false},
		"TLS at the listener":  {[2]string{"", "two"}, "it ends at a proxy", false},
		"one channel (a link)": {[2]string{"one", "one"}, "", false},
		"no channel (a link)":  {[2]string{}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial, accept := pair()
				change := unchanged
				if c.older {
					change = untold
				}
				_, dialErr, acceptErr := intercept(t, dial, accept, c.bindings, change)
				switch {
				case c.text == "" && (dialErr != nil || acceptErr != nil):
					t.Errorf("Dial: %v, Accept: %v", dialErr, acceptErr)
				case c.text != "" && (connect.CodeOf(dialErr) != connect.CodeUnauthenticated || !strings.Contains(dialErr.Error(), c.text)):
					t.Errorf("Dial: %v", dialErr)
				case c.text != "" && connect.CodeOf(acceptErr) != connect.CodeUnauthenticated:
					t.Errorf("Accept: %v", acceptErr)
				}
			})
		})
	}
}

// TestReplayedListener has one who took notes answer a dialler with what a listener said to another.
func TestReplayedListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dial, accept := pair()
		notes, dialErr, acceptErr := intercept(t, dial, accept, [2]string{}, unchanged)
		if dialErr != nil || acceptErr != nil {
			t.Fatal(dialErr, acceptErr)
		}
		near, far := linktest.Pipe()
		p := &peer{t, far}
		p.sendRaw(notes.said[1]) // the listener's Hello
		p.sendRaw(notes.said[2]) // and its Proof
		go func() {
			for err := error(nil); err == nil; {
				var packet *linkv1.Packet
				if packet, err = p.receive(); err == nil && packet.GetControls()[0].GetProof() != nil {
					far.Close(nil)
				}
			}
		}()
		if _, err := link.Dial(t.Context(), near, dial, nil); connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("Dial: %v", err)
		}
	})
}
