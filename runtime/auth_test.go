package rpcmesh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// tryLink links from one node to another and returns what Ready says within a minute.
func tryLink(t testing.TB, n *rpcmesh.Node, to string, namespaces ...string) error {
	t.Helper()
	link, err := n.Link(rpcmeshtest.URL(to), namespaces...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return link.Ready(ctx)
}

// TestNoSecret: a node that has no way to tell friend from foe does not start, unless it is told in so many
// words to accept anyone.
func TestNoSecret(t *testing.T) {
	allow := func(context.Context, rpcmesh.Peer) error { return nil }
	for name, c := range map[string]struct {
		cfg  rpcmesh.Config
		text string // of the error, none where it is fine
	}{
		"nothing":                   {rpcmesh.Config{}, "AcceptAnyone"},
		"a name":                    {rpcmesh.Config{Name: "a"}, "Secret"},
		"a secret":                  {rpcmesh.Config{Secret: "s"}, ""},
		"an authenticator":          {rpcmesh.Config{Authenticate: allow}, ""},
		"both":                      {rpcmesh.Config{Secret: "s", Authenticate: allow}, ""},
		"anyone":                    {rpcmesh.Config{AcceptAnyone: true}, ""},
		"anyone with a secret":      {rpcmesh.Config{AcceptAnyone: true, Secret: "s"}, "contradicts"},
		"anyone who authenticates":  {rpcmesh.Config{AcceptAnyone: true, Authenticate: allow}, "contradicts"},
		"anyone, everything at all": {rpcmesh.Config{AcceptAnyone: true, Secret: "s", Authenticate: allow}, "contradicts"},
	} {
		n, err := rpcmesh.NewNode(c.cfg)
		if err == nil {
			n.Close()
		}
		if c.text == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		wantError(t, err, connect.CodeInvalidArgument, c.text)
	}
	_, err := rpcmesh.Dial(t.Context(), "http://a", rpcmesh.ProxyConfig{})
	wantError(t, err, connect.CodeInvalidArgument, "Secret")
}

// TestWrongSecret: it is refused with unauthenticated, is told nothing else, and is not retried in a tight loop.
func TestWrongSecret(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		var d dials
		a := c.Node("a", func(cfg *rpcmesh.Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			cfg.Metadata = map[string]string{"k": "told to friends"}
		})
		register(t, a.Namespace("public"), greeter{})
		b := c.Node("b", func(cfg *rpcmesh.Config) { cfg.Secret = "a bad guess" }, d.count)
		begin := time.Now()
		err := tryLink(t, b, "a", "public")
		wantError(t, err, connect.CodeUnauthenticated, "")
		if took := time.Since(begin); took > 0 {
			t.Errorf("the refusal took %v to show", took)
		}
		for _, told := range []string{"public", "Greeter", "friends", rpcmeshtest.Secret, "guess"} {
			if strings.Contains(err.Error(), told) {
				t.Errorf("it was told of %q: %v", told, err)
			}
		}
		time.Sleep(time.Minute) // fake time
		// 100 ms and doubling, each shortened by up to a half, and 10 s at the most.
		if got := len(d.take()); got < 8 || got > 20 {
			t.Errorf("it was tried %d times in a minute", got)
		}
		if down := linksOf(b)[""]; down.Up || connect.CodeOf(down.Err) != connect.CodeUnauthenticated {
			t.Errorf("the link: %+v", down)
		}
		if got := memberNames(b); !slices.Equal(got, []string{"b"}) {
			t.Errorf("b knows %v", got)
		}
		if got := memberNames(a); !slices.Equal(got, []string{"a"}) || len(linksOf(a)) != 0 {
			t.Errorf("a knows %v", got)
		}
		if log.count("link refused", "level=ERROR", "addr=b:") == 0 {
			t.Errorf("a's log says nothing:\n%s", log.String())
		}
		if strings.Contains(log.String(), rpcmeshtest.Secret) || strings.Contains(log.String(), "guess") {
			t.Errorf("a's log tells secrets:\n%s", log.String())
		}
	})
}

// TestWrongSecretOfAProxy: Dial returns the refusal at once.
func TestWrongSecretOfAProxy(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a").Namespace("public")
		_, err := rpcmesh.Dial(t.Context(), rpcmeshtest.URL("a"), rpcmesh.ProxyConfig{
			Namespace: "public", Secret: "wrong", Dial: c.Dialer("p"),
		})
		wantError(t, err, connect.CodeUnauthenticated, "")
	})
}

// TestMismatch: both ends must prove the same secret, or both accept anyone.
func TestMismatch(t *testing.T) {
	secret := func(s string) func(*rpcmesh.Config) { return func(cfg *rpcmesh.Config) { cfg.Secret = s } }
	anyone := func(cfg *rpcmesh.Config) { cfg.Secret, cfg.AcceptAnyone = "", true }
	for name, c := range map[string]struct {
		listener, dialler func(*rpcmesh.Config)
		code              connect.Code // 0: they link
	}{
		"the same secret":        {secret("s"), secret("s"), 0},
		"anyone and anyone":      {anyone, anyone, 0},
		"another secret":         {secret("s"), secret("t"), connect.CodeUnauthenticated},
		"a longer secret":        {secret("s"), secret("s\x00"), connect.CodeUnauthenticated},
		"anyone dials a secret":  {secret("s"), anyone, connect.CodeUnauthenticated},
		"a secret dials anyone":  {anyone, secret("s"), connect.CodeFailedPrecondition},
		"hook only and a secret": {func(cfg *rpcmesh.Config) { cfg.Secret, cfg.Authenticate = "", admitAll }, secret("s"), connect.CodeFailedPrecondition},
		"hook only and anyone":   {func(cfg *rpcmesh.Config) { cfg.Secret, cfg.Authenticate = "", admitAll }, anyone, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, cl *rpcmeshtest.Cluster) {
				cl.Node("a", c.listener).Namespace("public")
				err := tryLink(t, cl.Node("b", c.dialler), "a", "public")
				if c.code == 0 && err != nil || c.code != 0 && connect.CodeOf(err) != c.code {
					t.Errorf("got %v, want %v", err, c.code)
				}
			})
		})
	}
}

func admitAll(context.Context, rpcmesh.Peer) error { return nil }

// TestAuthenticate: the hook sees who asks and decides. What it says stays here.
func TestAuthenticate(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		var log lockedBuffer
		var mu sync.Mutex
		var seen []rpcmesh.Peer
		a := c.Node("a", func(cfg *rpcmesh.Config) {
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			cfg.Authenticate = func(_ context.Context, p rpcmesh.Peer) error {
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, p)
				if p.Name == "b" || p.Proxy {
					return nil
				}
				return errors.New("not on the list of 1234")
			}
		})
		a.Namespace("public")
		a.Namespace("private")
		c.Node("b")
		c.Link("b", "a", "public", "private")
		err := tryLink(t, c.Node("c"), "a", "public")
		wantError(t, err, connect.CodeUnauthenticated, "")
		if strings.Contains(err.Error(), "1234") {
			t.Errorf("it was told why: %v", err)
		}
		synctest.Wait()
		if log.count("1234") == 0 {
			t.Errorf("the log does not say why:\n%s", log.String())
		}
		c.Proxy("p", "a", "public")
		mu.Lock()
		defer mu.Unlock()
		b := seen[0]
		if b.ID != c.Node("b").ID() || b.Name != "b" || !strings.HasPrefix(b.Addr, "b:") || b.Proxy || b.TLS != nil ||
			!slices.Equal(b.Namespaces, []string{"public", "private"}) {
			t.Errorf("it saw %+v", b)
		}
		if last := seen[len(seen)-1]; !last.Proxy {
			t.Errorf("the proxy was seen as %+v", last)
		}
	})
}

// TestAuthenticateByTheDialler: the dialling side decides on the listener likewise.
func TestAuthenticateByTheDialler(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a").Namespace("public")
		b := c.Node("b", func(cfg *rpcmesh.Config) {
			cfg.Authenticate = func(_ context.Context, p rpcmesh.Peer) error {
				if p.Name == "a" && p.Addr != "" {
					return errors.New("not a")
				}
				return nil
			}
		})
		wantError(t, tryLink(t, b, "a", "public"), connect.CodeUnauthenticated, "")
		synctest.Wait()
		if len(linksOf(c.Node("a"))) != 0 {
			t.Error("the listener has a link")
		}
	})
}

// tap is a connection of which what is written is kept.
type tap struct {
	net.Conn
	mu      *sync.Mutex
	written *bytes.Buffer
}

func (c tap) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.written.Write(p)
	c.mu.Unlock()
	return c.Conn.Write(p)
}

// TestReplay: the secret is not in what is sent, and who sends again what a friend has sent is not let in.
func TestReplay(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		const secret = "a secret that is long enough to be looked for"
		var mu sync.Mutex
		var sent bytes.Buffer
		withSecret := func(cfg *rpcmesh.Config) { cfg.Secret = secret }
		a := c.Node("a", withSecret)
		c.Node("b", withSecret, func(cfg *rpcmesh.Config) {
			dial := cfg.Dial
			cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				return tap{conn, &mu, &sent}, err
			}
		})
		c.Link("b", "a", "public")
		mustRegister(t, c.Node("b").Namespace("public"), work("/test.v1.At/B", "b"))
		synctest.Wait()
		c.Stop("b")
		synctest.Wait()
		mu.Lock()
		replay := bytes.Clone(sent.Bytes())
		mu.Unlock()
		if len(replay) < 300 || bytes.Contains(replay, []byte(secret)) {
			t.Fatalf("%d bytes were sent, the secret among them: %v", len(replay), bytes.Contains(replay, []byte(secret)))
		}
		for _, size := range []int{len(replay), len(replay) / 2, 200} {
			conn, err := c.Dialer("imposter")(t.Context(), "tcp", "a:80")
			if err != nil {
				t.Fatal(err)
			}
			var heard sync.WaitGroup
			heard.Go(func() { _, _ = io.Copy(io.Discard, conn) })
			_, _ = conn.Write(replay[:size])
			synctest.Wait()
			if got := linksOf(a); len(got) != 0 {
				t.Errorf("a has let it in: %+v", got)
			}
			wantFunctions(t, a.Namespace("public"))
			time.Sleep(time.Minute) // fake time
			conn.Close()
			heard.Wait()
		}
	})
}
