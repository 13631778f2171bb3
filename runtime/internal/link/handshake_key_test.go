package link_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
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

// keyOf is the key of the node of that number.
func keyOf(i int) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{byte(i + 1)}, ed25519.SeedSize))
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey {
	public, _ := key.Public().(ed25519.PublicKey)
	return public
}

// TestKey: each end learns the key of the other one, where that has one.
func TestKey(t *testing.T) {
	anyone := func(g *handshakeCase) {
		for _, cfg := range []*link.Config{&g.dialConfig, &g.acceptConfig} {
			cfg.Secret, cfg.AcceptAnyone = nil, true
		}
	}
	for name, c := range map[string]struct {
		dial, accept ed25519.PrivateKey
		change       func(*handshakeCase)
	}{
		"both":           {keyOf(0), keyOf(1), func(*handshakeCase) {}},
		"dialler alone":  {keyOf(0), nil, func(*handshakeCase) {}},
		"listener alone": {nil, keyOf(1), func(*handshakeCase) {}},
		"neither":        {nil, nil, func(*handshakeCase) {}},
		"without secret": {keyOf(0), keyOf(1), anyone},
		"bound to the channel": {keyOf(0), keyOf(1), func(g *handshakeCase) {
			g.dialConn.SetBinding([]byte("exported"))
			g.listenConn.SetBinding([]byte("exported"))
		}},
		// A proxy ends TLS: the ends share no channel. With a secret that is refused.
		"without secret, TLS at one end": {keyOf(0), keyOf(1), func(g *handshakeCase) {
			anyone(g)
			g.dialConn.SetBinding([]byte("exported"))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newHandshakeCase(func(g *handshakeCase) {
					g.dialConfig.Key, g.acceptConfig.Key = c.dial, c.accept
					c.change(g)
				})
				if err := errors.Join(g.dialErr, g.acceptErr); err != nil {
					t.Fatal(err)
				}
				check := func(end string, got ed25519.PublicKey, want ed25519.PrivateKey) {
					if (want == nil) != (got == nil) || want != nil && !got.Equal(want.Public()) {
						t.Errorf("the %s sees the key %x", end, got)
					}
				}
				check("dialler", g.dialler.Peer().Key, c.accept)
				check("listener", g.listener.Peer().Key, c.dial)
			})
		})
	}
}

// TestForeignKey has ends that know the secret tell a key of which they have not the private half.
func TestForeignKey(t *testing.T) {
	chimera := ed25519.PrivateKey(slices.Concat(keyOf(7).Seed(), publicOf(keyOf(1)))) // signs by its own, tells another's
	for name, key := range map[string]ed25519.PrivateKey{
		"another's": chimera,
		"no key":    ed25519.PrivateKey(slices.Concat(make([]byte, ed25519.SeedSize), publicOf(keyOf(1)))),
	} {
		for _, dials := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				g := newHandshakeCase(func(g *handshakeCase) {
					if dials {
						g.dialConfig.Key = key
					} else {
						g.acceptConfig.Key = key
					}
				})
				for end, err := range map[string]error{"Dial": g.dialErr, "Accept": g.acceptErr} {
					if connect.CodeOf(err) != connect.CodeUnauthenticated && (dials || end == "Dial") {
						t.Errorf("%s, the dialler's %v: %s: %v", name, dials, end, err)
					}
				}
				if g.dialler != nil || dials && g.answered {
					t.Errorf("%s: a link came up", name)
				}
			})
		}
	}
}

// TestKeyWithoutSignature: who tells a key must prove it, with a secret and without one.
func TestKeyWithoutSignature(t *testing.T) {
	for name, c := range map[string]struct {
		key, signature []byte
		want           connect.Code
	}{
		"no signature":    {publicOf(keyOf(0)), nil, connect.CodeUnauthenticated},
		"short signature": {publicOf(keyOf(0)), make([]byte, 63), connect.CodeUnauthenticated},
		"wrong signature": {publicOf(keyOf(0)), make([]byte, 64), connect.CodeUnauthenticated},
		"short key":       {make([]byte, 31), make([]byte, 64), connect.CodeInvalidArgument},
		"long key":        {make([]byte, 33), make([]byte, 64), connect.CodeInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := linktest.Pipe()
				p := &peer{t, near}
				p.control(hello(func(h *linkv1.Hello) { h.Key = c.key }))
				p.control(&linkv1.Control{Body: &linkv1.Control_Proof{Proof: &linkv1.Proof{Signature: c.signature}}})
				cfg := newNode(1, link.Limits{}).cfg
				cfg.Secret, cfg.AcceptAnyone = nil, true
				_, err := link.Accept(t.Context(), far, cfg,
					func(link.Peer) (*linkv1.Join, error) { t.Error("answered"); return nil, nil })
				if connect.CodeOf(err) != c.want {
					t.Errorf("Accept: %v", err)
				}
			})
		})
	}
}

// TestKeyInTheMiddle has somebody pass a handshake on and put a key of its own in.
func TestKeyInTheMiddle(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*linkv1.Hello)
		text   string
	}{
		"another key": {func(h *linkv1.Hello) { h.Key = publicOf(keyOf(7)) }, "wrong secret"},
		"no key":      {func(h *linkv1.Hello) { h.Key = nil }, "wrong secret"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := between(t, func(h *linkv1.Hello) { c.change(h) })
				dial, accept := newNode(0, link.Limits{}).cfg, newNode(1, link.Limits{}).cfg
				dial.Key, accept.Key = keyOf(0), keyOf(1)
				go func() {
					_, err := link.Accept(t.Context(), far, accept,
						func(link.Peer) (*linkv1.Join, error) { t.Error("answered"); return nil, nil })
					if connect.CodeOf(err) != connect.CodeUnauthenticated {
						t.Errorf("Accept: %v", err)
					}
				}()
				_, err := link.Dial(t.Context(), near, dial, nil)
				if connect.CodeOf(err) != connect.CodeUnauthenticated || !strings.Contains(err.Error(), c.text) {
					t.Errorf("Dial: %v", err)
				}
				synctest.Wait()
			})
		})
	}
}

// between returns the ends of a connection with somebody in its middle, who passes on what the ends say, but
// changes the dialler's Hello.
func between(t *testing.T, change func(*linkv1.Hello)) (dialler, listener *linktest.Conn) {
	dialler, nearer := linktest.Pipe()
	farther, listener := linktest.Pipe()
	pass := func(from, to *linktest.Conn, change func(*linkv1.Hello)) {
		for {
			raw, err := from.Receive()
			if err != nil {
				to.Close(err)
				return
			}
			packet := new(linkv1.Packet)
			if err := proto.Unmarshal(raw, packet); err != nil {
				t.Errorf("in the middle: %v", err)
			}
			for _, c := range packet.GetControls() {
				if c.GetHello() != nil && change != nil {
					change(c.GetHello())
				}
			}
			(&peer{t, to}).send(packet)
		}
	}
	go pass(nearer, farther, change)
	go pass(farther, nearer, nil)
	return dialler, listener
}
