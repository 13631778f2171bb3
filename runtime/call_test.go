package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
)

// The tests of this file hold a call to what Connect promises of one, at every distance.

func TestCallKindUnary(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(greeter{})
		res, err := client.Greet(w.Context(), &greetv1.GreetRequest{Name: "Ada"})
		if err != nil || res.GetGreeting() != "Hello, Ada" {
			w.Errorf("got %v, %v", res, err)
		}
	})
}

func TestCallKindServerStream(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(greeter{})
		for _, to := range []int64{0, 1, 10_000} {
			stream, err := client.Count(w.Context(), &greetv1.CountRequest{To: to})
			if err != nil {
				w.Fatal(err)
			}
			var last int64
			for res, err := range stream.All() {
				if err != nil {
					w.Fatal(err)
				}
				last++
				if res.GetNumber() != last {
					w.Fatalf("got %d, want %d: out of order", res.GetNumber(), last)
				}
			}
			if last != to {
				w.Errorf("got %d messages, want %d", last, to)
			}
		}
	})
}

func TestCallKindClientStream(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(greeter{})
		for _, count := range []int64{0, 1, 10_000} {
			stream, err := client.Sum(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			for i := range count {
				if err := stream.Send(&greetv1.SumRequest{Number: i}); err != nil {
					w.Fatal(err)
				}
			}
			res, err := stream.CloseAndReceive()
			if err != nil || res.GetCount() != count || res.GetSum() != count*(count-1)/2 {
				w.Errorf("got %v, %v", res, err)
			}
		}
	})
}

func TestCallKindBidiStream(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(greeter{})
		stream := mustChat(w, w.caller)
		mustSend(w, stream, "one")
		wantLines(w, stream, "ONE")
		mustSend(w, stream, "two", "three")
		wantLines(w, stream, "TWO", "THREE")
		if err := stream.CloseSend(); err != nil {
			w.Error(err)
		}
		wantEnd(w, stream)
	})
}

// TestCallOrder sends and receives at once, many messages of different lengths.
func TestCallOrder(t *testing.T) {
	const count = 1000
	line := func(i int) string { return fmt.Sprintf("%d %s", i, strings.Repeat("x", i*i%5000)) }
	everywhere(t, func(w *world) {
		w.serve(funcs{chat: echo})
		stream := mustChat(w, w.caller)
		var sending sync.WaitGroup
		sending.Go(func() {
			for i := range count {
				if err := stream.Send(&greetv1.ChatRequest{Line: line(i)}); err != nil {
					w.Errorf("send %d: %v", i, err)
					return
				}
			}
			stream.CloseSend()
		})
		for i := range count {
			wantLines(w, stream, line(i))
		}
		wantEnd(w, stream)
		sending.Wait()
	})
}

func TestCallEmptyMessages(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(funcs{
			greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				return new(greetv1.GreetResponse), nil
			},
			chat: echo,
		})
		if res, err := client.Greet(w.Context(), new(greetv1.GreetRequest)); err != nil || res == nil {
			w.Errorf("unary: %v, %v", res, err)
		}
		stream := mustChat(w, w.caller)
		mustSend(w, stream, "", "", "between", "")
		wantLines(w, stream, "", "", "between", "")
		stream.CloseSend()
		wantEnd(w, stream)
	})
}

func TestCallAtOnce(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(says("b"))
		var calls sync.WaitGroup
		for i := range 500 {
			calls.Go(func() {
				name := fmt.Sprint("caller ", i)
				if got, err := greet(w.Context(), w.caller, name); err != nil || got != "b greets "+name {
					w.Errorf("got %q, %v", got, err)
				}
			})
		}
		calls.Wait()
	})
}

// TestCallHeaders shows that what a caller and a handler say beside their messages arrives as it was.
func TestCallHeaders(t *testing.T) {
	request := map[string][]string{
		"Authorization": {"Bearer a b c"}, "X-Several": {"first", "", "third, with a comma"},
		"X-Bin": {"AAECAwQ"}, "X-Empty": {""}, "X-Long": {strings.Repeat("long", 2000)},
	}
	header := map[string][]string{"X-Header": {"one", "two"}, "Etag": {"\"abc\""}}
	trailer := map[string][]string{"X-Trailer": {"three", "four"}, "X-Bin": {"/w"}}
	answer := func(ctx context.Context) {
		info, _ := connect.CallInfoForServerContext(ctx)
		set(info.ResponseHeader(), header)
		set(info.ResponseTrailer(), trailer)
		for key, values := range info.RequestHeader().All() {
			info.ResponseHeader().SetValues("Echo-"+key, values)
		}
	}
	srv := funcs{
		greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			answer(ctx)
			return new(greetv1.GreetResponse), nil
		},
		count: func(ctx context.Context, req *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
			answer(ctx)
			if req.GetTo() == 0 {
				return nil // without headers of its own accord
			}
			if req.GetTo() < 0 {
				return connect.NewError(connect.CodeAborted, "negative")
			}
			return stream.Send(&greetv1.CountResponse{Number: 1})
		},
		sum: func(ctx context.Context, _ greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
			answer(ctx)
			return nil, connect.NewError(connect.CodeAborted, "no sums today")
		},
		chat: func(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			answer(ctx)
			return stream.SendHeaders()
		},
	}
	calls := map[string]func(context.Context, greetv1rpcmesh.GreeterClient) error{
		"unary": func(ctx context.Context, c greetv1rpcmesh.GreeterClient) error {
			_, err := c.Greet(ctx, new(greetv1.GreetRequest))
			return err
		},
		"stream": func(ctx context.Context, c greetv1rpcmesh.GreeterClient) error { return drainCount(ctx, c, 1) },
		"stream of nothing": func(ctx context.Context, c greetv1rpcmesh.GreeterClient) error {
			return drainCount(ctx, c, 0)
		},
		"stream that fails": func(ctx context.Context, c greetv1rpcmesh.GreeterClient) error {
			return wantAborted(drainCount(ctx, c, -1))
		},
		"client stream that fails": func(ctx context.Context, c greetv1rpcmesh.GreeterClient) error {
			stream, err := c.Sum(ctx)
			if err != nil {
				return err
			}
			_, err = stream.CloseAndReceive()
			return wantAborted(err)
		},
		"bidi": func(ctx context.Context, c greetv1rpcmesh.GreeterClient) error {
			stream, err := c.Chat(ctx)
			if err != nil {
				return err
			}
			if _, err = stream.Receive(); errors.Is(err, io.EOF) {
				return nil
			}
			return err
		},
	}
	everywhere(t, func(w *world) {
		client := w.serve(srv)
		for name, call := range calls {
			ctx, info := connect.NewClientContext(w.Context())
			set(info.RequestHeader(), request)
			if err := call(ctx, client); err != nil {
				w.Errorf("%s: %v", name, err)
				continue
			}
			wantHeader := map[string][]string{}
			for key, values := range request {
				wantHeader["Echo-"+key] = values
			}
			maps.Copy(wantHeader, header)
			if diff := cmp.Diff(wantHeader, get(info.ResponseHeader())); diff != "" {
				w.Errorf("%s: header (-want +got):\n%s", name, diff)
			}
			if diff := cmp.Diff(trailer, get(info.ResponseTrailer())); diff != "" {
				w.Errorf("%s: trailer (-want +got):\n%s", name, diff)
			}
		}
	})
}

func drainCount(ctx context.Context, c greetv1rpcmesh.GreeterClient, to int64) error {
	stream, err := c.Count(ctx, &greetv1.CountRequest{To: to})
	if err != nil {
		return err
	}
	for _, err := range stream.All() {
		if err != nil {
			return err
		}
	}
	return nil
}

func wantAborted(err error) error {
	if connect.CodeOf(err) == connect.CodeAborted {
		return nil
	}
	return fmt.Errorf("got %w, want the handler's error", err)
}

func set(h *connect.Header, values map[string][]string) {
	for k, v := range values {
		h.SetValues(k, slices.Clone(v))
	}
}

func get(h *connect.Header) map[string][]string {
	got := map[string][]string{}
	for k, v := range h.All() {
		got[k] = slices.Clone(v)
	}
	return got
}

// TestCallOpensBeforeItSpeaks: a call can be opened, headers and all, before there is something to send, and
// a handler's headers can come before its first message.
func TestCallOpensBeforeItSpeaks(t *testing.T) {
	everywhere(t, func(w *world) {
		heard := make(chan string, 1)
		w.serve(funcs{chat: func(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			heard <- info.RequestHeader().Get("Hello")
			info.ResponseHeader().Set("Early", "yes")
			if err := stream.SendHeaders(); err != nil {
				return err
			}
			info.ResponseHeader().Set("Early", "too late")
			return echo(ctx, stream)
		}})
		ctx, info := connect.NewClientContext(w.Context())
		info.RequestHeader().Set("Hello", "there")
		stream, err := greetv1rpcmesh.NewGreeterClient(w.caller).Chat(ctx)
		if err != nil {
			w.Fatal(err)
		}
		defer stream.Close()
		for range 2 { // again, to no effect
			if err := stream.SendHeaders(); err != nil {
				w.Fatal(err)
			}
		}
		if got := <-heard; got != "there" {
			w.Errorf("the handler heard %q", got)
		}
		mustSend(w, stream, "first")
		wantLines(w, stream, "first")
		if got := info.ResponseHeader().Get("Early"); got != "yes" {
			w.Errorf("got the header %q", got)
		}
	})
}

// TestCallHandlerReturnsEarly: the call is over for both when the handler returns, whatever the caller
// still wanted to say.
func TestCallHandlerReturnsEarly(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(funcs{
			sum: func(_ context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
				if _, err := stream.Receive(); err != nil {
					return nil, err
				}
				return &greetv1.SumResponse{Sum: 42}, nil
			},
			chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
				if _, err := stream.Receive(); err != nil {
					return err
				}
				return connect.NewError(connect.CodeOutOfRange, "enough")
			},
		})
		sum, err := client.Sum(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		for err == nil {
			err = sum.Send(new(greetv1.SumRequest))
			synctest.Wait()
		}
		if !errors.Is(err, io.EOF) {
			w.Errorf("send: %v, want io.EOF", err)
		}
		if res, err := sum.CloseAndReceive(); err != nil || res.GetSum() != 42 {
			w.Errorf("got %v, %v", res, err)
		}
		chat := mustChat(w, w.caller)
		for err = nil; err == nil; {
			err = chat.Send(&greetv1.ChatRequest{Line: strings.Repeat("x", 1000)})
			synctest.Wait()
		}
		if !errors.Is(err, io.EOF) {
			w.Errorf("send: %v, want io.EOF", err)
		}
		_, err = chat.Receive()
		wantError(w.T, err, connect.CodeOutOfRange, "enough")
	})
}

// TestCallHandlerSpeaksFirst: a handler can answer before it has heard anything, and go on after the caller
// has sent all.
func TestCallHandlerSpeaksFirst(t *testing.T) {
	everywhere(t, func(w *world) {
		w.serve(funcs{chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			if err := stream.Send(&greetv1.ChatResponse{Line: "welcome"}); err != nil {
				return err
			}
			heard := 0
			for _, err := range stream.All() {
				if err != nil {
					return err
				}
				heard++
			}
			return stream.Send(&greetv1.ChatResponse{Line: fmt.Sprint("heard ", heard)})
		}})
		stream := mustChat(w, w.caller)
		wantLines(w, stream, "welcome")
		mustSend(w, stream, "a", "b")
		stream.CloseSend()
		wantLines(w, stream, "heard 2")
		wantEnd(w, stream)
	})
}

// TestCallInfo shows what both ends can read of a call.
func TestCallInfo(t *testing.T) {
	everywhere(t, func(w *world) {
		var handler connect.CallInfo
		client := w.serve(funcs{greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			info, _ := connect.CallInfoForServerContext(ctx)
			handler = connect.CallInfo{Spec: info.Spec, Protocol: info.Protocol, Codec: info.Codec, ReceiveStats: info.ReceiveStats}
			return &greetv1.GreetResponse{Greeting: "12345"}, nil
		}})
		ctx, info := connect.NewClientContext(w.Context())
		if _, err := client.Greet(ctx, &greetv1.GreetRequest{Name: "1234"}); err != nil {
			w.Fatal(err)
		}
		for side, got := range map[string]*connect.CallInfo{"handler": &handler, "caller": info} {
			if got.Spec.Procedure != greetv1rpcmesh.GreeterGreetProcedure || got.Spec.IdempotencyLevel != connect.IdempotencyNoSideEffects {
				w.Errorf("%s: spec %v", side, got.Spec)
			}
			if got.Protocol != "rpcmesh" || got.Codec != connect.CodecNameProto {
				w.Errorf("%s: protocol %q, codec %q", side, got.Protocol, got.Codec)
			}
		}
		if _, ok := w.caller.(rawTransport); ok {
			return // what follows is a stream's
		}
		if handler.ReceiveStats.Size != 6 || info.SendStats.Size != 6 || info.ReceiveStats.Size != 7 {
			w.Errorf("sizes: handler received %d, caller sent %d and received %d",
				handler.ReceiveStats.Size, info.SendStats.Size, info.ReceiveStats.Size)
		}
		if info.PeerAddr != w.path[w.links()] {
			w.Errorf("peer %q, want the origin %q", info.PeerAddr, w.path[w.links()])
		}
	})
}
