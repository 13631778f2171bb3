package link_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestReceiveHeaders has a caller wait for headers alone, and for a response that has more at once.
func TestReceiveHeaders(t *testing.T) {
	onEveryPath(t, link.Limits{Window: 300}, func(t *testing.T, m *mesh, from, to int) {
		long := strings.Repeat("long", 1000)
		m.nodes[to].serve = func(c *link.ServerCall) {
			how, err := c.Receive()
			if err != nil {
				t.Errorf("Receive: %v", err)
			}
			switch string(how) {
			case "headers":
				_ = c.SendHeaders(someHeaders)
				if _, err := c.Receive(); !errors.Is(err, io.EOF) {
					t.Errorf("Receive: %v", err)
				}
				_ = c.Send([]byte("after"))
			case "long":
				_ = c.Send([]byte(long))
			case "fail":
				_ = c.End(connect.NewError(connect.CodeAborted, "no"), nil)
			}
		}
		for _, test := range []struct {
			how, msg string
			alone    bool
		}{{"headers", "after", true}, {"long", long, false}, {"fail", "", false}} {
			var got connect.Header
			c := m.open(t.Context(), from, to, link.Open{Procedure: "/a.B/C", StreamType: connect.StreamTypeBidi, ResponseHeader: &got})
			if err := c.Send([]byte(test.how)); err != nil {
				t.Fatal(err)
			}
			if alone := c.ReceiveHeaders(); alone != test.alone {
				t.Errorf("%s: %v", test.how, alone)
			}
			if test.alone {
				checkHeader(t, test.how, &got, someHeaders)
			}
			_ = c.CloseSend()
			msg, err := c.Receive()
			if string(msg) != test.msg || (err != nil) != (test.how == "fail") {
				t.Errorf("%s: got %.20q, %v", test.how, msg, err)
			}
			if test.alone {
				checkHeader(t, test.how, &got, someHeaders)
			}
			_ = c.Close()
			synctest.Wait()
			if c.ReceiveHeaders() {
				t.Errorf("%s: headers of a call that is over", test.how)
			}
		}
	})
}
