package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// oldError is like the error of connect's first version.
type oldError struct{}

func (oldError) Error() string       { return "not_found: no such book" }
func (oldError) Code() connect.Code  { return connect.CodeNotFound }
func (oldError) Message() string     { return "no such book" }
func (oldError) Details() []struct{} { return nil }

// TestErrorsOfOthers: an error of another library's keeps its code, and is nothing for the log.
func TestErrorsOfOthers(t *testing.T) {
	o := failing(fmt.Errorf("here: %w", oldError{}))(t)
	if o.Code != "not_found" || o.Text != "no such book" || o.Log != "" {
		t.Errorf("%+v", o)
	}
}

// TestHiddenErrorsAreSparing: what a handler fails with at each call is not logged at each.
func TestHiddenErrorsAreSparing(t *testing.T) {
	o := between(func(p *pair) error {
		err := p.work(func(context.Context, string) (string, error) { return "", errors.New("disk full") }, "")
		for range 100 {
			_, err = do(p.Context(), p.caller(), workSpec(), "")
		}
		return err
	})(t)
	if n := strings.Count(o.Log, "disk full"); n == 0 || n > 5 {
		t.Errorf("%d lines of 101 calls: %s", n, o.Log)
	}
}

// TestDefaultLogger: who sets no logger is told of warnings by slog's.
func TestDefaultLogger(t *testing.T) {
	var log lockedBuffer
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	n := mustNode(t, rpcmesh.Config{Name: "a", Secret: "s"})
	slog.SetDefault(was)
	mustRegister(t, n.Namespace("public"), worker(func(context.Context, string) (string, error) {
		return "", errors.New("disk full")
	}))
	_, _ = do(t.Context(), n.Namespace("public"), workSpec(), "") // the log is looked at
	if text := log.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, "disk full") || strings.Contains(text, "level=INFO") {
		t.Errorf("it has %q", text)
	}
}

// TestEndStays: a call that has ended says how as often as it is asked, and takes no more.
func TestEndStays(t *testing.T) {
	refused := connect.NewError(connect.CodeNotFound, "no such book")
	o := between(func(p *pair) error {
		p.serve(funcs{
			greet: greeter{}.Greet,
			count: func(context.Context, *greetv1.CountRequest, greetv1rpcmesh.GreeterCountServerStream) error {
				return refused
			},
			chat: echo,
		})
		counting, err := p.client().Count(p.Context(), new(greetv1.CountRequest))
		if err != nil {
			return err
		}
		for range 3 {
			if _, err := counting.Receive(); connect.CodeOf(err) != connect.CodeNotFound {
				p.Errorf("a stream that failed: %v", err)
			}
		}
		stream, err := p.caller().NewClientStream(p.Context(), connect.Spec{Procedure: greetv1rpcmesh.GreeterGreetProcedure})
		if err != nil {
			return err
		}
		defer stream.Close()
		if err := stream.Send(&greetv1.GreetRequest{Name: "Ada"}); err != nil {
			return err
		}
		wantError(p.T, stream.Send(new(greetv1.GreetRequest)), connect.CodeFailedPrecondition, "once where there is one request")
		if err := stream.Receive(new(greetv1.GreetResponse)); err != nil {
			return err
		}
		if err := stream.Receive(new(greetv1.GreetResponse)); !errors.Is(err, io.EOF) {
			p.Errorf("after the one response: %v", err)
		}
		chat := mustChat(p.T, p.caller())
		if err := chat.Close(); err != nil {
			return err
		}
		_, err = chat.Receive()
		wantError(p.T, err, connect.CodeCanceled, "")
		return nil
	})(t)
	if o.Code != "" {
		t.Errorf("%+v", o)
	}
}

// TestDefaultTimeIsNamed: also where the handler does not look at its time, and not where the caller set it.
func TestDefaultTimeIsNamed(t *testing.T) {
	finish := make(chan struct{})
	stubborn := func(context.Context, string) (string, error) {
		<-finish
		return "", nil
	}
	o := between(func(p *pair) error {
		finish = make(chan struct{})
		defer close(finish)
		return p.work(stubborn, "")
	})(t)
	if o.Code != "deadline_exceeded" || !strings.Contains(o.Text, `the 10s of node "a"'s Config.CallTimeout`) {
		t.Errorf("%+v", o)
	}
	o = between(func(p *pair) error {
		finish = make(chan struct{})
		defer close(finish)
		ctx, cancel := context.WithTimeout(p.Context(), rpcmesh.DefaultCallTimeout)
		defer cancel()
		mustRegister(p, p.b.Namespace("public"), worker(stubborn))
		synctest.Wait()
		_, err := do(ctx, p.caller(), workSpec(), "")
		return err
	})(t)
	if o.Code != "deadline_exceeded" || strings.Contains(o.Text, "CallTimeout") {
		t.Errorf("%+v", o)
	}
}
