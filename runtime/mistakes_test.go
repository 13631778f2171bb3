package rpcmesh_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/errortest"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

type (
	outcome  = errortest.Outcome
	triggers = map[string]func(t *testing.T) outcome
)

// logTo returns a configuration that logs to log what a node without a Logger does.
func logTo(log *lockedBuffer) func(*rpcmesh.Config) {
	return func(cfg *rpcmesh.Config) {
		cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
}

// TestMistakesOfConfigs holds the table's rows of configurations.
func TestMistakesOfConfigs(t *testing.T) {
	made := func(change func(*rpcmesh.Config)) func(*testing.T) outcome {
		return func(*testing.T) outcome {
			cfg := rpcmesh.Config{Secret: "s"}
			change(&cfg)
			n, err := rpcmesh.NewNode(cfg)
			if err == nil {
				n.Close()
			}
			return errortest.Failed(err, "")
		}
	}
	limit := func(change func(*rpcmesh.Limits)) func(*testing.T) outcome {
		return made(func(c *rpcmesh.Config) { change(&c.Limits) })
	}
	authenticate := func(context.Context, rpcmesh.Peer) error { return nil }
	errortest.Check(t, &errortest.Configuration, triggers{
		"no-secret": made(func(c *rpcmesh.Config) { c.Secret = "" }),
		"no-secret-dial": func(t *testing.T) outcome {
			_, err := rpcmesh.Dial(t.Context(), "http://a", rpcmesh.ProxyConfig{})
			return errortest.Failed(err, "")
		},
		"secret-and-anyone":       made(func(c *rpcmesh.Config) { c.AcceptAnyone = true }),
		"authenticate-and-anyone": made(func(c *rpcmesh.Config) { c.Secret, c.AcceptAnyone, c.Authenticate = "", true, authenticate }),
		"secret-and-secrets":      made(func(c *rpcmesh.Config) { c.Secrets = []string{"t"} }),
		"many-secrets":            made(func(c *rpcmesh.Config) { c.Secret, c.Secrets = "", strings.Split("abcdefghi", "") }),
		"empty-secret":            made(func(c *rpcmesh.Config) { c.Secret, c.Secrets = "", []string{"s", ""} }),
		"short-secret": func(t *testing.T) outcome {
			return serving(t, rpcmesh.Config{Secret: "short"}, "0.0.0.0:0")
		},
		"no-certificate": func(t *testing.T) outcome {
			return serving(t, rpcmesh.Config{Secret: "s", TLS: &tls.Config{MinVersion: tls.VersionTLS13}}, "127.0.0.1:0")
		},
		"name":               made(func(c *rpcmesh.Config) { c.Name = "a\nb" }),
		"addresses":          made(func(c *rpcmesh.Config) { c.Addresses = make([]string, 17) }),
		"address":            made(func(c *rpcmesh.Config) { c.Addresses = []string{"a", "b\x00"} }),
		"metadata":           made(func(c *rpcmesh.Config) { c.Metadata = manyEntries(33) }),
		"metadata-text":      made(func(c *rpcmesh.Config) { c.Metadata = map[string]string{"k": "\xff"} }),
		"interceptor":        made(func(c *rpcmesh.Config) { c.Interceptors = []connect.ServerInterceptor{nil} }),
		"lame-duck":          made(func(c *rpcmesh.Config) { c.LameDuck = -time.Second }),
		"keepalive":          made(func(c *rpcmesh.Config) { c.Keepalive = time.Millisecond }),
		"redial-min":         made(func(c *rpcmesh.Config) { c.RedialMin = time.Microsecond }),
		"redial-max":         made(func(c *rpcmesh.Config) { c.RedialMin, c.RedialMax = time.Minute, time.Second }),
		"max-message":        limit(func(l *rpcmesh.Limits) { l.MaxMessage = -1 }),
		"window":             limit(func(l *rpcmesh.Limits) { l.Window = 63 }),
		"max-calls":          limit(func(l *rpcmesh.Limits) { l.MaxCalls = 1<<16 + 1 }),
		"link-memory":        limit(func(l *rpcmesh.Limits) { l.LinkMemory = -1 }),
		"node-memory":        limit(func(l *rpcmesh.Limits) { l.NodeMemory = -1 }),
		"max-conns":          limit(func(l *rpcmesh.Limits) { l.MaxConns = -1 }),
		"max-conns-per-host": limit(func(l *rpcmesh.Limits) { l.MaxConnsPerHost = -1 }),
	})
}

// serving is what comes of serving at an address.
func serving(t *testing.T, cfg rpcmesh.Config, address string) outcome {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return errortest.Failed(mustNode(t, cfg).Serve(t.Context(), l), "")
}

// panicked is what a call panics with.
func panicked(f func()) (o outcome) {
	defer func() {
		if r := recover(); r != nil {
			o = outcome{Code: "panic", Text: fmt.Sprint(r)}
		}
	}()
	f()
	return o
}

// TestMistakesOfNames holds the table's rows of names and servers.
func TestMistakesOfNames(t *testing.T) {
	// met is what comes of two nodes that are linked when it begins.
	met := func(do func(t *testing.T, a, b *rpcmesh.Node) error) func(*testing.T) outcome {
		return func(t *testing.T) (o outcome) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				var log lockedBuffer
				c.Node("a", logTo(&log))
				c.Node("b", logTo(&log))
				c.Link("b", "a", "public")
				err := do(t, c.Node("a"), c.Node("b"))
				synctest.Wait() // for the log
				o = errortest.Failed(err, log.String())
			})
			return o
		}
	}
	alone := func(do func(n *rpcmesh.Node) error) func(*testing.T) outcome {
		return func(t *testing.T) outcome {
			var log lockedBuffer
			cfg := rpcmesh.Config{Name: "a", Secret: "s"}
			logTo(&log)(&cfg)
			err := do(mustNode(t, cfg))
			return errortest.Failed(err, log.String())
		}
	}
	registering := func(namespace string, methods ...connect.Method) func(*testing.T) outcome {
		return alone(func(n *rpcmesh.Node) error {
			_, err := n.Namespace(namespace).Register(methods...)
			return err
		})
	}
	errortest.Check(t, &errortest.Names, triggers{
		"capitals":   registering("Public"),
		"characters": registering("a b"),
		"procedure":  registering("public", work("Greet", "a")),
		"registered": met(func(t *testing.T, a, b *rpcmesh.Node) error {
			register(t, a.Namespace("public"), says("a"))
			synctest.Wait()
			_, err := greetv1rpcmesh.RegisterGreeterOrigin(b.Namespace("public"), says("b"))
			return err
		}),
		"policy": met(func(t *testing.T, a, b *rpcmesh.Node) error {
			register(t, a.Namespace("public").Replicated(rpcmesh.PolicyRandom), says("a"))
			synctest.Wait()
			_, err := greetv1rpcmesh.RegisterGreeterOrigin(b.Namespace("public").Replicated(rpcmesh.PolicyNearest), says("b"))
			return err
		}),
		"policy-met": policiesMet,
		"nil-server": alone(func(n *rpcmesh.Node) error {
			var srv *funcs
			_, err := greetv1rpcmesh.RegisterGreeterOrigin(n.Namespace("public"), srv)
			return err
		}),
		"nil-registrar": alone(func(*rpcmesh.Node) error {
			var ns *rpcmesh.Namespace
			_, err := greetv1rpcmesh.RegisterGreeterOrigin(ns, says("a"))
			return err
		}),
		"nil-connect-server": alone(func(n *rpcmesh.Node) error {
			_, err := n.Namespace("public").RegisterServer(nil)
			return err
		}),
		"url": alone(func(n *rpcmesh.Node) error {
			_, err := n.Link("localhost:8220", "public")
			return err
		}),
		"mounted-twice": func(t *testing.T) outcome {
			mux := http.NewServeMux()
			mustNode(t, rpcmesh.Config{Secret: "s"}).Mount(mux)
			n := mustNode(t, rpcmesh.Config{Secret: "s"})
			if o := panicked(func() { n.Mount(n) }); o.Code != "panic" || !strings.Contains(o.Text, "has a node already") {
				t.Errorf("a node mounted on itself: %v", o)
			}
			return panicked(func() { n.Mount(mux) })
		},
		"handled-twice": func(t *testing.T) outcome {
			n := mustNode(t, rpcmesh.Config{Secret: "s"})
			n.Handle("/a", http.NotFoundHandler())
			return panicked(func() { n.Handle("/a", http.NotFoundHandler()) })
		},
	})
}

// policiesMet has two nodes meet that have the same function with different policies.
func policiesMet(t *testing.T) (o outcome) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		a, b := c.Node("a", logTo(&log)), c.Node("b")
		method := worker(func(context.Context, string) (string, error) { return "", nil })
		mustRegister(t, a.Namespace("public").Replicated(rpcmesh.PolicyRandom), method)
		time.Sleep(time.Minute) // fake time
		mustRegister(t, b.Namespace("public").Replicated(rpcmesh.PolicyNearest), method)
		c.Link("b", "a", "public")
		synctest.Wait()
		o = outcome{Log: log.String()}
	})
	return o
}
