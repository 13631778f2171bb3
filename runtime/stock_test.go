package rpcmesh_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// stockSpec is what protoc-gen-connect-go gives a method.
func stockSpec(name string, kind connect.StreamType) connect.Spec {
	return connect.Spec{
		StreamType: kind,
		Schema:     greetv1.File_example_greet_v1_greet_proto.Services().ByName("Greeter").Methods().ByName("Greet"),
		Procedure:  "/example.greet.v1.Greeter/" + name,
	}
}

// stockServer returns a server of the Greeter that does what the code of protoc-gen-connect-go does.
func stockServer(interceptors ...connect.ServerInterceptor) *connect.Server {
	server := connect.NewServer(interceptors...)
	server.Register(
		connect.Method{Spec: stockSpec("Greet", connect.StreamTypeUnary), Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
			var req greetv1.GreetRequest
			if err := stream.Receive(&req); err != nil {
				return err
			}
			info, _ := connect.CallInfoForServerContext(ctx)
			info.ResponseHeader().Set("Kind", info.Spec.StreamType.String())
			return stream.Send(&greetv1.GreetResponse{Greeting: "Hello, " + req.GetName()})
		}},
		connect.Method{Spec: stockSpec("Count", connect.StreamTypeServer), Handler: func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			var req greetv1.CountRequest
			if err := stream.Receive(&req); err != nil {
				return err
			}
			for i := range req.GetTo() {
				if err := stream.Send(&greetv1.CountResponse{Number: i + 1}); err != nil {
					return err
				}
			}
			return nil
		}},
		connect.Method{Spec: stockSpec("Sum", connect.StreamTypeClient), Handler: func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			var sum greetv1.SumResponse
			for {
				var req greetv1.SumRequest
				if err := stream.Receive(&req); errors.Is(err, io.EOF) {
					return stream.Send(&sum)
				} else if err != nil {
					return err
				}
				sum.Sum += req.GetNumber()
				sum.Count++
			}
		}},
		connect.Method{Spec: stockSpec("Chat", connect.StreamTypeBidi), Handler: func(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
			for {
				var req greetv1.ChatRequest
				if err := stream.Receive(&req); errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				if err := stream.Send(&greetv1.ChatResponse{Line: strings.ToUpper(req.GetLine())}); err != nil {
					return err
				}
			}
		}},
	)
	return server
}

// TestStockStubs: the calls that stubs of protoc-gen-connect-go make run through a namespace and a proxy
// unchanged, against a stock service that was registered unchanged.
func TestStockStubs(t *testing.T) {
	everywhere(t, func(w *world) {
		if _, err := w.origin.RegisterServer(stockServer()); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		client := connect.NewClient(w.caller)
		ctx, info := connect.NewClientContext(w.Context())
		var greeting greetv1.GreetResponse
		err := client.CallUnary(ctx, stockSpec("Greet", connect.StreamTypeUnary), &greetv1.GreetRequest{Name: "Ada"}, &greeting)
		if err != nil || greeting.GetGreeting() != "Hello, Ada" || info.ResponseHeader().Get("Kind") != "unary" {
			w.Errorf("unary: %v, %v, %v", greeting.GetGreeting(), info.ResponseHeader(), err)
		}
		stream, err := client.CallServerStream(w.Context(), stockSpec("Count", connect.StreamTypeServer), &greetv1.CountRequest{To: 3})
		if err != nil {
			w.Fatal(err)
		}
		for i := range int64(3) {
			var res greetv1.CountResponse
			if err := stream.Receive(&res); err != nil || res.GetNumber() != i+1 {
				w.Errorf("server stream: %v, %v", res.GetNumber(), err)
			}
		}
		for range 2 {
			if err := stream.Receive(new(greetv1.CountResponse)); !errors.Is(err, io.EOF) {
				w.Errorf("server stream: %v, want its end", err)
			}
		}
		if stream, err = client.CallClientStream(w.Context(), stockSpec("Sum", connect.StreamTypeClient)); err != nil {
			w.Fatal(err)
		}
		for i := range int64(4) {
			if err := stream.Send(&greetv1.SumRequest{Number: i}); err != nil {
				w.Error(err)
			}
		}
		var sum greetv1.SumResponse
		if err := errors.Join(stream.CloseSend(), stream.CloseSend(), stream.Receive(&sum)); err != nil || sum.GetSum() != 6 {
			w.Errorf("client stream: %v, %v", sum.GetSum(), err)
		}
		if stream, err = client.CallClientStream(w.Context(), stockSpec("Chat", connect.StreamTypeBidi)); err != nil {
			w.Fatal(err)
		}
		var line greetv1.ChatResponse
		if err := errors.Join(stream.Send(&greetv1.ChatRequest{Line: "hi"}), stream.Receive(&line)); err != nil || line.GetLine() != "HI" {
			w.Errorf("bidi: %v, %v", line.GetLine(), err)
		}
		if err := errors.Join(stream.Close(), stream.Close()); err != nil {
			w.Errorf("close: %v", err)
		}
		// And our stubs call it, too.
		res, err := greetv1rpcmesh.NewGreeterClient(w.caller).Greet(w.Context(), &greetv1.GreetRequest{Name: "Bob"})
		if err != nil || res.GetGreeting() != "Hello, Bob" {
			w.Errorf("our stub: %v, %v", res, err)
		}
	})
}

// TestInterceptors: the node's are around every origin, the first outermost, and a stock server's own inside
// them. They see the call as a handler does and can end it.
func TestInterceptors(t *testing.T) {
	var mu sync.Mutex
	var order []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, what)
	}
	noting := func(name string) connect.ServerInterceptor {
		return func(next connect.ServerFunc) connect.ServerFunc {
			return func(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
				note(name)
				info, _ := connect.CallInfoForServerContext(ctx)
				if who := info.RequestHeader().Get("Refused-By"); who == name {
					return connect.NewError(connect.CodePermissionDenied, "by "+name)
				}
				err := next(ctx, spec, stream)
				info.ResponseTrailer().Add("Seen-By", name)
				return err
			}
		}
	}
	everywhere(t, func(w *world) {
		if _, err := w.origin.RegisterServer(stockServer(noting("server"))); err != nil {
			w.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		order = nil
		mu.Unlock()
		ctx, info := connect.NewClientContext(w.Context())
		if _, err := greet(ctx, w.caller, "Ada"); err != nil {
			w.Error(err)
		}
		mu.Lock()
		if want := []string{"first", "second", "server"}; !slices.Equal(order, want) {
			w.Errorf("they ran in the order %v, want %v", order, want)
		}
		mu.Unlock()
		if got, want := info.ResponseTrailer().Values("Seen-By"), []string{"server", "second", "first"}; !slices.Equal(got, want) {
			w.Errorf("trailers %v, want %v", got, want)
		}
		ctx, info = connect.NewClientContext(w.Context())
		info.RequestHeader().Set("Refused-By", "second")
		_, err := greet(ctx, w.caller, "Ada")
		wantError(w.T, err, connect.CodePermissionDenied, "by second")
	}, func(cfg *rpcmesh.Config) {
		cfg.Interceptors = []connect.ServerInterceptor{noting("first"), noting("second")}
	})
}

// TestNestedCalls: handlers call on through the mesh, back and forth over the same links, to a depth of thirty.
func TestNestedCalls(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		nodes := chain(c, 3, "public")
		for i, name := range nodes {
			ns := c.Node(name).Namespace("public")
			next := connect.Spec{Procedure: "/test.v1.At/" + nodes[(i+1)%len(nodes)]}
			mustRegister(t, ns, unary(connect.Spec{Procedure: "/test.v1.At/" + name}, func(ctx context.Context, trail string) (string, error) {
				if len(trail) == 30 {
					return trail, nil
				}
				return do(ctx, ns, next, trail+name)
			}))
		}
		synctest.Wait()
		var calls sync.WaitGroup
		for range 100 {
			calls.Go(func() {
				got, err := do(t.Context(), c.Node("a").Namespace("public"), connect.Spec{Procedure: "/test.v1.At/a"}, "")
				if want := strings.Repeat("abc", 10); got != want || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
			})
		}
		calls.Wait()
	})
}

// TestSlowHandlers: a thousand handlers that are stuck hold up no other call on their link.
func TestSlowHandlers(t *testing.T) {
	everywhere(t, func(w *world) {
		release := make(chan struct{})
		register(w, w.origin, funcs{greet: greeter{}.Greet, chat: func(_ context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error {
			<-release
			return nil
		}})
		synctest.Wait()
		for range 1000 {
			if err := mustChat(w, w.caller).SendHeaders(); err != nil {
				w.Fatal(err)
			}
		}
		for range 1000 {
			if _, err := greet(w.Context(), w.caller, "Ada"); err != nil {
				w.Fatal(err)
			}
		}
		close(release)
	})
}
