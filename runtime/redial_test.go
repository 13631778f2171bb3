package rpcmesh_test

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// dials are the times at which a node dialled.
type dials struct {
	mu sync.Mutex
	at []time.Time
}

// count has a node note when it dials.
func (d *dials) count(cfg *rpcmesh.Config) {
	dial := cfg.Dial
	cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		d.mu.Lock()
		d.at = append(d.at, time.Now())
		d.mu.Unlock()
		return dial(ctx, network, addr)
	}
}

// take returns the times noted since the last take.
func (d *dials) take() []time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	at := slices.Clone(d.at)
	d.at = nil
	return at
}

// TestFlappingLink: however often a link breaks, it is back as fast as after the first time.
func TestFlappingLink(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a")
		c.Node("b")
		link := c.Link("b", "a", "public")
		for i := range 20 {
			c.Reset("a", "b")
			synctest.Wait()
			began := time.Now()
			if err := link.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > rpcmesh.DefaultRedialMin {
				t.Errorf("after %d breaks it took %v to be back", i+1, took)
			}
		}
	})
}

// TestRedialForACall: a link that has been down for long is dialled at once for a call that wants it, by a host once
// a second on average however many calls there are.
func TestRedialForACall(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var d dials
		offer(c, t, "a")
		c.Node("b", d.count)
		c.Link("b", "a", "public")
		ns := c.Node("b").Namespace("public")
		c.Kill("a")
		time.Sleep(5 * time.Minute) // fake time
		d.take()
		for range 6000 { // calls in a minute
			if _, err := do(t.Context(), ns, atA, ""); connect.CodeOf(err) != connect.CodeUnavailable {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond) // fake time
		}
		if got := len(d.take()); got < 50 || got > 80 {
			t.Errorf("dialled %d times in a minute of calls", got)
		}
		time.Sleep(5 * time.Minute) // fake time
		c.Start("a")
		synctest.Wait()
		began := time.Now()
		if got, err := do(rpcmesh.WaitForReady(t.Context()), ns, atA, ""); got != "a" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if took := time.Since(began); took > rpcmesh.DefaultRedialMin {
			t.Errorf("it took %v", took)
		}
	})
}

// TestRedialAsTheNetworkComesBack: one link that is back has the others dialled, which it would take seconds.
func TestRedialAsTheNetworkComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		nodes := []string{"a", "b", "c", "d", "e"}
		for _, name := range nodes {
			c.Link("self", name, "public")
		}
		for range 5 {
			for _, name := range nodes {
				c.Cut("self", name)
			}
			time.Sleep(10 * time.Minute) // fake time
			c.HealAll()
			up := func() (n int) {
				for l := range c.Node("self").Links() {
					if l.Up {
						n++
					}
				}
				return n
			}
			for up() == 0 {
				time.Sleep(10 * time.Millisecond) // fake time
			}
			time.Sleep(rpcmesh.DefaultRedialMin) // fake time
			if n := up(); n != len(nodes) {
				t.Errorf("%d links of %d are up", n, len(nodes))
			}
		}
	})
}

// TestRefusedLinkIsNotHurried: a link that the other end refuses heals by no hurry.
func TestRefusedLinkIsNotHurried(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var d dials
		c.Node("a")
		b := c.Node("b", d.count, func(cfg *rpcmesh.Config) { cfg.Secret = "another" })
		if _, err := b.Link(rpcmeshtest.URL("a"), "public"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute) // fake time
		d.take()
		for range 600 {
			_, err := do(t.Context(), b.Namespace("public"), atA, "")
			wantInfo(t, err, connect.CodeUnavailable, rpcmesh.ReasonLinkDown, "unauthenticated")
			time.Sleep(100 * time.Millisecond) // fake time
		}
		if got := len(d.take()); got > 15 {
			t.Errorf("dialled %d times in a minute", got)
		}
	})
}
