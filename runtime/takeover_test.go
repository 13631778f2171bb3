package rpcmesh_test

import (
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// TestTakeOver: a node whose host died without a word is started elsewhere. It has its place and its functions at
// once, and not only when keepalive has found out. While the first one answers it keeps its place.
func TestTakeOver(t *testing.T) {
	for _, died := range []bool{true, false} {
		inBubble(t, func(t *testing.T, c *rpcmeshtest.Cluster) {
			c.Link("caller", "hub", "public")
			c.Link("a", "hub", "public")
			offer(c, t, "a")
			time.Sleep(time.Minute) // fake time
			again, err := rpcmesh.NewNode(rpcmesh.Config{Name: "a", Secret: rpcmeshtest.Secret, Dial: c.Dialer("elsewhere")})
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			l, err := again.Link(rpcmeshtest.URL("hub"), "public")
			if err != nil {
				t.Fatal(err)
			}
			if !died {
				wantError(t, l.Ready(t.Context()), connect.CodeAlreadyExists, "another living node")
				time.Sleep(time.Minute) // fake time
				wantAnswers(t, c, "a", "caller", "hub")
				return
			}
			c.Silence("a", "hub")
			mustRegister(t, again.Namespace("public"), work(atA.Procedure, "again"))
			began := time.Now()
			if err := l.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got, err := do(t.Context(), c.Node("caller").Namespace("public"), atA, ""); got != "again" || err != nil {
				t.Errorf("got %q, %v", got, err)
			}
			if took := time.Since(began); took > 750*time.Millisecond {
				t.Errorf("it took %v", took)
			}
			if _, err := again.Namespace("public").Register(work("/test.v1.At/more", "")); err != nil {
				t.Error(err)
			}
		})
	}
}
