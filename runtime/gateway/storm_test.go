package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
)

// Callers of all kinds call, let go of calls and lose their connections, all at once. Whoever gets an answer gets
// his own, and in the end nothing is left of them.
func TestStorm(t *testing.T) {
	for _, relays := range []int{0, 2} {
		t.Run(fmt.Sprintf("relays=%d", relays), func(t *testing.T) {
			node := entry(t, relays, greeter{})
			var callers sync.WaitGroup
			for i, kind := range []string{"node, h2c", "node, h2", "node, h2c", "node, h2"} {
				d := open(t, kind, node, public)
				for j := range 6 {
					callers.Go(func() { storm(t, d, uint64(10*i+j)) })
				}
			}
			callers.Wait()
			// The calls that the gateway counts are those of callers: none are left.
			d := open(t, "node, h2c", node, public)
			for range 100 {
				unary(t, d.greet(protocols["grpc"]...))
			}
		})
	}
}

func storm(t *testing.T, d door, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 30 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(20_000))*time.Microsecond)
		if r.IntN(2) == 0 {
			cancel()
			ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
		}
		client := d.greet(protocols[[]string{"grpc", "grpc", "connect", "grpc-web"}[r.IntN(4)]]...)
		name := fmt.Sprint(seed, "-", i, strings.Repeat("x", r.IntN(3)*r.IntN(100_000)))
		switch r.IntN(8) {
		case 0:
			stream, err := client.Chat(ctx)
			if err == nil {
				_ = stream.Send(&greetv1.ChatRequest{Line: name})
				if res, err := stream.Receive(); err == nil && res.GetLine() != strings.ToUpper(name) {
					t.Errorf("another's line: %.20q", res.GetLine())
				}
				_ = stream.Close()
			}
		case 1:
			if tr, ok := d.client.Transport.(*http.Transport); ok {
				tr.CloseIdleConnections()
			}
		default:
			res, err := client.Greet(ctx, &greetv1.GreetRequest{Name: name})
			switch {
			case err == nil && res.GetGreeting() != "Hello, "+name:
				t.Errorf("another's answer: %.30q for %.20q", res.GetGreeting(), name)
			case err != nil && ctx.Err() == nil && !errors.Is(err, io.EOF) && connect.CodeOf(err) != connect.CodeDeadlineExceeded:
				t.Errorf("%.20q: %v", name, err)
			}
		}
		cancel()
	}
}
