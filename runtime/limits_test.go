package rpcmesh_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// piece is the longest run of bytes that travels in one frame: a message above it goes in pieces.
const piece = 32 << 10

// nameOf returns a name with which a GreetRequest takes size bytes.
func nameOf(size int) string {
	header := 1 // the field's tag, then the length
	for n := size; n > 0; n >>= 7 {
		header++
	}
	return strings.Repeat("x", size-header)
}

// TestMaxMessageDefault: 4 MiB go through, a byte more is resource_exhausted, in either direction; it
// ends no other call, and the next one goes well.
func TestMaxMessageDefault(t *testing.T) {
	limit := nameOf(rpcmesh.DefaultMaxMessage)
	everywhere(t, func(w *world) {
		client := w.serve(funcs{
			greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				if req.GetName() == "long" {
					return &greetv1.GreetResponse{Greeting: limit + "x"}, nil
				}
				return &greetv1.GreetResponse{Greeting: req.GetName()}, nil
			},
			chat: echo,
		})
		other := mustChat(w, w.caller)
		mustSend(w, other, "before")
		for _, name := range []string{limit + "x", "long"} {
			_, err := client.Greet(w.Context(), &greetv1.GreetRequest{Name: name})
			wantError(w.T, err, connect.CodeResourceExhausted, fmt.Sprint(rpcmesh.DefaultMaxMessage))
		}
		res, err := client.Greet(w.Context(), &greetv1.GreetRequest{Name: limit})
		if err != nil || res.GetGreeting() != limit {
			w.Errorf("%d bytes: %v", rpcmesh.DefaultMaxMessage, err)
		}
		mustSend(w, other, "after")
		wantLines(w, other, "before", "after")
	})
}

// TestMaxMessageInStream: what the sender may not send harms not even its own stream.
func TestMaxMessageInStream(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(funcs{chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			for req, err := range stream.All() {
				if err != nil {
					return err
				}
				line := req.GetLine()
				if line == "too long" {
					err := stream.Send(&greetv1.ChatResponse{Line: nameOf(1001)})
					line = connect.CodeOf(err).String()
				}
				if err := stream.Send(&greetv1.ChatResponse{Line: line}); err != nil {
					return err
				}
			}
			return nil
		}})
		stream := mustChat(w, w.caller)
		err := stream.Send(&greetv1.ChatRequest{Line: nameOf(1001)})
		wantError(w.T, err, connect.CodeResourceExhausted, "1000")
		mustSend(w, stream, nameOf(1000), "too long", "on")
		wantLines(w, stream, nameOf(1000), "resource_exhausted", "on")
		stream.CloseSend()
		wantEnd(w, stream)
	}, func(cfg *rpcmesh.Config) { cfg.Limits.MaxMessage = 1000 })
}

// TestMaxMessageOfTheReceiver: the end that receives has its own limit. It ends the call.
func TestMaxMessageOfTheReceiver(t *testing.T) {
	for _, size := range []int{1001, piece + 1, 1 << 20} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
				c.Node("a", func(cfg *rpcmesh.Config) { cfg.Limits.MaxMessage = 1000 })
				chain(c, 3, "public")
				register(t, c.Node("a").Namespace("public"), funcs{greet: greeter{}.Greet, chat: echo})
				synctest.Wait()
				ns := c.Node("c").Namespace("public")
				other := mustChat(t, ns)
				_, err := greet(t.Context(), ns, nameOf(size))
				wantError(t, err, connect.CodeResourceExhausted, "1000")
				stream := mustChat(t, ns)
				_ = stream.Send(&greetv1.ChatRequest{Line: nameOf(size)}) // Receive tells
				_, err = stream.Receive()
				wantError(t, err, connect.CodeResourceExhausted, "1000")
				mustSend(t, other, "unharmed")
				wantLines(t, other, "unharmed")
			})
		})
	}
}

// TestMaxMessageOf64MiB: both ends allow it, and the relay between, which puts no message together, has
// the default limit.
func TestMaxMessageOf64MiB(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 8 << 20
	}
	c := rpcmeshtest.New(t)
	for _, end := range []string{"a", "c"} {
		c.Node(end, func(cfg *rpcmesh.Config) { cfg.Limits.MaxMessage = size })
	}
	chain(c, 3, "public")
	register(t, c.Node("a").Namespace("public"), funcs{
		greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			return &greetv1.GreetResponse{Greeting: req.GetName()}, nil
		},
	})
	ns := c.Node("c").Namespace("public")
	if err := ns.WaitFor(t.Context(), greeterProcedures...); err != nil {
		t.Fatal(err)
	}
	name := nameOf(size)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a slow machine has the time it needs
	defer cancel()
	got, err := greet(ctx, ns, name)
	if err != nil || got != name {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// TestMaxCalls: one more call than the origin's node allows on a link is resource_exhausted; when one of
// them ends there is room again.
func TestMaxCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		c.Node("a", func(cfg *rpcmesh.Config) { cfg.Limits.MaxCalls = 3 })
		chain(c, 2, "public")
		register(t, c.Node("a").Namespace("public"), funcs{chat: echo})
		synctest.Wait()
		var open []greetv1rpcmesh.GreeterChatClientStream
		for range 3 {
			stream := mustChat(t, c.Node("b").Namespace("public"))
			mustSend(t, stream, "hello")
			wantLines(t, stream, "hello")
			open = append(open, stream)
		}
		stream := mustChat(t, c.Node("b").Namespace("public"))
		_ = stream.Send(&greetv1.ChatRequest{Line: "one too many"}) // Receive tells
		_, err := stream.Receive()
		wantError(t, err, connect.CodeResourceExhausted, "3")
		open[0].CloseSend()
		wantEnd(t, open[0])
		stream = mustChat(t, c.Node("b").Namespace("public"))
		mustSend(t, stream, "room")
		wantLines(t, stream, "room")
	})
}

// TestMaxCallsWithinANode: handlers of a node's own calls count until they have returned, whether or not their
// callers wait.
func TestMaxCallsWithinANode(t *testing.T) {
	eachCaller(t, func(t *testing.T, from callerOf) {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			node := c.Node("a", func(cfg *rpcmesh.Config) { cfg.Limits.MaxCalls = 3 })
			stop := make(chan struct{})
			mustRegister(t, node.Namespace("public"), worker(func(context.Context, string) (string, error) {
				<-stop
				return "done", nil
			}))
			caller := from(c, "a")
			for range 3 {
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					synctest.Wait()
					cancel()
				}()
				_, err := do(ctx, caller, workSpec(), "")
				wantError(t, err, connect.CodeCanceled, "")
			}
			start := time.Now()
			_, err := do(t.Context(), caller, workSpec(), "")
			wantError(t, err, connect.CodeResourceExhausted, "3")
			if took := time.Since(start); took != 0 {
				t.Errorf("that took %v", took)
			}
			close(stop)
			synctest.Wait()
			if got, err := do(t.Context(), caller, workSpec(), ""); got != "done" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	})
}

// TestMaxHeaders: headers and trailers of more than 64 KiB fail their call and nothing else.
func TestMaxHeaders(t *testing.T) {
	long := strings.Repeat("x", 64<<10)
	everywhere(t, func(w *world) {
		client := w.serve(funcs{
			greet: func(ctx context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				info, _ := connect.CallInfoForServerContext(ctx)
				switch req.GetName() {
				case "header":
					info.ResponseHeader().Set("X-Long", long)
				case "trailer":
					info.ResponseTrailer().Set("X-Long", long)
				case "error":
					return nil, connect.NewError(connect.CodeAborted, long)
				}
				return new(greetv1.GreetResponse), nil
			},
			chat: echo,
		})
		other := mustChat(w, w.caller)
		mustSend(w, other, "unharmed")
		ctx, info := connect.NewClientContext(w.Context())
		info.RequestHeader().Set("X-Long", long)
		_, err := client.Greet(ctx, new(greetv1.GreetRequest))
		wantError(w.T, err, connect.CodeResourceExhausted, "header")
		for _, which := range []string{"header", "trailer", "error"} {
			_, err := client.Greet(w.Context(), &greetv1.GreetRequest{Name: which})
			if code := connect.CodeOf(err); code != connect.CodeResourceExhausted && code != connect.CodeInternal {
				w.Errorf("long %s: got %.200v", which, err)
			}
		}
		wantLines(w, other, "unharmed")
	})
}

// stuck is a chat of which one side sends lines of a kilobyte and nobody receives.
type stuck struct {
	name string
	// start returns the bytes sent so far, and what lets the reader read all.
	start func(w *world) (sent *atomic.Int64, read func() int)
}

var line1K = strings.Repeat("x", 1000)

var stucks = []stuck{
	{"the caller does not read", func(w *world) (*atomic.Int64, func() int) {
		sent := new(atomic.Int64)
		w.serve(funcs{chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			for range 5000 {
				if err := stream.Send(&greetv1.ChatResponse{Line: line1K}); err != nil {
					return err
				}
				sent.Add(int64(len(line1K)))
			}
			return nil
		}, greet: greeter{}.Greet})
		stream := mustChat(w, w.caller)
		if err := stream.SendHeaders(); err != nil {
			w.Fatal(err)
		}
		return sent, func() int {
			count := 0
			for _, err := range stream.All() {
				if err != nil {
					w.Error(err)
				}
				count++
			}
			return count
		}
	}},
	{"the handler does not read", func(w *world) (*atomic.Int64, func() int) {
		sent := new(atomic.Int64)
		goOn := make(chan struct{})
		client := w.serve(funcs{sum: func(_ context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
			<-goOn
			return greeter{}.Sum(w.Context(), stream)
		}, greet: greeter{}.Greet, chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			<-goOn
			for _, err := range stream.All() {
				if err != nil {
					return err
				}
			}
			return nil
		}})
		stream, err := client.Chat(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		ended := make(chan int, 1)
		go func() {
			count := 0
			for range 5000 {
				if err := stream.Send(&greetv1.ChatRequest{Line: line1K}); err != nil {
					w.Error(err)
					break
				}
				count++
				sent.Add(int64(len(line1K)))
			}
			stream.CloseSend()
			ended <- count
		}()
		return sent, func() int {
			close(goOn)
			wantEnd(w, stream)
			return <-ended
		}
	}},
}

// TestBackpressure: where a reader stops reading, its writer stops after Window + 32 KiB bytes for each
// link between, and one of both where there is none. Other calls on the same links go on at full speed:
// here, without any time passing. When the reader reads, all arrives.
func TestBackpressure(t *testing.T) {
	windows := []int{64, 10_000, rpcmesh.DefaultWindow}
	if testing.Short() {
		windows = windows[1:2]
	}
	for _, window := range windows {
		for _, s := range stucks {
			t.Run(fmt.Sprintf("window of %d, %s", window, s.name), func(t *testing.T) {
				everywhere(t, func(w *world) {
					sent, read := s.start(w)
					synctest.Wait()
					hops := max(1, w.links())
					if got, limit := int(sent.Load()), hops*(window+piece); got > limit {
						w.Errorf("%d bytes are under way over %d links, more than %d", got, w.links(), limit)
					} else if got < window/2 {
						w.Errorf("%d bytes are under way, less than half a window", got)
					}
					for range 100 {
						if _, err := greet(w.Context(), w.caller, "Ada"); err != nil {
							w.Fatal(err)
						}
					}
					if got := read(); got != 5000 {
						w.Errorf("%d messages arrived, want 5000", got)
					}
				}, func(cfg *rpcmesh.Config) { cfg.Limits.Window = window })
			})
		}
	}
}

// TestTinyWindows: bulk both ways on many streams through nodes that hold next to nothing, on
// connections that hold next to nothing. Whoever waited for room on the wrong goroutine would stall.
func TestTinyWindows(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(funcs{chat: echo})
		bulk := strings.Repeat("x", 3*piece)
		var streams sync.WaitGroup
		for i := range 20 {
			streams.Go(func() {
				stream, err := greetv1rpcmesh.NewGreeterClient(w.caller).Chat(w.Context())
				if err != nil {
					w.Error(err)
					return
				}
				defer stream.Close()
				line := bulk[:len(bulk)*i/20]
				streams.Go(func() {
					for range 5 {
						if err := stream.Send(&greetv1.ChatRequest{Line: line}); err != nil {
							w.Error(err)
						}
					}
					stream.CloseSend()
				})
				count := 0
				for res, err := range stream.All() {
					if err != nil || res.GetLine() != line {
						w.Errorf("got %d bytes, %v; want %d", len(res.GetLine()), err, len(line))
					}
					count++
				}
				if count != 5 {
					w.Errorf("got %d messages", count)
				}
			})
		}
		streams.Wait()
	}, func(cfg *rpcmesh.Config) { cfg.Limits.Window = 200 })
}

// TestManyStreams: 10,000 streams are open at once through one link, and through a relay, and all work.
func TestManyStreams(t *testing.T) {
	count := 10_000
	if testing.Short() {
		count = 1000
	}
	c := rpcmeshtest.New(t)
	nodes := chain(c, 3, "public")
	register(t, c.Node("a").Namespace("public"), funcs{chat: echo})
	for _, caller := range nodes[1:] {
		t.Run("from "+caller, func(t *testing.T) {
			ns := c.Node(caller).Namespace("public")
			if err := ns.WaitFor(t.Context(), greeterProcedures...); err != nil {
				t.Fatal(err)
			}
			client := greetv1rpcmesh.NewGreeterClient(ns)
			streams := make([]greetv1rpcmesh.GreeterChatClientStream, count)
			for i := range streams {
				var err error
				if streams[i], err = client.Chat(t.Context()); err != nil {
					t.Fatal(err)
				}
				defer streams[i].Close()
				mustSend(t, streams[i], fmt.Sprint("first of ", i))
			}
			for i, stream := range streams {
				wantLines(t, stream, fmt.Sprint("first of ", i))
			}
			for i, stream := range streams {
				mustSend(t, stream, fmt.Sprint("second of ", i))
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
			}
			for i, stream := range streams {
				wantLines(t, stream, fmt.Sprint("second of ", i))
				wantEnd(t, stream)
			}
		})
	}
}
