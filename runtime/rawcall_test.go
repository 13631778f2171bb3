package rpcmesh_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// rawTransport makes unary calls by [rawcall.Call], so that what other tests ask of calls is asked of those too.
type rawTransport struct {
	*rpcmesh.Namespace
	node *rpcmesh.Node
}

func (t rawTransport) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	ordinary, err := t.Namespace.NewClientStream(ctx, spec)
	if err != nil || spec.StreamType != connect.StreamTypeUnary {
		return ordinary, err
	}
	return &rawStream{ClientStream: ordinary, t: t, ctx: ctx, spec: spec, done: make(chan struct{})}, nil
}

// rawDone is a [rawcall.Owner] of one function.
type rawDone func(c *rawcall.Call) rawcall.Output

func (f rawDone) Done(c *rawcall.Call) rawcall.Output { return f(c) }

// rawStream is a unary call. ClientStream is for where it cannot be begun.
type rawStream struct {
	connect.ClientStream
	t    rawTransport
	ctx  context.Context //nolint:containedctx // a stream's operations run on the context it was opened with
	spec connect.Spec

	begun    bool
	over     bool
	call     rawcall.Call
	stop     func() bool
	done     chan struct{}
	response []byte
	flushed  atomic.Int32
}

func (s *rawStream) Flush()    { s.flushed.Add(1) }
func (s *rawStream) FlushNow() { s.flushed.Add(1) }

func (s *rawStream) Send(msg any) error {
	m, ok := msg.(proto.Message)
	if !ok || s.ctx.Err() != nil {
		return s.ClientStream.Send(msg)
	}
	request, err := proto.Marshal(m)
	if err != nil {
		return s.ClientStream.Send(msg)
	}
	info, _ := connect.CallInfoForClientContext(s.ctx)
	c := &s.call
	c.Procedure, c.Idempotency, c.Request = s.spec.Procedure, s.spec.IdempotencyLevel, request
	c.Deadline, _ = s.ctx.Deadline()
	for key, values := range info.RequestHeader().All() {
		c.Info.RequestHeader().SetValues(key, values)
	}
	c.Owner = rawDone(func(c *rawcall.Call) rawcall.Output {
		s.response = bytes.Clone(c.Response)
		close(s.done)
		return s
	})
	caller := rawcall.NewCaller()
	if s.begun = caller.Begin(s.t.Namespace, c); !s.begun {
		return s.ClientStream.Send(msg)
	}
	clear(request) // it was copied
	caller.Flush()
	s.stop = context.AfterFunc(s.ctx, c.Cancel)
	return nil
}

func (s *rawStream) Receive(msg any) error {
	switch {
	case !s.begun:
		return s.ClientStream.Receive(msg)
	case s.over:
		return io.EOF
	}
	s.over = true
	<-s.done
	s.stop()
	info, _ := connect.CallInfoForClientContext(s.ctx)
	for key, values := range s.call.Info.ResponseHeader().All() {
		info.ResponseHeader().SetValues(key, values)
	}
	for key, values := range s.call.Info.ResponseTrailer().All() {
		info.ResponseTrailer().SetValues(key, values)
	}
	if s.call.Err != nil {
		return s.call.Err
	}
	if m, ok := msg.(proto.Message); !ok || proto.Unmarshal(s.response, m) != nil {
		return connect.NewError(connect.CodeInternal, "not a message")
	}
	return nil
}

func (s *rawStream) Close() error {
	if s.begun {
		s.stop()
		s.call.Cancel()
		<-s.done
	}
	return s.ClientStream.Close()
}

// raw returns a way to call from a node of c by a [rawcall.Call].
func raw(c *rpcmeshtest.Cluster, node string) connect.Transport {
	n := c.Node(node)
	return rawTransport{n.Namespace("public"), n}
}

// callerOf returns what calls from a node.
type callerOf func(c *rpcmeshtest.Cluster, node string) connect.Transport

// eachCaller runs test with both ways to call from a node: with a goroutine that waits, and without.
func eachCaller(t *testing.T, test func(t *testing.T, from callerOf)) {
	t.Run("waiting", func(t *testing.T) {
		test(t, func(c *rpcmeshtest.Cluster, node string) connect.Transport { return c.Node(node).Namespace("public") })
	})
	t.Run("raw", func(t *testing.T) { test(t, raw) })
}

func TestCertainty(t *testing.T) { eachCaller(t, testCertainty) }

func TestIdempotentCallIsRepeated(t *testing.T) { eachCaller(t, testIdempotentCallIsRepeated) }

func TestNotStartedIsRepeated(t *testing.T) { eachCaller(t, testNotStartedIsRepeated) }

// rawGreet begins a call of Greet and returns it with what tells of its end.
func rawGreet(t testing.TB, n *rpcmesh.Node, name string) (c *rawcall.Call, done chan error) {
	t.Helper()
	request, err := proto.Marshal(&greetv1.GreetRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	done = make(chan error, 2) // a second end would be a mistake
	c = &rawcall.Call{Procedure: greetv1rpcmesh.GreeterGreetProcedure, Request: request}
	c.Owner = rawDone(func(c *rawcall.Call) rawcall.Output {
		done <- c.Err
		return nil
	})
	caller := rawcall.NewCaller()
	if !caller.Begin(n.Namespace("public"), c) {
		t.Fatal("the call was not begun")
	}
	caller.Flush()
	return c, done
}

// Nobody waits for a message that is longer than the window, in either direction.
func TestRawCallOfLongMessages(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 3, "public")
		register(t, c.Node("a").Namespace("public"), funcs{greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			return &greetv1.GreetResponse{Greeting: req.GetName()}, nil
		}})
		synctest.Wait()
		for _, node := range []string{"a", "b", "c"} {
			for range 3 {
				if got, err := greet(t.Context(), raw(c, node), long); err != nil || got != long {
					t.Errorf("from %s: got %d bytes, %v", node, len(got), err)
				}
			}
		}
	})
}

// What is begun before a Flush is all sent by it, and each call has its own end.
func TestRawCallsTogether(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		register(t, c.Node("a").Namespace("public"), says("a"))
		mustRegister(t, c.Node("b").Namespace("public"), worker(func(_ context.Context, name string) (string, error) { return name, nil }))
		synctest.Wait()
		n := c.Node("b")
		caller := rawcall.NewCaller()
		var ended atomic.Int32
		request, _ := proto.Marshal(&greetv1.GreetRequest{Name: "Ada"})
		for i := range 200 {
			procedure := greetv1rpcmesh.GreeterGreetProcedure
			if i%2 == 0 {
				procedure = workSpec().Procedure
			}
			call := &rawcall.Call{Procedure: procedure, Request: request, Owner: rawDone(func(c *rawcall.Call) rawcall.Output {
				res := new(greetv1.GreetResponse)
				if err := proto.Unmarshal(c.Response, res); c.Err != nil || err != nil || !strings.HasSuffix(res.GetGreeting(), "Ada") {
					t.Errorf("got %v, %v, %v", res, c.Err, err)
				}
				ended.Add(1)
				return nil
			})}
			if !caller.Begin(n.Namespace("public"), call) {
				t.Fatal("not begun")
			}
		}
		caller.Flush()
		synctest.Wait()
		if ended.Load() != 200 {
			t.Errorf("%d calls have ended", ended.Load())
		}
	})
}

func TestRawCallCancel(t *testing.T) {
	for _, from := range []string{"a", "b", "c"} {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			chain(c, 3, "public")
			handler := make(chan error, 1)
			register(t, c.Node("a").Namespace("public"), funcs{greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				<-ctx.Done()
				handler <- ctx.Err()
				return nil, ctx.Err()
			}})
			synctest.Wait()
			call, done := rawGreet(t, c.Node(from), "Ada")
			synctest.Wait()
			call.Cancel()
			if err := <-done; connect.CodeOf(err) != connect.CodeCanceled {
				t.Errorf("from %s: the call ended with %v", from, err)
			}
			if err := <-handler; !errors.Is(err, context.Canceled) {
				t.Errorf("from %s: the handler ended with %v", from, err)
			}
			call.Cancel()
			synctest.Wait()
			if len(done) > 0 {
				t.Errorf("from %s: a second end", from)
			}
		})
	}
}

// A call that was cancelled before it began is one for others.
func TestRawCallCanceledBefore(t *testing.T) {
	inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
		chain(c, 2, "public")
		register(t, c.Node("a").Namespace("public"), says("a"))
		synctest.Wait()
		for _, node := range []string{"a", "b"} {
			n := c.Node(node)
			call := &rawcall.Call{Procedure: greetv1rpcmesh.GreeterGreetProcedure, Owner: rawDone(func(*rawcall.Call) rawcall.Output {
				t.Error("it has ended, too")
				return nil
			})}
			call.Cancel()
			if rawcall.NewCaller().Begin(n.Namespace("public"), call) {
				t.Error("the call was begun")
			}
			synctest.Wait()
		}
	})
}

func TestRawCallDeadline(t *testing.T) {
	for _, from := range []string{"a", "c"} {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			chain(c, 3, "public")
			register(t, c.Node("a").Namespace("public"), funcs{greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}})
			synctest.Wait()
			start := time.Now()
			_, done := rawGreet(t, c.Node(from), "Ada")
			if err := <-done; connect.CodeOf(err) != connect.CodeDeadlineExceeded || time.Since(start) != rpcmesh.DefaultCallTimeout {
				t.Errorf("from %s: got %v after %v", from, err, time.Since(start))
			}
		})
	}
}

// Closing the node ends its calls, with the mesh's words.
func TestRawCallOfAClosedNode(t *testing.T) {
	for _, from := range []string{"a", "b"} {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			chain(c, 2, "public")
			stop := make(chan struct{})
			register(t, c.Node("a").Namespace("public"), funcs{greet: func(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				<-ctx.Done()
				<-stop
				return nil, ctx.Err()
			}})
			synctest.Wait()
			_, done := rawGreet(t, c.Node(from), "Ada")
			synctest.Wait()
			go c.Kill(from)
			err := <-done
			close(stop)
			if connect.CodeOf(err) != connect.CodeUnavailable {
				t.Errorf("from %s: got %v", from, err)
			}
		})
	}
}
