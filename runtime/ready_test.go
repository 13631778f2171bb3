package rpcmesh_test

import (
	"fmt"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestReadyMeansBothEnds: once a link is ready, its far end can call all that this node had registered before, at
// once and however much that is. So it is when the link comes back.
func TestReadyMeansBothEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		const many = 3000
		methods := make([]connect.Method, many)
		for i := range methods {
			methods[i] = work(fmt.Sprintf("/test.v1.Many%d/M", i), "a")
		}
		mustRegister(t, c.Node("a").Namespace("public"), methods...)
		mustRegister(t, c.Node("a").Namespace("second"), methods[:100]...)
		hub := c.Node("hub")
		hub.Namespace("second")
		public := hub.Namespace("public")
		c.SetBuffer(4 << 10) // it takes a while
		c.Delay("a", "hub", 50*time.Millisecond)
		link, err := c.Node("a").Link(rpcmeshtest.URL("hub"), "public", "second")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := link.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			known := 0
			for range public.Functions() {
				known++
			}
			for range hub.Namespace("second").Functions() {
				known++
			}
			if known != many+100 {
				t.Errorf("the far end knows %d functions of %d", known, many+100)
			}
			c.Reset("a", "hub")
			time.Sleep(time.Microsecond) // fake time
		}
	})
}
