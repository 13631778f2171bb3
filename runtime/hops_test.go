package rpcmesh_test

import (
	"testing"
	"testing/synctest"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestRouteRound shows that a route follows the links: round a ring, and across a bridge.
func TestRouteRound(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		for _, name := range []string{"a", "b", "c"} {
			group, err := c.Node(name).Group("ring", []string{"left", "right"}, rpcmesh.Bridged())
			if err != nil {
				t.Fatal(err)
			}
			if name == "a" {
				register(t, group, greeter{})
			}
		}
		c.Link("b", "a", "left")
		c.Link("c", "b", "left")
		c.Link("a", "c", "right")
		synctest.Wait()
		wantRoute(t, c.Node("b").Namespace("ring"), "b", "a")
		wantRoute(t, c.Node("c").Namespace("ring"), "c", "a")

		c.Cut("a", "b")
		synctest.Wait()
		wantRoute(t, c.Node("b").Namespace("ring"), "b", "c", "a")
		wantRoute(t, c.Node("c").Namespace("ring"), "c", "a")
	})
}

// TestRouteOutOfGroup shows that a route into a group ends, for those outside, at the node that holds it.
func TestRouteOutOfGroup(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		if _, err := c.Node("a").Group("all", []string{"public"}); err != nil {
			t.Fatal(err)
		}
		c.Link("b", "a", "public")
		c.Link("c", "b", "public")
		c.Link("x", "a", "all")
		register(t, c.Node("c").Namespace("public"), greeter{})
		synctest.Wait()
		wantRoute(t, c.Node("a").Namespace("all"), "a", "b", "c")
		wantRoute(t, c.Node("x").Namespace("all"), "x", "a")
	})
}
