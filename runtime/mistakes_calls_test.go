package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/internal/errortest"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// pair is a caller, at a, and a handler, at b.
type pair struct {
	*testing.T
	a, b *rpcmesh.Node
}

func (p *pair) caller() *rpcmesh.Namespace { return p.a.Namespace("public") }

func (p *pair) client() greetv1rpcmesh.GreeterClient {
	return greetv1rpcmesh.NewGreeterClient(p.caller())
}

// serve registers a Greeter at b, and waits until a has it.
func (p *pair) serve(srv greetv1rpcmesh.GreeterServer) {
	register(p, p.b.Namespace("public"), srv)
	synctest.Wait()
}

// work has b's handler answer one call of a's.
func (p *pair) work(answer func(ctx context.Context, name string) (string, error), name string) error {
	mustRegister(p, p.b.Namespace("public"), worker(answer))
	synctest.Wait()
	_, err := do(p.Context(), p.caller(), workSpec(), name)
	return err
}

// between is what comes of a call from a to b.
func between(call func(p *pair) error, configure ...func(a, b *rpcmesh.Config)) func(*testing.T) outcome {
	return func(t *testing.T) (o outcome) {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			var log lockedBuffer
			p := &pair{T: t}
			var unused rpcmesh.Config
			p.a = c.Node("a", logTo(&log), func(cfg *rpcmesh.Config) {
				for _, f := range configure {
					f(cfg, &unused)
				}
			})
			p.b = c.Node("b", logTo(&log), func(cfg *rpcmesh.Config) {
				for _, f := range configure {
					f(&unused, cfg)
				}
			})
			c.Link("a", "b", "public")
			err := call(p)
			synctest.Wait() // for the log
			o = errortest.Failed(err, log.String())
		})
		return o
	}
}

// failing is what comes of a handler's error.
func failing(err error) func(*testing.T) outcome {
	return between(func(p *pair) error {
		return p.work(func(context.Context, string) (string, error) { return "", err }, "")
	})
}

const long = 5 << 20

// TestMistakesOfCalls holds the table's rows of calls.
func TestMistakesOfCalls(t *testing.T) {
	disk := errors.New("disk full")
	longAnswer := func(p *pair) error {
		return p.work(func(context.Context, string) (string, error) { return strings.Repeat("x", long), nil }, "")
	}
	longRequest := func(p *pair) error {
		return p.work(func(context.Context, string) (string, error) { return "", nil }, strings.Repeat("x", long))
	}
	errortest.Check(t, &errortest.Calls, triggers{
		"plain-error":  failing(fmt.Errorf("while reading: %w", disk)),
		"hidden-cause": failing(connect.NewError(connect.CodeInternal, "no luck, use another name").WithCause(disk)),
		"other-call":   failing(connect.NewError(connect.CodeNotFound, "no such book").WithRemote()),
		"panic": between(func(p *pair) error {
			return p.work(func(context.Context, string) (string, error) { panic("no luck") }, "")
		}),
		"no-answer": between(func(p *pair) error {
			p.serve(funcs{greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				return nil, nil //nolint:nilnil // the mistake
			}})
			_, err := greet(p.Context(), p.caller(), "Ada")
			return err
		}),
		"default-timeout": between(func(p *pair) error {
			return p.work(func(ctx context.Context, _ string) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			}, "")
		}),
		"long-request":        between(longRequest, func(a, _ *rpcmesh.Config) { a.Limits.MaxMessage = 8 << 20 }),
		"long-request-here":   between(longRequest),
		"long-response":       between(longAnswer, func(_, b *rpcmesh.Config) { b.Limits.MaxMessage = 8 << 20 }),
		"long-response-there": between(longAnswer),
		"long-headers": between(func(p *pair) error {
			ctx, info := connect.NewClientContext(p.Context())
			info.RequestHeader().Set("Key", strings.Repeat("x", 1<<16))
			p.serve(says("b"))
			_, err := greet(ctx, p.caller(), "Ada")
			return err
		}),
		"busy": between(func(p *pair) error {
			ended := make(chan struct{})
			mustRegister(p, p.caller(), worker(func(ctx context.Context, _ string) (string, error) {
				<-ctx.Done()
				return "", ctx.Err()
			}))
			ctx, cancel := context.WithCancel(p.Context())
			go func() {
				defer close(ended)
				_, _ = do(ctx, p.caller(), workSpec(), "") // canceled
			}()
			synctest.Wait()
			_, err := do(p.Context(), p.caller(), workSpec(), "")
			cancel()
			<-ended
			return err
		}, func(a, _ *rpcmesh.Config) { a.Limits.MaxCalls = 1 }),
		"request-text": between(func(p *pair) error {
			return p.work(func(context.Context, string) (string, error) { return "", nil }, "\xff")
		}),
		"response-text": between(func(p *pair) error {
			return p.work(func(context.Context, string) (string, error) { return "\xff", nil }, "")
		}),
		"received-text": between(func(p *pair) error {
			p.serve(says("b"))
			spec := connect.Spec{Procedure: greetv1rpcmesh.GreeterGreetProcedure}
			return connect.NewClient(p.caller()).CallUnary(p.Context(), spec, &rawcall.Message{B: []byte{10, 1, 0xff}}, new(rawcall.Message))
		}),
		"nil-request": between(func(p *pair) error {
			p.serve(says("b"))
			_, err := p.client().Greet(p.Context(), nil)
			return err
		}),
		"no-message": between(func(p *pair) error {
			p.serve(says("b"))
			spec := connect.Spec{Procedure: greetv1rpcmesh.GreeterGreetProcedure}
			return connect.NewClient(p.caller()).CallUnary(p.Context(), spec, "Ada", new(greetv1.GreetResponse))
		}),
		"sent-after-close": between(sentAfterClose),
		"received-twice":   between(receivedTwice),
		"kind": between(func(p *pair) error {
			mustRegister(p, p.b.Namespace("public"), worker(func(context.Context, string) (string, error) { return "", nil }))
			synctest.Wait()
			spec := workSpec()
			spec.StreamType = connect.StreamTypeServer
			_, err := p.caller().NewClientStream(p.Context(), spec)
			return err
		}),
		"not-implemented": between(func(p *pair) error {
			p.serve(funcs{})
			_, err := greet(p.Context(), p.caller(), "Ada")
			return err
		}),
		"closed": between(func(p *pair) error {
			p.serve(says("b"))
			p.a.Close()
			_, err := greet(p.Context(), p.caller(), "Ada")
			return err
		}),
	})
}

// sentAfterClose is what comes of sending on after CloseSend. The call goes on.
func sentAfterClose(p *pair) error {
	p.serve(funcs{chat: echo})
	stream := mustChat(p.T, p.caller())
	defer stream.Close()
	mustSend(p.T, stream, "before")
	if err := stream.CloseSend(); err != nil {
		return err
	}
	err := stream.Send(&greetv1.ChatRequest{Line: "after"})
	wantLines(p.T, stream, "before")
	return err
}

// receivedTwice is what comes of a second CloseAndReceive.
func receivedTwice(p *pair) error {
	p.serve(funcs{sum: func(context.Context, greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
		return new(greetv1.SumResponse), nil
	}})
	stream, err := p.client().Sum(p.Context())
	if err != nil {
		return err
	}
	if _, err := stream.CloseAndReceive(); err != nil {
		return err
	}
	_, err = stream.CloseAndReceive()
	return err
}
