package adopt_test

import (
	"net/http"
	"testing"
	"time"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	"github.com/rpcmesh/rpcmesh/runtime/internal/errortest"
)

// TestMistakesOfConfigs holds the table's rows of an adopted server's configuration.
func TestMistakesOfConfigs(t *testing.T) {
	node := lone(t)
	of := func(node *rpcmesh.Node, url string, change func(*adopt.Config)) func(*testing.T) errortest.Outcome {
		return func(*testing.T) errortest.Outcome {
			var cfg adopt.Config
			change(&cfg)
			a, err := adopt.New(node, url, cfg)
			if err == nil {
				_ = a.Close() // it is to fail
			}
			return errortest.Failed(err, "")
		}
	}
	made := func(change func(*adopt.Config)) func(*testing.T) errortest.Outcome {
		return of(node, "http://127.0.0.1:1", change)
	}
	limit := func(change func(*adopt.Limits)) func(*testing.T) errortest.Outcome {
		return made(func(c *adopt.Config) { change(&c.Limits) })
	}
	nothing := func(*adopt.Config) {}
	errortest.Check(t, &errortest.AdoptConfiguration, map[string]func(*testing.T) errortest.Outcome{
		"nil-node":        of(nil, "http://127.0.0.1:1", nothing),
		"url":             of(node, "localhost:50051", nothing),
		"url-user":        of(node, "http://me:pw@localhost:50051", nothing),
		"namespace":       made(func(c *adopt.Config) { c.Namespace = "Public" }),
		"policy":          made(func(c *adopt.Config) { c.Policy = 9 }),
		"protocol":        made(func(c *adopt.Config) { c.Protocol = 9 }),
		"header":          made(func(c *adopt.Config) { c.Header = http.Header{"a b": {"c"}} }),
		"probe-interval":  made(func(c *adopt.Config) { c.ProbeInterval = 1 }),
		"probe-timeout":   made(func(c *adopt.Config) { c.ProbeTimeout = 1 }),
		"retry-min":       made(func(c *adopt.Config) { c.RetryMin = 1 }),
		"retry-max":       made(func(c *adopt.Config) { c.RetryMin, c.RetryMax = time.Minute, time.Second }),
		"max-message":     limit(func(l *adopt.Limits) { l.MaxMessage = -1 }),
		"max-calls":       limit(func(l *adopt.Limits) { l.MaxCalls = -1 }),
		"max-services":    limit(func(l *adopt.Limits) { l.MaxServices = -1 }),
		"max-files":       limit(func(l *adopt.Limits) { l.MaxFiles = -1 }),
		"max-descriptors": limit(func(l *adopt.Limits) { l.MaxDescriptors = -1 }),
		"descriptors":     made(func(c *adopt.Config) { c.Descriptors = []byte("syntax = \"proto3\";") }),
		"descriptors-length": made(func(c *adopt.Config) {
			c.Descriptors, c.Limits.MaxDescriptors = greeterSet(t), 10
		}),
		"services": made(func(c *adopt.Config) { c.Descriptors, c.Services = greeterSet(t), []string{"Greeter"} }),
	})
}
