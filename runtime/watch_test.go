package rpcmesh_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// diary is what a watcher has been told.
type diary struct {
	events []rpcmesh.Event
	ended  chan struct{}
}

// watch watches ns until the end of the test. take may only be called where nothing happens.
func watch(t *testing.T, ns *rpcmesh.Namespace) *diary {
	t.Helper()
	d := &diary{ended: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() { cancel(); <-d.ended })
	go func() {
		defer close(d.ended)
		for e := range ns.Watch(ctx) {
			d.events = append(d.events, e)
		}
	}()
	synctest.Wait()
	return d
}

// take returns what has been told since the last time, sorted, as "member joined: name" or "function
// added: /procedure at name".
func (d *diary) take() []string {
	var lines []string
	for _, e := range d.events {
		line := fmt.Sprintf("%v: %s", e.Kind, e.NodeName)
		if e.Procedure != "" {
			line = fmt.Sprintf("%v: %s at %s", e.Kind, e.Procedure, e.NodeName)
		}
		lines = append(lines, line)
	}
	d.events = nil
	slices.Sort(lines)
	return lines
}

func (d *diary) want(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	// Members that change their links say so: it is not what these tests are about.
	got := slices.DeleteFunc(d.take(), func(line string) bool { return strings.HasPrefix(line, "member changed") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestWatch(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a")
		c.Node("b")
		c.Node("c")
		c.Link("b", "a", "public")
		ns := c.Node("a").Namespace("public")
		mustRegister(t, c.Node("b").Namespace("public"), work("/test.v1.At/B", "b"))
		synctest.Wait()
		d := watch(t, ns)
		d.want(t, "what is", "function added: /test.v1.At/B at b", "member joined: a", "member joined: b")

		c.Link("c", "b", "public")
		d.want(t, "a node joins", "member joined: c")
		origin := mustRegister(t, c.Node("c").Namespace("public"), work("/test.v1.At/C", "c"))
		d.want(t, "registering", "function added: /test.v1.At/C at c")
		origin.Unregister()
		d.want(t, "withdrawing", "function removed: /test.v1.At/C at c")
		mustRegister(t, c.Node("c").Namespace("private"), work("/test.v1.At/C", "c"))
		d.want(t, "another namespace")

		mustRegister(t, c.Node("c").Namespace("public"), work("/test.v1.At/C", "c"))
		d.want(t, "registering again", "function added: /test.v1.At/C at c")
		c.Stop("c")
		d.want(t, "a goodbye", "function removed: /test.v1.At/C at c", "member left: c")
		c.Start("c")
		time.Sleep(time.Minute) // fake time
		d.want(t, "a start", "member joined: c")
		c.Kill("c")
		d.want(t, "a death", "member lost: c")
		c.Start("c")
		time.Sleep(time.Minute) // fake time
		d.want(t, "a start", "member joined: c")
		c.Silence("c", "b")
		time.Sleep(rpcmesh.DefaultKeepalive) // fake time
		d.want(t, "silence", "member lost: c")
	})
}

// TestWatchTellsCauses: an event says why, where it is known.
func TestWatchTellsCauses(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		origin := mustRegister(t, c.Node("c").Namespace("public"), work("/test.v1.At/C", "c"))
		synctest.Wait()
		d := watch(t, c.Node("a").Namespace("public"))
		d.take()
		time.Sleep(time.Second) // fake time
		c.Cut("b", "c")
		synctest.Wait()
		for _, e := range d.events {
			if e.Kind == rpcmesh.MemberLost || e.Kind == rpcmesh.FunctionRemoved {
				if e.Cause == "" || e.Namespace != "public" || e.Node != c.Node("c").ID() || !e.Time.Equal(time.Now()) {
					t.Errorf("%v: %+v", e.Kind, e)
				}
			}
		}
		if len(d.events) == 0 {
			t.Error("nothing was told")
		}
		_ = origin
	})
}

// TestWatchEnds: a watcher ends with its loop, its context or its node.
func TestWatchEnds(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ns := c.Node("a").Namespace("public")
		for range ns.Watch(t.Context()) {
			break
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range ns.Watch(ctx) {
		}
		if ctx.Err() == nil {
			t.Error("the watcher ended before its context")
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for range ns.Watch(t.Context()) {
			}
		}()
		synctest.Wait()
		c.Stop("a")
		<-ended
		for range ns.Watch(t.Context()) {
			t.Error("a closed node tells of something")
		}
	})
}

// TestWatchMisses: a watcher that does not listen holds nothing up, and is told that it has missed some.
func TestWatchMisses(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		ns := c.Node("a").Namespace("public")
		listened, missed := 0, false
		for e := range ns.Watch(t.Context()) {
			listened++
			if listened == 1 {
				for range 3000 {
					mustRegister(t, ns, work("/test.v1.At/A", "a")).Unregister()
				}
			}
			if e.Kind == rpcmesh.EventsMissed {
				missed = true
				break
			}
		}
		if !missed || listened > 5000 {
			t.Errorf("heard %d events, missed some: %v", listened, missed)
		}
	})
}
