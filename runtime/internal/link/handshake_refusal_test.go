package link_test

import (
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
)

func TestHandshakeRefusals(t *testing.T) {
	for name, test := range map[string]struct {
		change       func(*handshakeCase)
		dial, accept connect.Code
		text         string // in the dialler's error
		told         string // in the listener's
	}{
		"wrong secret": {
			change: func(g *handshakeCase) { g.dialConfig.Secret = []byte("other") },
			dial:   connect.CodeUnauthenticated, accept: connect.CodeUnauthenticated, text: "wrong secret", told: "wrong secret, or none",
		},
		"longer secret": {
			change: func(g *handshakeCase) { g.dialConfig.Secret = append(g.dialConfig.Secret, 0) },
			dial:   connect.CodeUnauthenticated, accept: connect.CodeUnauthenticated, text: "wrong secret",
		},
		"dialler without secret": {
			change: func(g *handshakeCase) { g.dialConfig.Secret, g.dialConfig.AcceptAnyone = nil, true },
			dial:   connect.CodeUnauthenticated, accept: connect.CodeUnauthenticated, text: "this one has none", told: "wrong secret, or none",
		},
		"listener without secret": {
			change: func(g *handshakeCase) { g.acceptConfig.Secret, g.acceptConfig.AcceptAnyone = nil, true },
			dial:   connect.CodeFailedPrecondition, accept: connect.CodeFailedPrecondition, text: "one end has a secret, the dialling one",
			told: "the listening one has none: set the same Config.Secret at both",
		},
		"other binding": {
			change: func(g *handshakeCase) {
				g.dialConn.SetBinding([]byte("a"))
				g.listenConn.SetBinding([]byte("b"))
			},
			dial: connect.CodeUnauthenticated, accept: connect.CodeUnauthenticated, text: "ends at a proxy", told: "ends at a proxy",
		},
		"binding at one end": {
			change: func(g *handshakeCase) { g.dialConn.SetBinding([]byte("a")) },
			dial:   connect.CodeUnauthenticated, accept: connect.CodeUnauthenticated, text: "ends at a proxy", told: "ends at a proxy",
		},
		"binding at the listener": {
			change: func(g *handshakeCase) { g.listenConn.SetBinding([]byte("a")) },
			dial:   connect.CodeUnauthenticated, accept: connect.CodeUnauthenticated, text: "ends at a proxy",
			told: "wrong secret, or none at one end, or TLS ends at a proxy",
		},
		"wrong secret, one binding": {
			change: func(g *handshakeCase) {
				g.dialConn.SetBinding([]byte("a"))
				g.listenConn.SetBinding([]byte("a"))
				g.dialConfig.Secret = []byte("other")
			},
			dial: connect.CodeUnauthenticated, accept: connect.CodeUnauthenticated, text: "none in common", told: "wrong secret, or none:",
		},
		"itself": {
			change: func(g *handshakeCase) { g.dialConfig.Node = g.acceptConfig.Node },
			dial:   connect.CodeFailedPrecondition, accept: connect.CodeFailedPrecondition, text: "a link to itself",
		},
		"another by its name": {
			change: func(g *handshakeCase) { g.dialConfig.Node, g.dialConfig.Incarnation = g.acceptConfig.Node, 9 },
			dial:   connect.CodeAlreadyExists, accept: connect.CodeAlreadyExists, text: "two nodes have the id",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newHandshakeCase(test.change)
				if connect.CodeOf(g.dialErr) != test.dial || !strings.Contains(g.dialErr.Error(), test.text) {
					t.Errorf("Dial: %v", g.dialErr)
				}
				if connect.CodeOf(g.acceptErr) != test.accept || !strings.Contains(g.acceptErr.Error(), test.told) {
					t.Errorf("Accept: %v", g.acceptErr)
				}
				if g.answered {
					t.Error("the listener answered")
				}
			})
		})
	}
}
