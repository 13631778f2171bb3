package rpcmesh_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// shakeAs shakes hands with the node called to as the node id, in public.
func shakeAs(t *testing.T, c *rpcmeshtest.Cluster, host, to string, id rpcmesh.NodeID, incarnation uint64, key ed25519.PrivateKey) error {
	t.Helper()
	u, err := url.Parse(rpcmeshtest.URL(to))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := carrier.Dialer{Dial: c.Dialer(host), MaxPacket: link.MaxPacket}.Open(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	workers := link.NewWorkers()
	defer workers.Wait()
	s, err := link.Dial(t.Context(), conn, link.Config{
		Node: id, Name: host, Incarnation: incarnation, Key: key, Secret: []byte(rpcmeshtest.Secret), Workers: workers,
	}, &linkv1.Join{Info: &linkv1.NodeInfo{Name: host}, Namespaces: []*linkv1.LinkNamespace{{Name: "public"}}})
	if err == nil {
		s.Close(&linkv1.Goodbye{})
	}
	return err
}

// lie is a record of a member as one that wants to be in its place would tell it.
func lie(m rpcmesh.Member, incarnation uint64) *linkv1.Record {
	return &linkv1.Record{Node: m.ID[:], Incarnation: incarnation, Version: 1}
}

// wantAnswers calls what the node offers from others.
func wantAnswers(t *testing.T, c *rpcmeshtest.Cluster, name string, from ...string) {
	t.Helper()
	for _, caller := range from {
		got, err := do(t.Context(), c.Node(caller).Namespace("public"), connect.Spec{Procedure: "/test.v1.At/" + name}, "")
		if got != name || err != nil {
			t.Errorf("from %s: %q, %v", caller, got, err)
		}
	}
}

// refusedLink is a link in public that does not come up.
func refusedLink(t *testing.T, n *rpcmesh.Node, to string) *rpcmesh.Link {
	t.Helper()
	l, err := n.Link(rpcmeshtest.URL(to), "public")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantLinksUp(t *testing.T, n *rpcmesh.Node) {
	t.Helper()
	for l := range n.Links() {
		if !l.Up {
			t.Errorf("%s: the link to %s is down: %v", n.Name(), l.URL, l.Err)
		}
	}
}

// TestLiesAboutANode: a member tells of a node what once made it stand back for ever. It stays, says that it is
// told of, and whether its links break or it restarts, they come up again.
func TestLiesAboutANode(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		c.Node("victim", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		c.Link("victim", "b", "public")
		c.Link("victim", "c", "public")
		c.Link("c", "b", "public")
		offer(c, t, "victim")
		synctest.Wait()
		evil := impersonate(t, c, "evil", "b", nil, nil)
		for range 5 {
			// A node later than the one that is here, then one that started earlier and answers; and one that none
			// could outdo.
			victim := memberOf(t, c.Node("c"), "victim")
			evil.tell(lie(victim, victim.Incarnation+1))
			synctest.Wait()
			again := lie(victim, memberOf(t, c.Node("c"), "victim").Incarnation+1)
			again.Start = 1
			evil.tell(again, lie(victim, 1<<62))
			synctest.Wait()
			time.Sleep(time.Minute) // fake time
			wantLinksUp(t, c.Node("victim"))
			wantAnswers(t, c, "victim", "b", "c")
		}
		for _, to := range []string{"b", "c"} {
			c.Reset("victim", to)
			time.Sleep(time.Minute) // fake time
			wantLinksUp(t, c.Node("victim"))
		}
		if n := log.count("level=ERROR", "not its own"); n < 1 || n > 6 {
			t.Errorf("the victim says it %d times:\n%s", n, log.String())
		}
		evil.tell(lie(memberOf(t, c.Node("c"), "victim"), 1<<62))
		c.Restart("victim")
		time.Sleep(time.Minute) // fake time
		wantLinksUp(t, c.Node("victim"))
		wantAnswers(t, c, "victim", "b", "c")
	})
}

// TestSurvivorOfTwins: a second node of a name is started by mistake, and stopped. The first one's links come up
// whatever breaks them.
func TestSurvivorOfTwins(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		for _, l := range [][2]string{{"b", "a"}, {"c", "b"}, {"x", "a"}, {"x", "b"}} {
			c.Link(l[0], l[1], "public")
		}
		offer(c, t, "x")
		time.Sleep(time.Second) // fake time
		twin, err := rpcmesh.NewNode(rpcmesh.Config{Name: "x", Secret: rpcmeshtest.Secret, Dial: c.Dialer("twin")})
		if err != nil {
			t.Fatal(err)
		}
		mustLink(t, twin, rpcmeshtest.URL("c"), "public")
		refused := refusedLink(t, twin, "b")
		time.Sleep(10 * time.Second) // fake time
		wantLinksUp(t, c.Node("x"))
		wantError(t, refused.Ready(t.Context()), connect.CodeAlreadyExists, `"x"`)
		if err := twin.Close(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // fake time
		for _, to := range []string{"a", "b"} {
			c.Reset("x", to)
			time.Sleep(time.Minute) // fake time
			wantLinksUp(t, c.Node("x"))
			wantAnswers(t, c, "x", "a", "b", "c")
		}
	})
}

// TestTwinThatWaits: the one of two nodes of a name that was refused gets its place when the other one is gone.
func TestTwinThatWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Link("x", "a", "public")
		c.Link("b", "a", "public")
		offer(c, t, "x")
		time.Sleep(time.Second) // fake time
		twin := mustNode(t, rpcmesh.Config{Name: "x", Secret: rpcmeshtest.Secret, Dial: c.Dialer("twin")})
		mustRegister(t, twin.Namespace("public"), work("/test.v1.At/twin", "twin"))
		wantError(t, refusedLink(t, twin, "a").Ready(t.Context()), connect.CodeAlreadyExists, `"x"`)
		time.Sleep(time.Minute) // fake time
		wantAnswers(t, c, "x", "a", "b")
		c.Stop("x")
		ctx, cancel := context.WithTimeout(t.Context(), rpcmesh.DefaultRedialMax+time.Second)
		defer cancel()
		if err := c.Node("b").Namespace("public").WaitFor(ctx, "/test.v1.At/twin"); err != nil {
			t.Error(err)
		}
	})
}

// TestPlaceOfAnother: with the id and incarnation of a node, which all members know, another one does not get its
// place at its neighbour.
func TestPlaceOfAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Link("victim", "b", "public")
		c.Link("c", "b", "public")
		offer(c, t, "victim")
		synctest.Wait()
		victim := memberOf(t, c.Node("c"), "victim")
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for what, key := range map[string]ed25519.PrivateKey{"a key of its own": key, "no key": nil} {
			err := shakeAs(t, c, "thief", "b", victim.ID, victim.Incarnation, key)
			if connect.CodeOf(err) != connect.CodeAlreadyExists {
				t.Errorf("with %s: %v", what, err)
			}
		}
		time.Sleep(time.Second) // fake time
		wantAnswers(t, c, "victim", "b", "c")
	})
}

// TestClockOfAnother: a node that started in the future is told so.
func TestClockOfAnother(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a").Namespace("public")
		ahead := uint64(time.Now().Add(48 * time.Hour).UnixNano())
		err := shakeAs(t, c, "early", "a", rpcmesh.NodeID{1}, ahead, nil)
		if connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), `"early" started 48h0m0s from now by the clock of node "a"`) {
			t.Errorf("error %v", err)
		}
		if err := shakeAs(t, c, "fast", "a", rpcmesh.NodeID{2}, uint64(time.Now().Add(time.Hour).UnixNano()), nil); err != nil {
			t.Error(err)
		}
	})
}
