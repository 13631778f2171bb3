package rpcmesh_test

import (
	"testing"
	"testing/synctest"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestWithdrawn: what could be called and cannot is told with the reason, as long as it cannot.
func TestWithdrawn(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		ns := c.Node("c").Namespace("public")
		gone := func() (all []rpcmesh.WithdrawnFunction) {
			for g := range ns.Withdrawn() {
				all = append(all, g)
			}
			return all
		}
		origin := mustRegister(t, c.Node("a").Namespace("public"), work("/test.v1.At/A", "a"), work("/test.v1.At/B", "a"))
		mustRegister(t, c.Node("b").Namespace("public"), work("/test.v1.At/Stays", "b"))
		synctest.Wait()
		if got := gone(); got != nil {
			t.Errorf("gone while all is there: %+v", got)
		}
		time.Sleep(time.Second) // fake time
		if err := origin.Unregister(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		got := gone()
		if len(got) != 2 || got[0].Procedure != "/test.v1.At/A" || got[1].Procedure != "/test.v1.At/B" {
			t.Fatalf("gone: %+v", got)
		}
		for _, g := range got {
			if g.OriginName != "a" || g.Origin != c.Node("a").ID() || g.Cause == "" || !g.Withdrawn.Equal(time.Now()) {
				t.Errorf("gone: %+v", g)
			}
		}
		for g := range ns.Withdrawn() {
			if g.Procedure != "/test.v1.At/A" {
				t.Errorf("the loop was left before %+v", g)
			}
			break
		}
		mustRegister(t, c.Node("c").Namespace("public"), work("/test.v1.At/A", "c"), work("/test.v1.At/B", "c"))
		if got := gone(); got != nil {
			t.Errorf("gone although another serves: %+v", got)
		}
		for g := range c.Node("c").Namespace("elsewhere").Withdrawn() {
			t.Errorf("gone elsewhere: %+v", g)
		}
	})
}
