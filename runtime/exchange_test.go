package rpcmesh_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// stalling is a log that has its node stand still when a member joins: it is told while the node's lock is held.
type stalling struct {
	member  string
	stalled chan struct{}
	goOn    chan struct{}
	once    *sync.Once
}

func newStalling(member string) *stalling {
	return &stalling{member: member, stalled: make(chan struct{}), goOn: make(chan struct{}), once: new(sync.Once)}
}

func (*stalling) Enabled(context.Context, slog.Level) bool { return true }

func (s *stalling) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if r.Message == "membership" && a.Key == "member" && a.Value.String() == s.member {
			s.once.Do(func() {
				close(s.stalled)
				<-s.goOn
			})
		}
		return true
	})
	return nil
}

func (s *stalling) WithAttrs([]slog.Attr) slog.Handler { return s }

func (s *stalling) WithGroup(string) slog.Handler { return s }

// TestKeepaliveDoesNotWaitForTables: a node that takes long over a table, with its lock held, still lives to the
// others, and they to it; calls that are under way through it go on. Afterwards it takes in all that it was told.
func TestKeepaliveDoesNotWaitForTables(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		log := newStalling("new")
		c.Node("slow", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(log) })
		c.Link("a", "slow", "public")
		c.Link("b", "slow", "public")
		register(t, c.Node("a").Namespace("public"), funcs{chat: echo})
		synctest.Wait()
		stream := mustChat(t, c.Node("b").Namespace("public"))
		mustSend(t, stream, "before")
		wantLines(t, stream, "before")
		up := upSince(c.Node("a"), c.Node("b"))

		if _, err := c.Node("new").Link(rpcmeshtest.URL("a"), "public"); err != nil {
			t.Fatal(err)
		}
		<-log.stalled
		for i := range 10 { // more than the readers wait for
			mustRegister(t, c.Node("a").Namespace("public"), work(fmt.Sprintf("/test.v1.Late/F%d", i), "a"))
			time.Sleep(6 * time.Second) // fake time
		}
		mustSend(t, stream, "meanwhile")
		wantLines(t, stream, "meanwhile")
		close(log.goOn)
		time.Sleep(time.Second) // fake time
		if got := upSince(c.Node("a"), c.Node("b")); !slices.Equal(got, up) {
			t.Errorf("links are up since %v, and were since %v", got, up)
		}
		if got := len(functionsOf(c.Node("b").Namespace("public"))); got != len(greeterProcedures)+10 {
			t.Errorf("b knows %d functions", got)
		}
	})
}

// upSince returns when the links of nodes to the node "slow" came up.
func upSince(nodes ...*rpcmesh.Node) (since []time.Time) {
	for _, n := range nodes {
		for l := range n.Links() {
			if l.PeerName == "slow" {
				since = append(since, l.Since)
			}
		}
	}
	return since
}

// TestReaderOfManyTablesWaits: of what a peer tells a node that stands still only so much waits there.
func TestReaderOfManyTablesWaits(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		log := newStalling("new")
		c.Node("slow", func(cfg *rpcmesh.Config) { cfg.Logger = slog.New(log) })
		c.Link("a", "slow", "public")
		if _, err := c.Node("new").Link(rpcmeshtest.URL("a"), "public"); err != nil {
			t.Fatal(err)
		}
		<-log.stalled
		for i := range 100 {
			mustRegister(t, c.Node("a").Namespace("public"), work(fmt.Sprintf("/test.v1.Late/F%d", i), "a"))
			time.Sleep(100 * time.Millisecond) // fake time
		}
		close(log.goOn)
		time.Sleep(2 * time.Second) // fake time
		if got := len(functionsOf(c.Node("slow").Namespace("public"))); got != 100 {
			t.Errorf("it knows %d functions", got)
		}
	})
}
