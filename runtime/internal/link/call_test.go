package link_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// onEveryPath runs a test with a call's two ends in one process, direct, over one relay and over
// seven; and called from the dialling and from the listening side. It checks that nothing is left.
func onEveryPath(t *testing.T, limits link.Limits, f func(t *testing.T, m *mesh, from, to int)) {
	for _, nodes := range []int{1, 2, 3, 9} {
		for _, back := range []bool{false, true} {
			if nodes == 1 && back {
				continue
			}
			t.Run(fmt.Sprintf("nodes=%d/back=%v", nodes, back), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := chain(t, nodes, limits)
					from, to := 0, nodes-1
					if back {
						from, to = to, from
					}
					f(t, m, from, to)
					synctest.Wait()
					m.checkIdle()
					m.close()
				})
			})
		}
	}
}

// checkIdle fails if a session still knows of a call, or holds memory for one.
func (m *mesh) checkIdle() {
	m.tb.Helper()
	for _, l := range m.links {
		for _, s := range []*link.Session{l.dialler, l.accept} {
			if n := s.OpenCalls(); n != 0 {
				m.tb.Errorf("a session between %d and %d still has %d calls", l.from, l.to, n)
			}
			if n := s.Held(); n != 0 && s.Handlers() == 0 {
				m.tb.Errorf("a session between %d and %d still holds %d bytes", l.from, l.to, n)
			}
		}
	}
}

func header(pairs ...string) *connect.Header {
	h := new(connect.Header)
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func headerMap(h *connect.Header) map[string][]string {
	return maps.Collect(h.All())
}

func checkHeader(t *testing.T, what string, got, want *connect.Header) {
	t.Helper()
	if diff := cmp.Diff(headerMap(want), headerMap(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

var someHeaders = header("Plain", "a", "Plain", "b", "Empty", "", "Bin-Bin", "AAEC", "Octets", "caf\xe9\xff")

func TestUnary(t *testing.T) {
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(c *link.ServerCall) {
			h, _ := c.Header()
			checkHeader(t, "request headers", h, someHeaders)
			if in := c.Callee(); in.Procedure != "/a.B/C" || in.Namespace != "default" || in.Origin != nodeID(to) {
				t.Errorf("incoming call: %+v", in)
			}
			msg, err := c.Receive()
			if err != nil {
				t.Errorf("Receive: %v", err)
			}
			if _, err := c.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("second Receive: %v", err)
			}
			if err := c.Reply(someHeaders, append([]byte("re: "), msg...), someHeaders); err != nil {
				t.Errorf("Reply: %v", err)
			}
			if err := c.Context().Err(); !errors.Is(err, context.Canceled) {
				t.Errorf("context after the reply: %v", err)
			}
		}
		var gotHeader, gotTrailer connect.Header
		c := m.open(t.Context(), from, to, link.Open{
			Procedure: "/a.B/C", Header: someHeaders,
			ResponseHeader: &gotHeader, ResponseTrailer: &gotTrailer,
		})
		reply, err := unary(c, []byte("hello"))
		if err != nil || string(reply) != "re: hello" {
			t.Errorf("reply %q, error %v", reply, err)
		}
		checkHeader(t, "response headers", &gotHeader, someHeaders)
		checkHeader(t, "trailers", &gotTrailer, someHeaders)
	})
}

func TestServerStream(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 300}, func(t *testing.T, m *mesh, from, to int) {
		const count = 100
		m.nodes[to].serve = func(c *link.ServerCall) {
			if _, err := c.Receive(); err != nil {
				t.Errorf("Receive: %v", err)
			}
			if err := c.SendHeaders(someHeaders); err != nil {
				t.Errorf("SendHeaders: %v", err)
			}
			for i := range count {
				if err := c.Send(fmt.Appendf(nil, "message %d", i)); err != nil {
					t.Errorf("Send: %v", err)
				}
			}
			_ = c.End(nil, someHeaders)
		}
		var gotHeader, gotTrailer connect.Header
		c := m.open(t.Context(), from, to, link.Open{
			StreamType: connect.StreamTypeServer, ResponseHeader: &gotHeader, ResponseTrailer: &gotTrailer,
		})
		defer c.Close()
		if err := c.Send([]byte("request")); err != nil {
			t.Errorf("Send: %v", err)
		}
		for i := range count {
			msg, err := c.Receive()
			if err != nil || string(msg) != fmt.Sprintf("message %d", i) {
				t.Fatalf("message %d: %q, %v", i, msg, err)
			}
			if i == 0 {
				checkHeader(t, "response headers", &gotHeader, someHeaders)
			}
		}
		if _, err := c.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
		checkHeader(t, "trailers", &gotTrailer, someHeaders)
	})
}

func TestClientStream(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 300}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(c *link.ServerCall) {
			total := 0
			for {
				msg, err := c.Receive()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Errorf("Receive: %v", err)
					break
				}
				total += len(msg)
			}
			_ = c.Reply(nil, fmt.Append(nil, total), nil)
		}
		c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeClient})
		defer c.Close()
		want := 0
		for i := range 200 {
			want += i
			if err := c.Send(make([]byte, i)); err != nil {
				t.Fatalf("Send: %v", err)
			}
		}
		if err := errors.Join(c.CloseSend(), c.CloseSend()); err != nil {
			t.Fatalf("CloseSend: %v", err)
		}
		if err := c.Send(nil); !errors.Is(err, io.EOF) {
			t.Errorf("Send after CloseSend: %v", err)
		}
		msg, err := c.Receive()
		if err != nil || string(msg) != fmt.Sprint(want) {
			t.Errorf("reply %q, %v; want %d", msg, err, want)
		}
		if _, err := c.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	})
}

func TestBidiStream(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 300}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = echo
		c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeBidi})
		defer c.Close()
		for i := range 100 {
			// Many times the keepalive timeout passes between some of the messages.
			time.Sleep(time.Duration(i%7) * 10 * time.Second) // fake time
			want := bytes.Repeat([]byte{byte(i)}, i*7)
			if err := c.Send(want); err != nil {
				t.Fatalf("Send: %v", err)
			}
			got, err := c.Receive()
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("message %d: %d bytes, %v", i, len(got), err)
			}
		}
		if err := c.CloseSend(); err != nil {
			t.Errorf("CloseSend: %v", err)
		}
		if _, err := c.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("at the end: %v", err)
		}
	})
}

// TestFullDuplex has both ends send at once more than the windows hold.
func TestFullDuplex(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 500}, func(t *testing.T, m *mesh, from, to int) {
		const count, size = 50, 40_000
		m.nodes[to].serve = func(c *link.ServerCall) {
			sent := make(chan error, 1)
			go func() {
				for range count {
					if err := c.Send(make([]byte, size)); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
			for {
				if _, err := c.Receive(); err != nil {
					break
				}
			}
			if err := <-sent; err != nil {
				t.Errorf("handler's Send: %v", err)
			}
			_ = c.End(nil, nil)
		}
		c := m.open(t.Context(), from, to, link.Open{StreamType: connect.StreamTypeBidi})
		defer c.Close()
		sent := make(chan error, 1)
		go func() {
			for range count {
				if err := c.Send(make([]byte, size)); err != nil {
					sent <- err
					return
				}
			}
			sent <- c.CloseSend()
		}()
		got := 0
		for {
			msg, err := c.Receive()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || len(msg) != size {
				t.Fatalf("%d bytes, %v", len(msg), err)
			}
			got++
		}
		if err := <-sent; err != nil || got != count {
			t.Errorf("got %d messages of %d; Send: %v", got, count, err)
		}
	})
}
