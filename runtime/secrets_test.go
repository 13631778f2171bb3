package rpcmesh_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

const longSecret = "0123456789abcdef"

// TestSecretsConfig: which secrets a node and a proxy are made with.
func TestSecretsConfig(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  rpcmesh.Config
		text string // of the error, none where it is fine
	}{
		"one of several":     {rpcmesh.Config{Secrets: []string{"s"}}, ""},
		"eight":              {rpcmesh.Config{Secrets: strings.Split("abcdefgh", "")}, ""},
		"nine":               {rpcmesh.Config{Secrets: strings.Split("abcdefghi", "")}, "8 at most"},
		"one and several":    {rpcmesh.Config{Secret: "s", Secrets: []string{"s"}}, "set one of them"},
		"an empty one":       {rpcmesh.Config{Secrets: []string{"s", ""}}, "empty"},
		"none":               {rpcmesh.Config{Secrets: []string{}}, "AcceptAnyone"},
		"several and anyone": {rpcmesh.Config{Secrets: []string{"s"}, AcceptAnyone: true}, "contradicts"},
	} {
		n, err := rpcmesh.NewNode(c.cfg)
		if err == nil {
			n.Close()
		}
		if c.text == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.text != "" {
			wantError(t, err, connect.CodeInvalidArgument, c.text)
		}
	}
	_, err := rpcmesh.Dial(t.Context(), "http://a", rpcmesh.ProxyConfig{Secret: "s", Secrets: []string{"s"}})
	wantError(t, err, connect.CodeInvalidArgument, "set one of them")
}

// TestSecretsAreNotPrinted: no way of printing a configuration or a node shows a secret.
func TestSecretsAreNotPrinted(t *testing.T) {
	const one, other = "a secret that is shown", "another that is shown"
	var out bytes.Buffer
	logs := []*slog.Logger{slog.New(slog.NewTextHandler(&out, nil)), slog.New(slog.NewJSONHandler(&out, nil))}
	show := func(values ...any) {
		for _, v := range values {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
			b, _ := json.Marshal(v) // it need not be able to
			out.Write(b)
			for _, log := range logs {
				log.Info("printed", "value", v)
			}
		}
	}
	for _, cfg := range []rpcmesh.Config{{Name: "visible", Secret: one}, {Name: "visible", Secrets: []string{one, other}}} {
		n := mustNode(t, cfg)
		n.Close() // to look at what nobody changes
		proxy := rpcmesh.ProxyConfig{Name: "visible", Secret: cfg.Secret, Secrets: cfg.Secrets}
		show(cfg, &cfg, proxy, &proxy, []rpcmesh.Config{cfg}, struct{ C *rpcmesh.Config }{&cfg}, n)
		show(struct{ C rpcmesh.Config }{cfg}, struct{ P rpcmesh.ProxyConfig }{proxy}, map[string]rpcmesh.Config{"a": cfg})
	}
	text := out.String()
	for _, secret := range []string{one, other} {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%d", []byte(secret))} {
			if strings.Contains(text, form) {
				t.Errorf("it shows %q", form)
			}
		}
	}
	if !strings.Contains(text, "visible") {
		t.Error("nothing was printed")
	}
}

// TestChangeOfSecret: three nodes in a chain go from one secret to another, one after the other, while calls cross
// them. After each single step new links come up in both directions, and those that are there when they fall.
func TestChangeOfSecret(t *testing.T) {
	for name, steps := range map[string][][]string{
		"two steps":   {{"new", rpcmeshtest.Secret}, {"new"}},
		"three steps": {{rpcmeshtest.Secret, "new"}, {"new", rpcmeshtest.Secret}, {"new"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) { testChangeOfSecret(t, c, steps) })
		})
	}
}

func testChangeOfSecret(t *testing.T, c *rpcmeshtest.Cluster, steps [][]string) {
	links := []*rpcmesh.Link{c.Link("a", "b", "public"), c.Link("c", "b", "public")}
	for _, name := range []string{"a", "b", "c"} {
		c.Node(name).Namespace("probe")
	}
	mustRegister(t, c.Node("a").Namespace("public"), worker(func(_ context.Context, number string) (string, error) {
		time.Sleep(3 * time.Millisecond) // fake time
		return number, nil
	}))
	procedure := workSpec().Procedure
	if err := c.Node("c").Namespace("public").WaitFor(t.Context(), procedure); err != nil {
		t.Fatal(err)
	}
	load := newLoad(20)
	load.start(t, c.Node("c").Namespace("public"))
	sessions := linksOf(c.Node("b"))
	for _, secrets := range steps {
		for _, name := range []string{"b", "a", "c"} {
			if err := c.Node(name).SetSecrets(secrets...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond) // fake time
			for _, pair := range [][2]string{{"a", "b"}, {"b", "a"}, {"c", "b"}, {"b", "c"}} {
				l, err := c.Node(pair[0]).Link(rpcmeshtest.URL(pair[1]), "probe")
				if err == nil {
					err = l.Ready(t.Context())
				}
				if err != nil {
					t.Fatalf("%v, at %s: a new link from %s to %s: %v", secrets, name, pair[0], pair[1], err)
				}
				l.Close()
			}
		}
	}
	synctest.Wait()
	for id, l := range linksOf(c.Node("b")) {
		if since := sessions[id].Since; !l.Since.Equal(since) {
			t.Errorf("a link fell: %+v", l)
		}
	}
	// All links fall, and come up by what the nodes have now.
	load.pause()
	c.ResetAll("b")
	synctest.Wait()
	for _, l := range links {
		if err := l.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Node("c").Namespace("public").WaitFor(t.Context(), procedure); err != nil {
		t.Fatal(err)
	}
	load.resume()
	time.Sleep(50 * time.Millisecond) // fake time
	if calls := load.stop(); calls < 1000 {
		t.Errorf("only %d calls were made", calls)
	}
	_, err := rpcmesh.Dial(t.Context(), rpcmeshtest.URL("b"), rpcmesh.ProxyConfig{Secret: rpcmeshtest.Secret, Dial: c.Dialer("p")})
	wantError(t, err, connect.CodeUnauthenticated, "wrong secret")
	c.Proxy("q", "b", "public", func(cfg *rpcmesh.ProxyConfig) { cfg.Secret = "new" })
}

// load is calls that go on until it is stopped.
type load struct {
	turns   chan struct{} // one for each caller, to be held during a call
	over    chan struct{}
	end     sync.Once
	callers sync.WaitGroup
	calls   atomic.Int64
}

func newLoad(callers int) *load {
	return &load{turns: make(chan struct{}, callers), over: make(chan struct{})}
}

// start has the callers call the worker until the test ends; the test fails with any of them.
func (l *load) start(t *testing.T, from connect.Transport) {
	t.Cleanup(func() { l.stop() })
	for range cap(l.turns) {
		l.callers.Go(func() {
			for {
				select {
				case <-l.over:
					return
				case l.turns <- struct{}{}:
				}
				number := fmt.Sprint(l.calls.Add(1))
				if got, err := do(t.Context(), from, workSpec(), number); err != nil || got != number {
					t.Errorf("call %s failed: %q, %v", number, got, err)
				}
				<-l.turns
			}
		})
	}
}

// pause waits until no call is under way, and holds further ones.
func (l *load) pause() {
	for range cap(l.turns) {
		l.turns <- struct{}{}
	}
}

func (l *load) resume() {
	for range cap(l.turns) {
		<-l.turns
	}
}

// stop ends the calls and returns how many there were.
func (l *load) stop() int64 {
	l.end.Do(func() { close(l.over) })
	l.callers.Wait()
	return l.calls.Load()
}

// TestSetSecrets: what it refuses changes nothing, and links that are up stay.
func TestSetSecrets(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		a := c.Node("a")
		c.Link("b", "a")
		p := c.Proxy("p", "a", "", func(cfg *rpcmesh.ProxyConfig) { cfg.Name = "p" })
		for name, secrets := range map[string][]string{
			"none": {}, "an empty one": {"s", ""}, "nine": strings.Split("abcdefghi", ""),
		} {
			if err := a.SetSecrets(secrets...); connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("%s: %v", name, err)
			}
		}
		open := mustNode(t, rpcmesh.Config{AcceptAnyone: true})
		wantError(t, open.SetSecrets("s"), connect.CodeFailedPrecondition, "no secret")
		c.Proxy("q", "a", "") // by the secret as it was

		if err := a.SetSecrets("another"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // fake time
		if !linksOf(a)["b"].Up || !linksOf(a)["p"].Up {
			t.Errorf("links fell: %v", linksOf(a))
		}
		c.ResetAll("p")
		time.Sleep(time.Minute) // fake time
		if linksOf(a)["p"].Up {
			t.Error("the proxy is back without the secret")
		}
		if err := p.SetSecrets("another"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // fake time
		if !linksOf(a)["p"].Up {
			t.Error("the proxy does not come back with the secret")
		}
	})
}

// atAddress is a connection with another end at an address of its own choice.
type atAddress struct {
	net.Conn
	addr net.Addr
}

func (c atAddress) RemoteAddr() net.Addr { return c.addr }

// from returns a handler that sees its requests come from addr.
func from(addr string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = addr
		next.ServeHTTP(w, r)
	})
}

// dialAs connects to where it is told, and says that the other end is at addr.
func dialAs(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, to string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, to)
		return atAddress{conn, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))}, err
	}
}

// TestShortSecret: one that is shorter than 16 bytes is for links within the host, whichever end is looked at.
func TestShortSecret(t *testing.T) {
	for _, c := range []struct {
		secrets []string
		addr    string
		ok      bool
	}{
		{[]string{"change me"}, "127.0.0.1:1", true},
		{[]string{"change me"}, "127.1.2.3:1", true},
		{[]string{"change me"}, "[::1]:1", true},
		{[]string{"change me"}, "[::ffff:127.0.0.1]:1", true},
		{[]string{"change me"}, "192.0.2.1:1", false},
		{[]string{"change me"}, "[2001:db8::1]:1", false},
		{[]string{"change me"}, "[fe80::1%eth0]:1", false},
		{[]string{longSecret, "change me"}, "192.0.2.1:1", false},
		{[]string{longSecret[1:]}, "192.0.2.1:1", false},
		{[]string{longSecret}, "192.0.2.1:1", true},
	} {
		a := mustNode(t, rpcmesh.Config{Secrets: c.secrets})
		url := serveHTTP(t, &http.Server{Handler: from(c.addr, a.Handler()), Protocols: h2c()})
		here := mustNode(t, rpcmesh.Config{Secrets: c.secrets})
		b := mustNode(t, rpcmesh.Config{Secrets: c.secrets, Dial: dialAs(c.addr)})
		_, direct := serveNode(t, rpcmesh.Config{Secrets: c.secrets})
		for end, err := range map[string]error{"accepted": ready(t, here, url), "dialled": ready(t, b, direct)} {
			switch {
			case c.ok && err != nil:
				t.Errorf("%q at %s, %s: %v", c.secrets, c.addr, end, err)
			case !c.ok && (err == nil || strings.Contains(err.Error(), c.secrets[0])):
				t.Errorf("%q at %s, %s: %v", c.secrets, c.addr, end, err)
			case !c.ok && end == "dialled":
				wantError(t, err, connect.CodeInvalidArgument, "openssl rand -hex 16")
			case !c.ok: // strangers are not told that the secret is a short one
				wantError(t, err, connect.CodeFailedPrecondition, "the link is refused")
			}
		}
	}
}

// ready links to url and returns what comes of it.
func ready(t *testing.T, n *rpcmesh.Node, url string) error {
	t.Helper()
	l, err := n.Link(url)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return l.Ready(ctx)
}

// TestShortSecretListening: Serve refuses at once, and a node that listens beyond its host takes no short secret
// later.
func TestShortSecretListening(t *testing.T) {
	anywhere := func() net.Listener {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	n := mustNode(t, rpcmesh.Config{Secret: "change me"})
	l := anywhere()
	wantError(t, n.Serve(t.Context(), l), connect.CodeInvalidArgument, "openssl rand -hex 16")
	if _, err := l.Accept(); err == nil {
		t.Error("the listener stays open")
	}
	n = mustNode(t, rpcmesh.Config{Secret: longSecret})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	l = anywhere()
	go func() { served <- n.Serve(ctx, l) }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := ready(t, mustNode(t, rpcmesh.Config{Secret: longSecret}), "http://127.0.0.1:"+port); err != nil {
		t.Fatal(err)
	}
	wantError(t, n.SetSecrets("change me"), connect.CodeInvalidArgument, "within one host only")
	if err := n.SetSecrets(longSecret + "x"); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// TestCleartextWarning: once a node, where a link leaves the host without TLS.
func TestCleartextWarning(t *testing.T) {
	certified, trusting := certificate()
	for name, c := range map[string]struct {
		addr string
		tls  bool
		want int
	}{
		"cleartext beyond the host": {"192.0.2.1:1", false, 1},
		"TLS beyond the host":       {"192.0.2.1:1", true, 0},
		"cleartext within it":       {"127.0.0.1:1", false, 0},
	} {
		var logs [2]lockedBuffer
		cfg := func(i int) rpcmesh.Config {
			return rpcmesh.Config{Secret: longSecret, Logger: slog.New(slog.NewTextHandler(&logs[i], nil))}
		}
		server := &http.Server{Protocols: h2c()}
		if c.tls {
			server.TLSConfig = certified.Clone()
			server.Protocols.SetHTTP2(true)
		}
		a := mustNode(t, cfg(0))
		server.Handler = from(c.addr, a.Handler())
		url := serveHTTP(t, server)
		dialling := cfg(1)
		dialling.Dial, dialling.DialTLS = dialAs(c.addr), trusting
		b := mustNode(t, dialling)
		for range 3 {
			if err := ready(t, b, url); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for i := range logs {
			if got := logs[i].count("level=WARN", "in cleartext", "Set Config.TLS"); got != c.want {
				t.Errorf("%s: end %d warns %d times:\n%s", name, i, got, logs[i].String())
			}
		}
	}
}
