package rpcmesh_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestConfigOfConnections: what cannot be is refused.
func TestConfigOfConnections(t *testing.T) {
	for name, limits := range map[string]rpcmesh.Limits{
		"MaxConns": {MaxConns: -1}, "MaxConnsPerHost": {MaxConnsPerHost: -1},
		"LinkMemory": {LinkMemory: -1}, "NodeMemory": {NodeMemory: -1},
	} {
		_, err := rpcmesh.NewNode(rpcmesh.Config{Secret: "s", Limits: limits})
		wantError(t, err, connect.CodeInvalidArgument, "Limits."+name)
	}
	n := mustNode(t, rpcmesh.Config{Secret: "s", Limits: rpcmesh.Limits{MaxConns: 1}})
	if got := n.Limits(); got.MaxConnsPerHost != 1 || got.LinkMemory != rpcmesh.DefaultLinkMemory || got.NodeMemory != rpcmesh.DefaultNodeMemory {
		t.Errorf("got %+v", got)
	}
}

// visitors are what may hold a connection. Each has its connection in use when it returns.
var visitors = map[string]func(t *testing.T, c *rpcmeshtest.Cluster, host string) (leave func()){
	"one that says nothing": func(t *testing.T, c *rpcmeshtest.Cluster, host string) func() {
		conn := dialRaw(t, c, host)
		return func() { conn.Close() }
	},
	"half a preface": func(t *testing.T, c *rpcmeshtest.Cluster, host string) func() {
		conn := dialRaw(t, c, host)
		_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n")
		return func() { conn.Close() }
	},
	"HTTP/1.1": func(t *testing.T, c *rpcmeshtest.Cluster, host string) func() {
		conn := dialRaw(t, c, host)
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return func() { conn.Close() }
	},
	"HTTP/2": func(t *testing.T, c *rpcmeshtest.Cluster, host string) func() {
		transport := &http.Transport{DialContext: c.Dialer(host), Protocols: h2c()}
		res, err := (&http.Client{Transport: transport}).Get(rpcmeshtest.URL("a"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return transport.CloseIdleConnections
	},
	"a link": func(t *testing.T, c *rpcmeshtest.Cluster, host string) func() {
		n := mustNode(t, rpcmesh.Config{Secret: rpcmeshtest.Secret, Dial: c.Dialer(host)})
		l, err := n.Link(rpcmeshtest.URL("a"))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		return func() { l.Close() }
	},
}

// refused reports whether a connection is closed at once.
func refused(t *testing.T, c *rpcmeshtest.Cluster, host string) bool {
	conn := dialRaw(t, c, host)
	defer conn.Close()
	return untilClosed(conn) == 0
}

// TestMaxConns: so many connections are taken at once, whatever they are for; one that ends makes room.
func TestMaxConns(t *testing.T) {
	for name, visit := range visitors {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				c.Node("a", func(cfg *rpcmesh.Config) {
					cfg.Limits.MaxConns, cfg.Limits.MaxConnsPerHost = 3, 2
				})
				for range 3 {
					synctest.Wait() // the last visitor is known to have left
					leave := []func(){visit(t, c, "x"), visit(t, c, "x")}
					if !refused(t, c, "x") {
						t.Error("a host has more than its share")
					}
					leave = append(leave, visit(t, c, "y"))
					if !refused(t, c, "z") {
						t.Error("there are more connections than there may be")
					}
					for _, f := range leave {
						f()
					}
					time.Sleep(time.Second) // fake time
					if refused(t, c, "x") {
						t.Error("there is no room when all have left")
					}
				}
			})
		})
	}
}

// TestIdleConnections: a connection that is there for nothing is closed; a link, or a request that goes on, is not.
func TestIdleConnections(t *testing.T) {
	const idle = 7 * time.Second
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		a := c.Node("a", func(cfg *rpcmesh.Config) { cfg.IdleTimeout = idle })
		a.Handle("/slow", http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Minute) // fake time
		}))
		c.Node("b")
		c.Link("b", "a", "public")
		for name, says := range map[string]string{
			"HTTP/1.1": "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
			"HTTP/2":   "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00",
		} {
			conn := dialRaw(t, c, "x")
			go func() { _, _ = io.WriteString(conn, says) }()
			if took := untilClosed(conn); took < idle || took > idle+2*time.Second {
				t.Errorf("%s: it was closed after %v", name, took)
			}
		}
		for _, protocols := range []*http.Protocols{nil, h2c()} {
			transport := &http.Transport{DialContext: c.Dialer("x"), Protocols: protocols}
			res, err := (&http.Client{Transport: transport}).Get(rpcmeshtest.URL("a") + "/slow")
			if err != nil {
				t.Fatalf("a slow request: %v", err)
			}
			res.Body.Close()
			transport.CloseIdleConnections()
		}
		for _, info := range linksOf(c.Node("a")) {
			if time.Since(info.Since) < time.Minute {
				t.Errorf("the link has been down: %+v", info)
			}
		}
	})
}

// TestServeOnAClosedListener: that somebody else has closed the listener is an error.
func TestServeOnAClosedListener(t *testing.T) {
	n := mustNode(t, rpcmesh.Config{Secret: "s"})
	l := listen(t)
	l.Close()
	if err := n.Serve(t.Context(), l); err == nil {
		t.Error("closed before: got no error")
	}
	l = listen(t)
	served := make(chan error, 1)
	go func() { served <- n.Serve(context.Background(), l) }() //nolint:usetesting // its end is what is tested
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	l.Close()
	if err := <-served; err == nil {
		t.Error("closed by somebody: got no error")
	}
}

// TestRefusalsAreLoggedSoOften: strangers fill no log: what they cause is logged a few times, then counted.
func TestRefusalsAreLoggedSoOften(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		c.Node("a", func(cfg *rpcmesh.Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			cfg.Limits.MaxConnsPerHost = 1
		})
		dialRaw(t, c, "x")
		synctest.Wait()
		for range 500 {
			refused(t, c, "x")
		}
		if got := strings.Count(log.String(), "connection refused"); got == 0 || got > 10 {
			t.Errorf("%d refused connections were logged", got)
		}
		time.Sleep(time.Minute) // fake time
		dialRaw(t, c, "x")
		synctest.Wait()
		refused(t, c, "x")
		if !strings.Contains(log.String(), "left_out=495") {
			t.Errorf("nothing tells how many there were: %s", log.String())
		}
		guesser := mustNode(t, rpcmesh.Config{
			Secret: "wrong", Dial: c.Dialer("y"), RedialMin: 50 * time.Millisecond, RedialMax: 50 * time.Millisecond,
		})
		if _, err := guesser.Link(rpcmeshtest.URL("a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // fake time
		if got := strings.Count(log.String(), "link refused"); got == 0 || got > 40 {
			t.Errorf("%d refused links were logged in a minute", got)
		}
	})
}
