package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/internal/errortest"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

type (
	outcome  = errortest.Outcome
	triggers = map[string]func(t *testing.T) outcome
)

// TestMistakesOfConfigs holds the table's rows of a gateway's configuration.
func TestMistakesOfConfigs(t *testing.T) {
	node := rpcmeshtest.New(t).Node("n")
	made := func(change func(*gateway.Config)) func(*testing.T) outcome {
		return func(*testing.T) outcome {
			cfg := gateway.Config{Open: true}
			change(&cfg)
			_, err := gateway.New(node, cfg)
			return errortest.Failed(err, "")
		}
	}
	token := func(change func(*gateway.Token)) func(*testing.T) outcome {
		return func(*testing.T) outcome {
			bad := gateway.Token{Name: "ci", SHA256: gateway.HashToken("t"), Namespaces: []string{"public"}}
			change(&bad)
			_, err := gateway.NewTokens(bad)
			return errortest.Failed(err, "")
		}
	}
	tokens := new(gateway.Tokens)
	errortest.Check(t, &errortest.GatewayConfiguration, triggers{
		"nobody":               made(func(c *gateway.Config) { c.Open = false }),
		"tokens-and-authorize": made(func(c *gateway.Config) { c.Open, c.Tokens, c.Authorize = false, tokens, tokens.Authorize }),
		"open-and-tokens":      made(func(c *gateway.Config) { c.Tokens = tokens }),
		"nil-node": func(*testing.T) outcome {
			_, err := gateway.New(nil, public)
			return errortest.Failed(err, "")
		},
		"mounted-twice":        mountedTwice,
		"namespace":            made(func(c *gateway.Config) { c.Namespace = "Public" }),
		"namespaces":           made(func(c *gateway.Config) { c.Namespaces = []string{"public", ""} }),
		"many-namespaces":      made(func(c *gateway.Config) { c.Namespaces = make([]string, 257) }),
		"max-calls":            made(func(c *gateway.Config) { c.MaxCalls = -1 }),
		"max-calls-per-caller": made(func(c *gateway.Config) { c.MaxCallsPerCaller = -1 }),
		"max-message":          made(func(c *gateway.Config) { c.MaxMessage = -1 }),
		"max-json":             made(func(c *gateway.Config) { c.MaxJSON = 1<<30 + 1 }),
		"cors":                 made(func(c *gateway.Config) { c.CORS = new(gateway.CORS) }),
		"token-name":           token(func(t *gateway.Token) { t.Name = "" }),
		"token-hash":           token(func(t *gateway.Token) { t.SHA256 = "12" }),
		"token-namespaces":     token(func(t *gateway.Token) { t.Namespaces = nil }),
		"token-namespace":      token(func(t *gateway.Token) { t.Namespaces = []string{"Public"} }),
		"token-functions":      token(func(t *gateway.Token) { t.Functions = "a.B" }),
	})
}

// mountedTwice is what comes of two gateways on one node, or of a gateway where the node has another handler.
func mountedTwice(t *testing.T) outcome {
	c := rpcmeshtest.New(t)
	handled := c.Node("handled")
	handled.Handle("/", http.NotFoundHandler())
	if err := gateway.Mount(handled, public); connect.CodeOf(err) != connect.CodeAlreadyExists {
		t.Errorf("beside a handler: %v", err)
	}
	node := c.Node("n")
	if err := gateway.Mount(node, public); err != nil {
		t.Error(err)
	}
	return errortest.Failed(gateway.Mount(node, public), "")
}

// asked is what a gateway answers to a request in JSON.
func asked(t *testing.T, d door, path, contentType, body string, header ...string) (o outcome) {
	t.Helper()
	status, _, text := d.post(t, path, contentType, body, header...)
	if status == http.StatusOK {
		return o
	}
	var said struct{ Code, Message string }
	if json.Unmarshal([]byte(text), &said) != nil {
		return outcome{Code: strconv.Itoa(status), Text: strings.TrimSpace(text)}
	}
	return outcome{Code: said.Code, Text: said.Message}
}

// TestMistakesOfCalls holds the table's rows of calls through a gateway.
func TestMistakesOfCalls(t *testing.T) {
	node := entry(t, 0, greeter{})
	posting := func(cfg gateway.Config, path, contentType, body string, header ...string) func(*testing.T) outcome {
		return func(t *testing.T) outcome {
			return asked(t, open(t, "h2c", node, cfg), path, contentType, body, header...)
		}
	}
	tokens, err := gateway.NewTokens(
		gateway.Token{Name: "ci", SHA256: gateway.HashToken("alpha"), Namespaces: []string{"other"}},
		gateway.Token{Name: "greet", SHA256: gateway.HashToken("beta"), Namespaces: []string{"public"}, Functions: greetPath + "s"},
	)
	if err != nil {
		t.Fatal(err)
	}
	const plain = "application/json"
	authorized := func(header ...string) func(*testing.T) outcome {
		return posting(gateway.Config{Namespace: "public", Tokens: tokens}, greetPath, plain, "{}", header...)
	}
	errortest.Check(t, &errortest.GatewayCalls, triggers{
		"media-type":           posting(public, greetPath, "text/plain", "{}"),
		"path":                 posting(public, "/greet", plain, "{}"),
		"namespace":            posting(public, "/ns/secret"+greetPath, plain, "{}"),
		"two-namespaces":       posting(public, "/ns/public"+greetPath, plain, "{}", "Rpcmesh-Namespace", "other"),
		"no-token":             authorized(),
		"malformed-token":      authorized("Authorization", "alpha"),
		"unknown-token":        authorized("Authorization", "Bearer guess"),
		"token-elsewhere":      authorized("Authorization", "Bearer alpha"),
		"token-other-function": authorized("Authorization", "Bearer beta"),
		"not-admitted":         func(t *testing.T) outcome { return notAdmitted(t, node) },
		"long-request":         posting(public, greetPath, plain, `{"name": "`+strings.Repeat("x", 5<<20)+`"}`),
		"busy": func(t *testing.T) outcome {
			return besides(t, gateway.Config{Namespace: "public", Open: true, MaxCalls: 1})
		},
		"busy-caller": func(t *testing.T) outcome {
			return besides(t, gateway.Config{Namespace: "public", Open: true, MaxCallsPerCaller: 1})
		},
	})
}

// notAdmitted is what comes of an Authorize that fails by itself.
func notAdmitted(t *testing.T, node *rpcmesh.Node) outcome {
	var log lockedBuffer
	d := open(t, "h2c", node, gateway.Config{
		Namespace: "public", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Authorize: func(context.Context, gateway.Caller) error { return errors.New("the list is locked") },
	})
	o := asked(t, d, greetPath, "application/json", "{}")
	for range 20 {
		asked(t, d, greetPath, "application/json", "{}")
	}
	o.Log = log.String()
	if n := strings.Count(o.Log, "\n"); n > 5 {
		t.Errorf("%d lines of 21 calls", n)
	}
	return o
}

// besides is what comes of a call beside one that runs.
func besides(t *testing.T, cfg gateway.Config) outcome {
	running, finish := make(chan struct{}), make(chan struct{})
	d := open(t, "h2c", entry(t, 0, scripted{greet: func(context.Context) error {
		running <- struct{}{}
		<-finish
		return nil
	}}), cfg)
	ended := make(chan outcome)
	go func() { ended <- asked(t, d, greetPath, "application/json", "{}") }()
	<-running
	o := asked(t, d, greetPath, "application/json", "{}")
	close(finish)
	if o := <-ended; o.Code != "" {
		t.Errorf("the first: %v", o)
	}
	return o
}

// lockedBuffer is written while it is read.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
