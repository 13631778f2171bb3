package link_test

import (
	"io"
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// TestCloseBeforeOpen: of a call that is closed before it was opened nothing is sent, and all that is done with it later
// finds it canceled.
func TestCloseBeforeOpen(t *testing.T) {
	onEveryPath(t, link.Limits{}, func(t *testing.T, m *mesh, from, to int) {
		m.nodes[to].serve = func(c *link.ServerCall) { t.Errorf("%s was called", c.Callee().Procedure) }
		call := m.open(t.Context(), from, to, link.Open{Namespace: "n", Procedure: "/p"})
		if err := call.Close(); err != nil {
			t.Fatal(err)
		}
		for name, do := range map[string]func() error{
			"SendHeaders": call.SendHeaders,
			"Send":        func() error { return call.Send([]byte("x")) },
			"CloseSend":   call.CloseSend,
			"Receive":     func() error { _, err := call.Receive(); return err },
			"Err":         call.Err,
		} {
			if err := do(); err == io.EOF || connect.CodeOf(err) != connect.CodeCanceled {
				t.Errorf("%s: %v", name, err)
			}
		}
		if call.ReceiveHeaders() {
			t.Error("there are headers")
		}
	})
}
