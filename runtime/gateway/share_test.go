package gateway_test

import (
	"context"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

// TestOneCallerLeavesRoom: one token, and without tokens one address, has its share of the calls and no more, and what
// has ended makes room again.
func TestOneCallerLeavesRoom(t *testing.T) {
	tokens, err := gateway.NewTokens(
		gateway.Token{Name: "a", SHA256: gateway.HashToken("alpha"), Namespaces: []string{"public"}},
		gateway.Token{Name: "b", SHA256: gateway.HashToken("beta"), Namespaces: []string{"public"}},
		gateway.Token{Name: "c", SHA256: gateway.HashToken("gamma"), Namespaces: []string{"public"}},
	)
	if err != nil {
		t.Fatal(err)
	}
	anyone := func(context.Context, gateway.Caller) error { return nil }
	for name, test := range map[string]struct {
		cfg     gateway.Config
		callers []string // tokens, each of which has a share; the last finds the gateway full
		what    string
	}{
		"tokens":              {gateway.Config{Tokens: tokens}, []string{"alpha", "beta", "gamma"}, "with this token"},
		"check of the user's": {gateway.Config{Authorize: anyone}, []string{"alpha", "", "gamma"}, "with this token"},
		"open":                {gateway.Config{Open: true}, []string{"alpha"}, "from this address"},
	} {
		for _, kind := range []string{"h2c", "node, h2c"} {
			for _, protocol := range []string{"grpc", "connect"} {
				t.Run(name+", "+kind+", "+protocol, func(t *testing.T) {
					testShare(t, kind, protocol, test.cfg, test.callers, test.what)
				})
			}
		}
	}
}

func testShare(t *testing.T, kind, protocol string, cfg gateway.Config, callers []string, what string) {
	const most = 6
	begun, finish := make(chan struct{}), make(chan struct{})
	node := entry(t, 0, scripted{greet: func(context.Context) error {
		select {
		case begun <- struct{}{}:
			<-finish
		case <-finish:
		}
		return nil
	}})
	cfg.Namespace, cfg.MaxCalls = "public", most
	client := open(t, kind, node, cfg).greet(protocols[protocol]...)
	call := func(token string) error {
		ctx, info := connect.NewClientContext(limited(t))
		if token != "" {
			info.RequestHeader().Set("Authorization", "Bearer "+token)
		}
		_, err := client.Greet(ctx, &greetv1.GreetRequest{})
		return err
	}
	refused := func(token, why string) {
		t.Helper()
		if err := call(token); connect.CodeOf(err) != connect.CodeResourceExhausted || !strings.Contains(err.Error(), why) {
			t.Errorf("one more: %v, want %q", err, why)
		}
	}
	results := make(chan error, most)
	running := 0
	for i, token := range callers {
		if running == most {
			refused(token, "the gateway has 6 calls")
			continue
		}
		for range most / 2 {
			go func() { results <- call(token) }()
			<-begun
			running++
		}
		if i < 1 {
			refused(token, what)
		}
	}
	close(finish)
	for range running {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	for range 2 * most { // what has ended is counted no more
		if err := call(callers[0]); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}
