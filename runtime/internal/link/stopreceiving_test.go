package link_test

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestStopReceiving has a handler that is waiting for a message wait no longer. It still answers, and what
// its caller goes on sending ends nothing.
func TestStopReceiving(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 200}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(c *link.ServerCall) {
			if _, err := c.Receive(); err != nil {
				t.Errorf("before: %v", err)
			}
			waited := make(chan error)
			go func() {
				_, err := c.Receive()
				waited <- err
			}()
			synctest.Wait()
			c.StopReceiving()
			for range 2 {
				if err := <-waited; connect.CodeOf(err) != connect.CodeCanceled {
					t.Errorf("Receive: %v", err)
				}
				go func() {
					_, err := c.Receive()
					waited <- err
				}()
			}
			<-waited
			if err := c.Send([]byte("go on")); err != nil {
				t.Errorf("Send: %v", err)
			}
			synctest.Wait() // while the caller sends
			if err := c.Send([]byte("answer")); err != nil {
				t.Errorf("Send: %v", err)
			}
			if err := c.End(nil, nil); err != nil {
				t.Errorf("End: %v", err)
			}
		}
		c := m.open(t.Context(), from, to, link.Open{Procedure: "/a.B/C", StreamType: connect.StreamTypeBidi})
		if err := c.Send([]byte("one")); err != nil {
			t.Fatal(err)
		}
		sent := make(chan error)
		if msg, err := c.Receive(); string(msg) != "go on" || err != nil {
			t.Fatalf("got %q, %v", msg, err)
		}
		go func() {
			for {
				if err := c.Send(make([]byte, 100)); err != nil {
					sent <- err
					return
				}
			}
		}()
		if msg, err := c.Receive(); string(msg) != "answer" || err != nil {
			t.Errorf("got %q, %v", msg, err)
		}
		if _, err := c.Receive(); !errors.Is(err, io.EOF) {
			t.Errorf("the end: %v", err)
		}
		if err := <-sent; !errors.Is(err, io.EOF) {
			t.Errorf("sending at the end: %v", err)
		}
	})
}
