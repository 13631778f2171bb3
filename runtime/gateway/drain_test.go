package gateway_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	healthv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/grpc/health/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// lameDuck is the lame-duck time of a drained node.
const lameDuck = 5 * time.Second

// servers are who serves the gateway that is drained: its node, by either of its servers, or one of the user's own.
var servers = []string{"node", "node, under a path", "net/http"}

// drained is a gateway node that is shut down while it has callers. Its function is at another node.
type drained struct {
	*testing.T
	*rpcmeshtest.Cluster
	node *rpcmesh.Node
	host string
	path string // before those of functions

	mu    sync.Mutex
	dials int
}

func drainBubble(t *testing.T, server string, srv greetv1rpcmesh.GreeterServer, test func(d *drained)) {
	synctest.Test(t, func(t *testing.T) {
		d := &drained{T: t, Cluster: rpcmeshtest.New(t), host: "entry"}
		d.node = d.Node("entry", func(cfg *rpcmesh.Config) { cfg.LameDuck = lameDuck })
		d.Link("origin", "entry", "public")
		if _, err := greetv1rpcmesh.RegisterGreeterOrigin(d.Node("origin").Namespace("public"), srv); err != nil {
			t.Fatal(err)
		}
		g, err := gateway.New(d.node, gateway.Config{Namespace: "public", Open: true})
		if err != nil {
			t.Fatal(err)
		}
		switch server {
		case "node":
			if err := gateway.Mount(d.node, gateway.Config{Namespace: "public", Open: true}); err != nil {
				t.Fatal(err)
			}
		case "node, under a path":
			d.path = "/api"
			d.node.Handle("/api/", http.StripPrefix("/api", g))
		case "net/http":
			d.host = "front"
			defer d.front(g)()
		}
		synctest.Wait()
		test(d)
	})
}

// front serves a gateway by a server of the user's own, which nobody shuts down.
func (d *drained) front(g http.Handler) (stop func()) {
	l, err := d.Listen(d.host)
	if err != nil {
		d.Fatal(err)
	}
	s := &http.Server{Handler: g, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l)
	return func() { _ = s.Close() }
}

// client is an HTTP client that notes its connections.
func (d *drained) client(h2 bool) *http.Client {
	dial := d.Dialer("client")
	transport := &http.Transport{Protocols: new(http.Protocols), DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		d.mu.Lock()
		d.dials++
		d.mu.Unlock()
		return dial(ctx, network, address)
	}}
	transport.Protocols.SetHTTP1(!h2)
	transport.Protocols.SetUnencryptedHTTP2(h2)
	d.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (d *drained) greeter(h2 bool, options ...connecthttp.Option) greetv1rpcmesh.GreeterClient {
	return greetv1rpcmesh.NewGreeterClient(connecthttp.NewTransport(d.client(h2), "http://"+d.host+d.path, options...))
}

// shutDown begins to shut the node down.
func (d *drained) shutDown(ctx context.Context) chan error {
	down := make(chan error, 1)
	go func() { down <- d.node.Shutdown(ctx) }()
	synctest.Wait()
	return down
}

func greetAs(ctx context.Context, c greetv1rpcmesh.GreeterClient) error {
	_, err := c.Greet(ctx, &greetv1.GreetRequest{Name: "Ada"})
	return err
}

// slow answers after a while, with its context's end at the latest.
func slow(after time.Duration) scripted {
	return scripted{greet: func(ctx context.Context) error {
		select {
		case <-time.After(after):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
}

// TestDrainHealth: health says at once that the node does not serve, by every way to ask, while calls go on.
func TestDrainHealth(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			drainBubble(t, server, greeter{}, func(d *drained) {
				checker := connect.NewClient(connecthttp.NewTransport(d.client(true), "http://"+d.host+d.path))
				watch := d.watchHealth(checker)
				d.wantNext(watch, "SERVING")
				down := d.shutDown(d.Context())
				for _, service := range []string{"", greetv1rpcmesh.GreeterName} {
					if got := d.health(checker, service); got != "NOT_SERVING" {
						t.Errorf("health of %q: %s", service, got)
					}
				}
				d.wantNext(watch, "NOT_SERVING")
				if err := greetAs(d.Context(), d.greeter(true)); err != nil {
					t.Errorf("a call of a lame duck: %v", err)
				}
				begin := time.Now()
				d.wantNext(watch, "unavailable")
				if took := time.Since(begin); took != lameDuck {
					t.Errorf("the watch ended after %v", took)
				}
				if err := <-down; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func healthSpec(method string, kind connect.StreamType) connect.Spec {
	return connect.Spec{Procedure: "/grpc.health.v1.Health/" + method, StreamType: kind}
}

func (d *drained) health(c *connect.Client, service string) string {
	res := new(healthv1.HealthCheckResponse)
	err := c.CallUnary(d.Context(), healthSpec("Check", connect.StreamTypeUnary), &healthv1.HealthCheckRequest{Service: service}, res)
	if err != nil {
		return err.Error()
	}
	return res.GetStatus().String()
}

func (d *drained) watchHealth(c *connect.Client) func() string {
	d.Helper()
	stream, err := c.CallServerStream(d.Context(), healthSpec("Watch", connect.StreamTypeServer), new(healthv1.HealthCheckRequest))
	if err != nil {
		d.Fatal(err)
	}
	return func() string {
		res := new(healthv1.HealthCheckResponse)
		if err := stream.Receive(res); err != nil {
			return connect.CodeOf(err).String()
		}
		return res.GetStatus().String()
	}
}

func (d *drained) wantNext(next func() string, want string) {
	d.Helper()
	if got := next(); got != want {
		d.Errorf("got %s, want %s", got, want)
	}
}

// way is a protocol, and the version of HTTP that it is spoken by.
type way struct {
	protocol string
	h2       bool
	options  []connecthttp.Option
}

// ways are all that there are.
func ways() (all []way) {
	for name, options := range protocols {
		all = append(all, way{name, true, options})
		if name != "grpc" {
			all = append(all, way{name, false, options})
		}
	}
	return all
}

// TestDrainCalls: calls that run when the lame-duck time is over end by themselves, by every protocol, and so do those
// that their callers make while they cannot know yet. Connections end.
func TestDrainCalls(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			drainBubble(t, server, slow(lameDuck+3*time.Second), func(d *drained) {
				var calls sync.WaitGroup
				for _, w := range ways() {
					calls.Go(func() {
						if err := greetAs(d.Context(), d.greeter(w.h2, w.options...)); err != nil {
							t.Errorf("%s, HTTP/2 %v: %v", w.protocol, w.h2, err)
						}
					})
				}
				begin := time.Now()
				if err := <-d.shutDown(d.Context()); err != nil {
					t.Error(err)
				}
				calls.Wait()
				if took := time.Since(begin); took < lameDuck+3*time.Second || took > lameDuck+5*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

// TestDrainKeepAlive: a connection of HTTP/1.1 is told by an answer that it is to end, one that is idle gets a second
// for that, and what still comes by a server of the user's own afterwards is refused.
func TestDrainKeepAlive(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			drainBubble(t, server, greeter{}, func(d *drained) {
				client := d.client(false)
				post := func() (status int, closes bool, body string) {
					res, err := client.Post("http://"+d.host+d.path+greetPath, "application/json", strings.NewReader(`{"name": "Ada"}`))
					if err != nil {
						return 0, false, err.Error()
					}
					defer res.Body.Close()
					b, err := io.ReadAll(res.Body)
					if err != nil {
						return 0, false, err.Error()
					}
					return res.StatusCode, res.Close, string(b)
				}
				want := func(what string, status int, closes bool) {
					t.Helper()
					if s, c, body := post(); s != status || c != closes {
						t.Errorf("%s: %d, closes %v: %s", what, s, c, body)
					}
				}
				want("before", 200, false)
				down := d.shutDown(d.Context())
				time.Sleep(lameDuck - time.Millisecond) // fake time
				want("lame duck", 200, false)
				time.Sleep(500 * time.Millisecond) // fake time
				want("draining", 200, true)
				if err := <-down; err != nil {
					t.Error(err)
				}
				if server == "net/http" {
					want("refused", 503, true)
				}
				if d.dials > 2 {
					t.Errorf("%d connections", d.dials)
				}
			})
		})
	}
}

// TestDrainRefuses: what comes too late is told so by every protocol, and that it has not started.
func TestDrainRefuses(t *testing.T) {
	drainBubble(t, "net/http", greeter{}, func(d *drained) {
		if err := greetAs(d.Context(), d.greeter(true)); err != nil {
			t.Fatal(err)
		}
		if err := <-d.shutDown(d.Context()); err != nil {
			t.Error(err)
		}
		for _, w := range ways() {
			err := greetAs(d.Context(), d.greeter(w.h2, w.options...))
			failure, _ := rpcmesh.FailureOf(err)
			if connect.CodeOf(err) != connect.CodeUnavailable || failure.Certainty != rpcmesh.CertaintyNotStarted {
				t.Errorf("%s, HTTP/2 %v: %v, %v", w.protocol, w.h2, err, failure)
			}
		}
	})
}

// TestDrainCutsOff: calls that run longer than the node may drain end as unavailable, by every protocol.
func TestDrainCutsOff(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			drainBubble(t, server, slow(time.Hour), func(d *drained) {
				ctx, cancel := context.WithTimeout(d.Context(), time.Minute)
				defer cancel()
				forLong, end := context.WithTimeout(d.Context(), time.Hour)
				defer end()
				var calls sync.WaitGroup
				for _, w := range ways() {
					calls.Go(func() {
						if err := greetAs(forLong, d.greeter(w.h2, w.options...)); connect.CodeOf(err) != connect.CodeUnavailable {
							t.Errorf("%s, HTTP/2 %v: %v", w.protocol, w.h2, err)
						}
					})
				}
				synctest.Wait()
				begin := time.Now()
				if err := <-d.shutDown(ctx); err == nil {
					t.Error("Shutdown has cut off nothing")
				}
				calls.Wait()
				if took := time.Since(begin); took < time.Minute || took > time.Minute+2*time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}
