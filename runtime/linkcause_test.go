package rpcmesh_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestLinkLogsSparingly: what keeps a link down is logged at once if it does not heal, and else after three seconds;
// then again ever more seldom, however often it is dialled.
func TestLinkLogsSparingly(t *testing.T) {
	for name, c := range map[string]struct {
		there func(c *rpcmeshtest.Cluster)
		level string
		first time.Duration
		lines int // in an hour
	}{
		"nobody listens": {func(*rpcmeshtest.Cluster) {}, "WARN", 3 * time.Second, 17},
		"another secret": {func(c *rpcmeshtest.Cluster) {
			c.Node("a", func(cfg *rpcmesh.Config) { cfg.Secret = "another" }).Namespace("public")
		}, "ERROR", 0, 18},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, cluster *rpcmeshtest.Cluster) {
				c.there(cluster)
				var log lockedBuffer
				b := cluster.Node("b", func(cfg *rpcmesh.Config) {
					cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
				})
				if _, err := b.Link(rpcmeshtest.URL("a"), "public"); err != nil {
					t.Fatal(err)
				}
				if c.first > 0 {
					time.Sleep(c.first - time.Millisecond) // fake time
					if got := log.String(); got != "" {
						t.Errorf("it logs too soon:\n%s", got)
					}
				}
				time.Sleep(2 * time.Millisecond) // fake time
				synctest.Wait()
				if got := log.count("level="+c.level, "http://a"); got != 1 {
					t.Errorf("it has logged %d lines:\n%s", got, log.String())
				}
				time.Sleep(time.Hour) // fake time
				if got := strings.Count(log.String(), "\n"); got != c.lines {
					t.Errorf("it logs %d lines an hour, want %d:\n%s", got, c.lines, log.String())
				}
			})
		})
	}
}

// TestFirstAttemptIsExplained: a link whose first attempt goes on says what it waits for.
func TestFirstAttemptIsExplained(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		unserved(finds{t, c})
		b := c.Node("b")
		if _, err := b.Link(rpcmeshtest.URL("a"), "public"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for l := range b.Links() {
			if l.Up || connect.CodeOf(l.Err) != connect.CodeUnavailable || !strings.Contains(l.Err.Error(), "says nothing") {
				t.Errorf("link %+v", l)
			}
		}
	})
}
