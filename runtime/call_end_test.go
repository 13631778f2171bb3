package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// The tests of this file are about time: deadlines, cancelling, and calls that last. Time is fake, so
// they are exact.

// TestCallDeadlineArrives: the handler sees the time that the caller has left.
func TestCallDeadlineArrives(t *testing.T) {
	everywhere(t, func(w *world) {
		left := make(chan time.Duration, 1)
		srv := funcs{
			greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				left <- remaining(ctx)
				return new(greetv1.GreetResponse), nil
			},
			chat: func(ctx context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error {
				left <- remaining(ctx)
				return nil
			},
		}
		client := w.serve(srv)
		for _, timeout := range []time.Duration{time.Millisecond, 3 * time.Second, 48 * time.Hour} {
			ctx, cancel := context.WithTimeout(w.Context(), timeout)
			if _, err := client.Greet(ctx, new(greetv1.GreetRequest)); err != nil {
				w.Fatal(err)
			}
			if got := <-left; got != timeout {
				w.Errorf("unary: the handler has %v, the caller %v", got, timeout)
			}
			stream, err := client.Chat(ctx)
			if err != nil {
				w.Fatal(err)
			}
			wantEnd(w, stream)
			if got := <-left; got != timeout {
				w.Errorf("stream: the handler has %v, the caller %v", got, timeout)
			}
			cancel()
		}
	})
}

// remaining is the time that ctx has left, and -1 where it has no deadline.
func remaining(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return -1
	}
	return time.Until(deadline)
}

// TestCallDeadlineIsTimeRemaining: no wall clock travels. A request that is held up on its way for a
// second reaches a handler that has the full time, as it would in a node whose clock is a second behind.
func TestCallDeadlineIsTimeRemaining(t *testing.T) {
	everywhere(t, func(w *world) {
		if w.links() == 0 {
			return
		}
		left := make(chan time.Duration, 1)
		client := w.serve(funcs{greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			left <- remaining(ctx)
			return new(greetv1.GreetResponse), nil
		}})
		w.Silence(w.first[0], w.first[1])
		time.AfterFunc(time.Second, func() { w.Heal(w.first[0], w.first[1]) })
		begin := time.Now()
		ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
		defer cancel()
		if _, err := client.Greet(ctx, new(greetv1.GreetRequest)); err != nil {
			w.Fatal(err)
		}
		if got := <-left; got != 5*time.Second {
			w.Errorf("the handler has %v left, want the 5s that the caller had when it sent", got)
		}
		if took := time.Since(begin); took != time.Second {
			w.Errorf("the call took %v, and was to be held up for a second", took)
		}
	})
}

// TestCallDefaultTimeout: a unary call without a deadline has 10 s, a stream any time.
func TestCallDefaultTimeout(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(funcs{
			greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
			chat: func(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
				return stream.Send(&greetv1.ChatResponse{Line: remaining(ctx).String()})
			},
		})
		begin := time.Now()
		_, err := client.Greet(w.Context(), new(greetv1.GreetRequest))
		wantError(w.T, err, connect.CodeDeadlineExceeded, "")
		if took := time.Since(begin); took != rpcmesh.DefaultCallTimeout {
			w.Errorf("the call took %v, want %v", took, rpcmesh.DefaultCallTimeout)
		}
		wantLines(w, mustChat(w, w.caller), time.Duration(-1).String())
	})
}

func TestCallTimeoutOfTheConfig(t *testing.T) {
	for _, timeout := range []time.Duration{time.Minute, -1} {
		everywhere(t, func(w *world) {
			client := w.serve(funcs{greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				return &greetv1.GreetResponse{Greeting: remaining(ctx).String()}, nil
			}})
			res, err := client.Greet(w.Context(), new(greetv1.GreetRequest))
			if err != nil || res.GetGreeting() != timeout.String() {
				w.Errorf("got %v, %v; want %v", res, err, timeout)
			}
		}, func(cfg *rpcmesh.Config) { cfg.CallTimeout = timeout })
	}
}

// endings are the ways in which a caller lets go of a running call.
var endings = []struct {
	name string
	end  func(cancel context.CancelFunc, stream greetv1rpcmesh.GreeterChatClientStream)
	code connect.Code // of what Receive returns then
}{
	{"cancel", func(cancel context.CancelFunc, _ greetv1rpcmesh.GreeterChatClientStream) { cancel() }, connect.CodeCanceled},
	{"deadline", func(context.CancelFunc, greetv1rpcmesh.GreeterChatClientStream) { time.Sleep(time.Minute) }, connect.CodeDeadlineExceeded}, // fake time
	{"close", func(_ context.CancelFunc, stream greetv1rpcmesh.GreeterChatClientStream) { stream.Close() }, connect.CodeCanceled},
}

// TestCallEndsAtBothEnds: whichever way the caller lets go, the handler's context ends at once, and what
// waits in Send or Receive, at either end, returns.
func TestCallEndsAtBothEnds(t *testing.T) {
	handlers := map[string]func(context.Context, greetv1rpcmesh.GreeterChatServerStream) error{
		"handler waits for its context": func(ctx context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error {
			<-ctx.Done()
			return ctx.Err()
		},
		"handler receives": func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			_, err := stream.Receive()
			return err
		},
		"handler sends": func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			for {
				if err := stream.Send(&greetv1.ChatResponse{Line: strings.Repeat("x", 10_000)}); err != nil {
					return err
				}
			}
		},
	}
	everywhere(t, func(w *world) {
		type outcome struct {
			at  time.Time
			err error
		}
		var handler func(context.Context, greetv1rpcmesh.GreeterChatServerStream) error
		ended := make(chan outcome, 1)
		client := w.serve(funcs{chat: func(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			err := handler(ctx, stream)
			if ctx.Err() == nil {
				err = fmt.Errorf("the context goes on, %w", err)
			}
			ended <- outcome{time.Now(), err}
			return err
		}})
		for handlerName, h := range handlers {
			for _, ending := range endings {
				name := handlerName + ", " + ending.name
				handler = h
				ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
				begin := time.Now()
				stream, err := client.Chat(ctx)
				if err != nil {
					w.Fatal(err)
				}
				if err := stream.SendHeaders(); err != nil {
					w.Fatal(err)
				}
				synctest.Wait()
				ending.end(cancel, stream)
				synctest.Wait()
				want := begin
				if ending.name == "deadline" {
					want = begin.Add(time.Minute)
				}
				select {
				case got := <-ended:
					if got.err == nil || !got.at.Equal(want) {
						w.Errorf("%s: the handler ended with %v after %v", name, got.err, got.at.Sub(begin))
					}
				default:
					w.Fatalf("%s: the handler goes on", name)
				}
				if code := connect.CodeOf(lastError(stream)); code != ending.code {
					w.Errorf("%s: the caller received %v, want %v", name, code, ending.code)
				}
				if err := stream.Send(new(greetv1.ChatRequest)); !errors.Is(err, io.EOF) && connect.CodeOf(err) != ending.code {
					w.Errorf("%s: the caller's send: %v", name, err)
				}
				cancel()
				stream.Close()
			}
		}
	})
}

// lastError receives until the stream ends.
func lastError(stream greetv1rpcmesh.GreeterChatClientStream) error {
	for {
		if _, err := stream.Receive(); err != nil {
			return err
		}
	}
}

// TestCallBreakOffAll: leaving a loop over a stream ends its call.
func TestCallBreakOffAll(t *testing.T) {
	everywhere(t, func(w *world) {
		ended := make(chan error, 1)
		client := w.serve(funcs{count: func(ctx context.Context, _ *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
			defer func() { ended <- ctx.Err() }()
			for {
				if err := stream.Send(new(greetv1.CountResponse)); err != nil {
					return err
				}
			}
		}})
		stream, err := client.Count(w.Context(), new(greetv1.CountRequest))
		if err != nil {
			w.Fatal(err)
		}
		for _, err := range stream.All() {
			if err != nil {
				w.Fatal(err)
			}
			break
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			w.Errorf("the handler's context: %v", err)
		}
	})
}

// TestCallCancelUnblocksReceive: a goroutine that waits for a message is let go by cancelling and by Close.
func TestCallCancelUnblocksReceive(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(funcs{chat: func(ctx context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		for _, ending := range endings {
			ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
			stream, err := client.Chat(ctx)
			if err != nil {
				w.Fatal(err)
			}
			got := make(chan error, 1)
			go func() {
				_, err := stream.Receive()
				got <- err
			}()
			synctest.Wait()
			ending.end(cancel, stream)
			if err := <-got; connect.CodeOf(err) != ending.code {
				w.Errorf("%s: received %v, want %v", ending.name, err, ending.code)
			}
			cancel()
			stream.Close()
		}
	})
}

// TestCallEndedContext: a call is not even begun on a context that has ended.
func TestCallEndedContext(t *testing.T) {
	everywhere(t, func(w *world) {
		ran := false
		client := w.serve(funcs{greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			ran = true
			return new(greetv1.GreetResponse), nil
		}})
		ctx, cancel := context.WithCancel(w.Context())
		cancel()
		_, err := client.Greet(ctx, new(greetv1.GreetRequest))
		wantError(w.T, err, connect.CodeCanceled, "")
		ctx, cancel = context.WithTimeout(w.Context(), -1)
		defer cancel()
		_, err = client.Greet(ctx, new(greetv1.GreetRequest))
		wantError(w.T, err, connect.CodeDeadlineExceeded, "")
		synctest.Wait()
		if ran {
			w.Error("the handler ran")
		}
	})
}

// TestCallForHours: a full-duplex stream stays open for as long as both like, with long pauses, and
// messages both ways of each side's own accord.
func TestCallForHours(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(funcs{chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			news := time.NewTicker(7 * time.Minute)
			defer news.Stop()
			lines := make(chan string)
			go func() {
				defer close(lines)
				for req, err := range stream.All() {
					if err != nil {
						return
					}
					lines <- req.GetLine()
				}
			}()
			for {
				line := "news"
				select {
				case <-news.C:
				case heard, open := <-lines:
					if !open {
						return nil
					}
					line = "heard " + heard
				}
				if err := stream.Send(&greetv1.ChatResponse{Line: line}); err != nil {
					return err
				}
			}
		}})
		stream := mustChat(w, w.caller)
		var news, heard int
		received := make(chan struct{})
		go func() {
			defer close(received)
			for res, err := range stream.All() {
				switch {
				case err != nil:
					w.Error(err)
				case res.GetLine() == "news":
					news++
				default:
					heard++
				}
			}
		}()
		for i := range 8 {
			mustSend(w, stream, fmt.Sprint(i))
			time.Sleep(time.Hour) // fake time
		}
		stream.CloseSend()
		<-received
		if heard != 8 || news != 8*60/7 {
			w.Errorf("in eight hours: %d answers and %d pieces of news", heard, news)
		}
	}, func(cfg *rpcmesh.Config) { cfg.Keepalive = time.Minute })
}
