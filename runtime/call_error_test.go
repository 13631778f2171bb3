package rpcmesh_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

// TestCallErrors shows that a relay re-authors nothing: code, message and details arrive as sent.
func TestCallErrors(t *testing.T) {
	var want []*connect.Error
	for code := connect.CodeCanceled; code <= connect.CodeUnauthenticated; code++ {
		want = append(want,
			connect.NewError(code, ""),
			connect.NewError(code, "ein Fehler: 100 % \"kaputt\"\n\x00 \u2603 "+strings.Repeat("lang ", 1000)).
				WithDetail(&connect.ErrorDetail{Type: "example.greet.v1.GreetRequest", Value: []byte{10, 1, 'x'}}).
				WithDetail(&connect.ErrorDetail{Type: "unknown.Type", Value: []byte{0, 1, 2, 0xff}, Debug: []byte(`{"a":1}`)}).
				WithDetail(&connect.ErrorDetail{Type: "unknown.Empty"}))
	}
	everywhere(t, func(w *world) {
		client := w.serve(funcs{
			greet: func(_ context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				return nil, want[len(req.GetName())]
			},
			count: func(_ context.Context, req *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
				if err := stream.Send(new(greetv1.CountResponse)); err != nil {
					return err
				}
				return want[req.GetTo()]
			},
		})
		for i := range want {
			_, err := client.Greet(w.Context(), &greetv1.GreetRequest{Name: strings.Repeat("x", i)})
			wantSame(w, "unary", err, want[i])
			wantSame(w, "stream", drainCount(w.Context(), client, int64(i)), want[i])
		}
	})
}

func wantSame(w *world, what string, err error, want *connect.Error) {
	w.Helper()
	got, ok := errors.AsType[*connect.Error](err)
	if !ok {
		w.Errorf("%s: got %v, want %v", what, err, want)
		return
	}
	if got.Code() != want.Code() || got.Message() != want.Message() || !got.IsRemote() {
		w.Errorf("%s: got %v, remote %v; want %v", what, got, got.IsRemote(), want)
	}
	if diff := cmp.Diff(want.Details(), got.Details(), cmpopts.EquateEmpty()); diff != "" {
		w.Errorf("%s: %v: details (-want +got):\n%s", what, want.Code(), diff)
	}
	if failure, ok := rpcmesh.FailureOf(err); ok {
		w.Errorf("%s: a handler's own error says of the mesh: %v", what, failure)
	}
}

// TestCallErrorsThatStay shows what of an error is not for callers: text that was not meant for them,
// causes, and the verdict of a call that the handler made itself.
func TestCallErrorsThatStay(t *testing.T) {
	secret := errors.New("the password is 1234")
	cases := []struct {
		name string
		err  error
		code connect.Code
		text string
	}{
		{"not an rpc error", secret, connect.CodeUnknown, "the handler returned an error that callers are not told: " +
			"its node's log has it (use a *connect.Error for what they may know)"},
		{"cause", connect.NewError(connect.CodeNotFound, "gone").WithCause(secret), connect.CodeNotFound, "gone"},
		{"wrapped", fmt.Errorf("%w while %w", connect.NewError(connect.CodeNotFound, "gone"), secret), connect.CodeNotFound, "gone"},
		{"canceled", fmt.Errorf("%w: %w", secret, context.Canceled), connect.CodeCanceled, ""},
		{"deadline", fmt.Errorf("%w: %w", secret, context.DeadlineExceeded), connect.CodeDeadlineExceeded, ""},
		{
			"another call's", connect.NewError(connect.CodeNotFound, "the password is 1234").WithRemote(), connect.CodeInternal,
			"the handler returned another call's error, which is not its own: its node's log has it (use a new *connect.Error to pass it on)",
		},
	}
	everywhere(t, func(w *world) {
		var next error
		client := w.serve(funcs{greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
			return nil, next
		}})
		for _, c := range cases {
			next = c.err
			_, err := client.Greet(w.Context(), new(greetv1.GreetRequest))
			got, ok := errors.AsType[*connect.Error](err)
			if !ok || got.Code() != c.code || got.Message() != c.text {
				w.Errorf("%s: got %v, want %v: %s", c.name, err, c.code, c.text)
			}
		}
	})
}

// TestCallPanics: a panic becomes internal without its text, and harms nothing else.
func TestCallPanics(t *testing.T) {
	everywhere(t, func(w *world) {
		client := w.serve(funcs{
			greet: func(context.Context, *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
				panic("the password is 1234")
			},
			count: func(_ context.Context, req *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
				stream.Send(new(greetv1.CountResponse))
				_ = make([]int, 1)[req.GetTo()]
				return nil
			},
			chat: echo,
		})
		other := mustChat(w, w.caller)
		mustSend(w, other, "before")
		_, err := client.Greet(w.Context(), new(greetv1.GreetRequest))
		for _, err := range []error{err, drainCount(w.Context(), client, 1)} {
			if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "1234") || strings.Contains(err.Error(), "range") {
				w.Errorf("got %v, want internal without the panic's text", err)
			}
		}
		mustSend(w, other, "after")
		wantLines(w, other, "before", "after")
	})
}
