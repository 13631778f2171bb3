package link_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestAnsweredHasStarted: of a call that was answered the peer cannot say that it has not started, nor can its handler.
func TestAnsweredHasStarted(t *testing.T) {
	const notStarted = rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
	end := &linkv1.End{Code: uint32(connect.CodeAborted), Failure: &rpcmeshv1.CallFailure{Certainty: notStarted, ByHandler: true}}
	for name, test := range map[string]struct {
		frames []*linkv1.Frame
		want   rpcmeshv1.CallFailure_Certainty
	}{
		"nothing":        {[]*linkv1.Frame{{End: end}}, notStarted},
		"headers":        {[]*linkv1.Frame{{Headers: new(linkv1.Headers)}, {End: end}}, rpcmeshv1.CallFailure_CERTAINTY_STARTED},
		"headers at end": {[]*linkv1.Frame{{Headers: new(linkv1.Headers), End: end}}, rpcmeshv1.CallFailure_CERTAINTY_STARTED},
		"data":           {[]*linkv1.Frame{{Data: []byte("x"), More: true}, {End: end}}, rpcmeshv1.CallFailure_CERTAINTY_STARTED},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, 1, link.Limits{})
				p, l := rawPeer(m, 0)
				m.nodes[0].next[1] = l.accept
				c := m.open(t.Context(), 0, 1, link.Open{})
				if err := c.Send(nil); err != nil {
					t.Fatal(err)
				}
				for _, f := range test.frames {
					p.frames(&linkv1.Frame{Call: 2, Headers: f.GetHeaders(), Data: f.Data, More: f.GetMore(), End: f.GetEnd()})
				}
				if _, err := c.Receive(); connect.CodeOf(err) != connect.CodeAborted || c.Failure().GetCertainty() != test.want {
					t.Errorf("%v, %v; want it %v", err, c.Failure(), test.want)
				}
				m.close()
			})
		})
	}
}

// TestFail: a handler says how far its call has come, as long as it has answered nothing.
func TestFail(t *testing.T) {
	for _, at := range []int{0, 1} {
		for _, answered := range []bool{false, true} {
			t.Run(fmt.Sprintf("at node %d, answered %v", at, answered), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := chain(t, 2, link.Limits{})
					m.nodes[at].serve = func(c *link.ServerCall) {
						if answered {
							_ = c.Send([]byte("x"))
						}
						_ = c.Fail(connect.NewError(connect.CodeAborted, "no"), &rpcmeshv1.CallFailure{
							Certainty: rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED, ByHandler: true,
						})
					}
					c := m.open(t.Context(), 0, at, link.Open{StreamType: connect.StreamTypeBidi})
					_ = c.SendHeaders()
					var err error
					for err == nil {
						_, err = c.Receive()
					}
					want := rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED
					if answered {
						want = rpcmeshv1.CallFailure_CERTAINTY_STARTED
					}
					if connect.CodeOf(err) != connect.CodeAborted || c.Failure().GetCertainty() != want || c.Err() == nil {
						t.Errorf("%v, %v; want it %v", err, c.Failure(), want)
					}
					m.close()
				})
			})
		}
	}
}

// TestEndIfDrained: one who finds by sending that the call has ended learns how, once nothing is left to receive.
func TestEndIfDrained(t *testing.T) {
	for _, answered := range []bool{false, true} {
		t.Run(fmt.Sprintf("answered %v", answered), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := chain(t, 2, link.Limits{})
				m.nodes[1].serve = func(c *link.ServerCall) {
					if answered {
						_ = c.Send([]byte("x"))
					}
					_ = c.Fail(connect.NewError(connect.CodeAborted, "no"), &rpcmeshv1.CallFailure{Certainty: rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN})
				}
				c := m.open(t.Context(), 0, 1, link.Open{StreamType: connect.StreamTypeBidi})
				c.EndIfDrained()
				_ = c.SendHeaders()
				synctest.Wait()
				if c.Failure() != nil || c.Err() != nil {
					t.Errorf("%v, %v before anybody asked", c.Failure(), c.Err())
				}
				c.EndIfDrained()
				if concluded := c.Failure() != nil; concluded == answered {
					t.Errorf("concluded: %v", concluded)
				}
				if answered {
					if msg, err := c.Receive(); string(msg) != "x" || err != nil {
						t.Errorf("received %q, %v", msg, err)
					}
				}
				if _, err := c.Receive(); connect.CodeOf(err) != connect.CodeAborted {
					t.Errorf("received %v", err)
				}
				m.close()
			})
		})
	}
}
