package link_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

func TestErrors(t *testing.T) {
	detail := &connect.ErrorDetail{Type: "a.b.C", Value: []byte{1, 2, 0xff}, Debug: []byte(`{"x":1}`)}
	want := connect.NewError(connect.CodeNotFound, "no such thing: ünicode").WithDetail(detail).WithDetail(detail)
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(c *link.ServerCall) {
			_ = c.SendHeaders(someHeaders)
			_ = c.Send([]byte("one"))
			if err := c.End(want, someHeaders); err != nil {
				t.Errorf("End: %v", err)
			}
			if err := c.End(nil, nil); err == nil {
				t.Error("a second End succeeded")
			}
		}
		var gotTrailer connect.Header
		c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeBidi, ResponseTrailer: &gotTrailer})
		defer c.Close()
		if msg, err := c.Receive(); err != nil || string(msg) != "one" {
			t.Errorf("%q, %v", msg, err)
		}
		for range 2 {
			_, err := c.Receive()
			got, ok := errors.AsType[*connect.Error](err)
			if !ok || !got.IsRemote() || got.Code() != want.Code() || got.Message() != want.Message() {
				t.Fatalf("error %v", err)
			}
			if diff := cmp.Diff(want.Details(), got.Details()); diff != "" {
				t.Errorf("details (-want +got):\n%s", diff)
			}
		}
		checkHeader(t, "trailers", &gotTrailer, someHeaders)
		if f := c.Failure(); f != nil {
			t.Errorf("the mesh did not end the call, but failure is %v", f)
		}
		if err := c.Send(nil); !errors.Is(err, io.EOF) {
			t.Errorf("Send after the end: %v", err)
		}
	})
}

func TestPanic(t *testing.T) {
	for name, handler := range map[string]func(*link.ServerCall){
		"panic":  func(*link.ServerCall) { panic("the secret text") },
		"return": func(*link.ServerCall) {},
	} {
		t.Run(name, func(t *testing.T) {
			onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
				m.nodes[to].serve = handler
				_, err := unary(m.open(t.Context(), from, to, link.Open{}), nil)
				ce, _ := errors.AsType[*connect.Error](err)
				if ce.Code() != connect.CodeInternal || ce.Message() != "" {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestDeadline(t *testing.T) {
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		const limit = time.Minute + 130*time.Millisecond
		for _, byContext := range []bool{false, true} {
			start := time.Now()
			handler := make(chan error, 1)
			m.nodes[to].serve = func(c *link.ServerCall) {
				if d, ok := c.Context().Deadline(); !ok || d.Sub(start) != limit {
					t.Errorf("handler's deadline: %v, %v", d.Sub(start), ok)
				}
				derived, cancel := context.WithCancel(c.Context())
				defer cancel()
				_, _ = c.Receive()
				_, err := c.Receive()
				<-derived.Done()
				if !errors.Is(derived.Err(), context.DeadlineExceeded) {
					t.Errorf("derived context: %v", derived.Err())
				}
				handler <- errors.Join(c.Context().Err(), err)
				time.Sleep(time.Millisecond) // fake time
				_ = c.End(connect.NewError(connect.CodeInternal, "too late"), nil)
			}
			ctx, o := t.Context(), link.Open{StreamType: connect.StreamTypeBidi}
			if byContext {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			} else {
				o.Deadline = start.Add(limit)
			}
			c := m.open(ctx, from, to, o)
			if err := c.Send(nil); err != nil {
				t.Errorf("Send: %v", err)
			}
			_, err := c.Receive()
			if connect.CodeOf(err) != connect.CodeDeadlineExceeded || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Receive: %v", err)
			}
			if took := time.Since(start); took != limit {
				t.Errorf("the call took %v", took)
			}
			err = <-handler
			if !errors.Is(err, context.DeadlineExceeded) || connect.CodeOf(errors.Unwrap(err)) == 0 {
				t.Errorf("handler: %v", err)
			}
			_ = c.Close()
		}
	})
}

func TestDeadlineInThePast(t *testing.T) {
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(*link.ServerCall) { t.Error("the handler was called") }
		_, err := unary(m.open(t.Context(), from, to, link.Open{Deadline: time.Now().Add(-1)}), nil)
		if connect.CodeOf(err) != connect.CodeDeadlineExceeded {
			t.Errorf("error %v", err)
		}
	})
}

// TestCancel lets go of a call at each side at each point that can be told apart.
func TestCancel(t *testing.T) {
	for _, how := range []string{"context", "close"} {
		for _, point := range []string{"unopened", "opened", "sent", "answered", "sending", "receiving"} {
			t.Run(how+"/"+point, func(t *testing.T) {
				onEveryPath(t, link.Limits{Window: 100}, func(t *testing.T, m *mesh, from, to int) {
					testCancel(t, m, from, to, how, point)
				})
			})
		}
	}
}

func testCancel(t *testing.T, m *mesh, from, to int, how, point string) {
	handled := make(chan error, 1)
	m.nodes[to].serve = func(c *link.ServerCall) {
		if point == "answered" {
			_ = c.Send([]byte("answer"))
		}
		<-c.Context().Done()
		if _, err := c.Receive(); connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("handler's Receive: %v", err)
		}
		if err := c.Send(nil); connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("handler's Send: %v", err)
		}
		handled <- c.Context().Err()
		_ = c.End(nil, nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := m.open(ctx, from, to, link.Open{StreamType: connect.StreamTypeBidi})
	result := make(chan error, 1)
	switch point {
	case "unopened":
		handled <- context.Canceled // it never runs
	case "opened":
		_ = c.SendHeaders()
	case "sent":
		_ = c.Send([]byte("x"))
	case "answered":
		if _, err := c.Receive(); err != nil {
			t.Errorf("Receive: %v", err)
		}
	case "sending":
		go func() { result <- c.Send(make([]byte, 1_000_000)) }()
	case "receiving":
		go func() {
			_, err := c.Receive()
			result <- err
		}()
	}
	synctest.Wait()
	if how == "context" {
		cancel()
	} else {
		_ = c.Close()
	}
	if err := <-handled; !errors.Is(err, context.Canceled) {
		t.Errorf("handler's context: %v", err)
	}
	if point == "sending" || point == "receiving" {
		if err := <-result; connect.CodeOf(err) != connect.CodeCanceled || !errors.Is(err, context.Canceled) {
			t.Errorf("%s ended with %v", point, err)
		}
	}
	synctest.Wait()
	if _, err := c.Receive(); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("Receive: %v", err)
	}
	if err := c.Send(nil); connect.CodeOf(err) != connect.CodeCanceled {
		t.Errorf("Send: %v", err)
	}
	_ = c.Close()
}

// TestHandlerEndsEarly ends a call while its caller is sending.
func TestHandlerEndsEarly(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 100}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(c *link.ServerCall) {
			_, _ = c.Receive()
			_ = c.End(connect.NewError(connect.CodeAborted, "enough"), nil)
		}
		c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeClient})
		defer c.Close()
		var err error
		for err == nil {
			err = c.Send(make([]byte, 90))
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("Send: %v", err)
		}
		if _, err := c.Receive(); connect.CodeOf(err) != connect.CodeAborted {
			t.Errorf("Receive: %v", err)
		}
	})
}

func TestMessageLimits(t *testing.T) {
	onEveryPath(t, link.Limits{MaxMessage: 100_000, Window: 1000}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = echo
		c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeBidi})
		defer c.Close()
		for _, size := range []int{0, 1, 8 << 10, 8<<10 + 1, 32 << 10, 32<<10 + 1, 64 << 10, 100_000} {
			sent := make(chan error, 1)
			go func() { sent <- c.Send(make([]byte, size)) }()
			msg, err := c.Receive()
			if err := errors.Join(err, <-sent); err != nil || len(msg) != size {
				t.Fatalf("%d bytes came back as %d, %v", size, len(msg), err)
			}
		}
		if err := c.Send(make([]byte, 100_001)); connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("a message that is too long: %v", err)
		}
		if err := c.Send([]byte("still there")); err != nil {
			t.Errorf("Send after it: %v", err)
		}
		if msg, err := c.Receive(); string(msg) != "still there" {
			t.Errorf("%q, %v", msg, err)
		}
	})
}

// TestReceiverLimit has ends whose limits differ.
func TestReceiverLimit(t *testing.T) {
	for _, nodes := range []int{2, 4} {
		for _, smallCaller := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, nodes, link.Limits{MaxMessage: 1 << 20, Window: 1000})
				small := nodes - 1
				if smallCaller {
					small = 0
				}
				m.nodes[small].cfg.Limits.MaxMessage = 50_000
				m.linkRow()
				handled := make(chan error, 1)
				m.nodes[nodes-1].serve = func(c *link.ServerCall) {
					_, err := c.Receive()
					if smallCaller {
						err = c.Send(make([]byte, 500_000))
					}
					handled <- err
					_ = c.End(asError(err), nil)
				}
				c := m.open(t.Context(), 0, nodes-1, link.Open{StreamType: connect.StreamTypeBidi})
				size := 500_000
				if smallCaller {
					size = 10
				}
				_ = c.Send(make([]byte, size))
				_, err := c.Receive()
				if connect.CodeOf(err) != connect.CodeResourceExhausted {
					t.Errorf("caller: %v", err)
				}
				err = <-handled
				if smallCaller && connect.CodeOf(err) != connect.CodeCanceled || !smallCaller && connect.CodeOf(err) != connect.CodeResourceExhausted {
					t.Errorf("handler: %v", err)
				}
				_ = c.Close()

				m.nodes[nodes-1].serve = echoUnary
				if reply, err := unary(m.open(t.Context(), 0, nodes-1, link.Open{}), []byte("x")); string(reply) != "x" {
					t.Errorf("the next call: %q, %v", reply, err)
				}
				m.checkIdle()
				m.close()
			})
		}
	}
}

func TestHeaderLimits(t *testing.T) {
	big := header("Big", string(make([]byte, 64<<10)))
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(c *link.ServerCall) {
			if err := c.SendHeaders(big); connect.CodeOf(err) != connect.CodeResourceExhausted {
				t.Errorf("SendHeaders: %v", err)
			}
			_ = c.End(nil, big)
		}
		_, err := unary(m.open(t.Context(), from, to, link.Open{Header: big}), nil)
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("request headers: %v", err)
		}
		_, err = unary(m.open(t.Context(), from, to, link.Open{}), nil)
		if connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("trailers: %v", err)
		}
		near := header("Near", string(make([]byte, 60_000)))
		m.nodes[to].serve = func(c *link.ServerCall) {
			_, _ = c.Receive()
			if err := c.Reply(near, nil, near); err != nil {
				t.Errorf("Reply: %v", err)
			}
		}
		var h, tr connect.Header
		_, err = unary(m.open(t.Context(), from, to, link.Open{Header: near, ResponseHeader: &h, ResponseTrailer: &tr}), nil)
		if err != nil || h.Len() != 1 || tr.Len() != 1 {
			t.Errorf("headers near the limit: %v, %d, %d", err, h.Len(), tr.Len())
		}
	})
}

func TestBadNames(t *testing.T) {
	long := string(bytes.Repeat([]byte("n"), 2000))
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(*link.ServerCall) { t.Error("the handler was called") }
		for _, procedure := range []string{long, "/a/\xff"} {
			_, err := unary(m.open(t.Context(), from, to, link.Open{Procedure: procedure}), nil)
			if connect.CodeOf(err) != connect.CodeInvalidArgument {
				t.Errorf("procedure %.10q: %v", procedure, err)
			}
		}
	})
}

// TestRefusedWithItsEnd: an answer that cannot be taken ends its call for good where it comes with the end.
func TestRefusedWithItsEnd(t *testing.T) {
	for relays := range 2 {
		synctest.Test(t, func(t *testing.T) {
			m := newMesh(t, 2+relays, link.Limits{})
			m.nodes[0].cfg.Limits.MaxMessage = 100
			m.linkRow()
			m.nodes[1+relays].serve = func(c *link.ServerCall) { _ = c.Reply(nil, make([]byte, 101), nil) }
			for range 3 {
				if _, err := unary(m.open(t.Context(), 0, 1+relays, link.Open{}), nil); connect.CodeOf(err) != connect.CodeResourceExhausted {
					t.Errorf("%d relays: %v", relays, err)
				}
			}
			synctest.Wait()
			m.checkIdle()
			m.close()
		})
	}
}
