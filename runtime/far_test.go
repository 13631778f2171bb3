package rpcmesh_test

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// slow greets after a second, if its call goes on that long.
func slow(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	select {
	case <-time.After(time.Second):
		return &greetv1.GreetResponse{Greeting: "at last"}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestFarDeadlines: a deadline may be as far away as a time.Time can be. It is as good as none.
func TestFarDeadlines(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(funcs{greet: slow, chat: echo})
		for name, deadline := range map[string]time.Time{
			"290 years":         time.Now().AddDate(290, 0, 0),
			"the longest time":  time.Now().Add(math.MaxInt64),
			"the year 9999":     time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
			"the end of all":    time.Unix(1<<60, 0),
			"a moment too long": time.Now().Add(math.MaxInt64 - time.Minute),
		} {
			ctx, cancel := context.WithDeadline(w.Context(), deadline)
			res, err := client.Greet(ctx, new(greetv1.GreetRequest))
			if err != nil || res.GetGreeting() != "at last" {
				w.Errorf("%s: %v", name, err)
			}
			stream, err := client.Chat(ctx)
			if err != nil {
				w.Fatal(err)
			}
			mustSend(w, stream, "hello")
			time.Sleep(time.Minute) // fake time
			wantLines(w, stream, "hello")
			stream.Close()
			cancel()
		}
	})
}

// TestLongTimesOfTheConfig: whatever time may be configured may be as long as there is one, which is as good as
// never; the nodes do not get busy over it.
func TestLongTimesOfTheConfig(t *testing.T) {
	for _, long := range []time.Duration{math.MaxInt64, 40 * 365 * 24 * time.Hour} {
		t.Run(long.String(), func(t *testing.T) { testLongTimes(t, long) })
	}
}

func testLongTimes(t *testing.T, most time.Duration) {
	long := func(cfg *rpcmesh.Config) {
		cfg.CallTimeout, cfg.Keepalive, cfg.RedialMax = most, most, most
	}
	everywhere(t, func(w *world) {
		client := w.serve(funcs{greet: slow})
		time.Sleep(time.Hour) // fake time
		if res, err := client.Greet(w.Context(), new(greetv1.GreetRequest)); err != nil || res.GetGreeting() != "at last" {
			w.Error(err)
		}
	}, long)
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a", long)
		c.Node("b", long)
		c.Link("b", "a", "public")
		register(t, c.Node("a").Namespace("public"), says("a"))
		synctest.Wait()
		c.Cut("a", "b")
		time.Sleep(time.Hour) // fake time
		c.Heal("a", "b")
		time.Sleep(2 * time.Hour) // fake time
		wantGreeting(t, c.Node("b").Namespace("public"), "a")
	})
}
