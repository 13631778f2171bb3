package rpcmeshtest_test

import (
	"testing"
	"testing/synctest"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

// A test of what a caller sees while the node that it calls is silent, and afterwards. In a bubble of synctest it
// takes no time: the clock is fake.
func ExampleNew() {
	testSilentGreeter = func(t *testing.T) { // in life: func TestSilentGreeter(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := rpcmeshtest.New(t)
			c.Setup("a", func(n *rpcmesh.Node) { // at each start of a
				if _, err := greetv1rpcmesh.RegisterGreeterOrigin(n.Namespace("public"), greeter{name: "a"}); err != nil {
					t.Error(err)
				}
			})
			c.Link("b", "a", "public")
			public := c.Node("b").Namespace("public")
			if err := public.WaitFor(t.Context(), greetv1rpcmesh.GreeterGreetProcedure); err != nil {
				t.Fatal(err)
			}
			client := greetv1rpcmesh.NewGreeterClient(public)

			c.Silence("a", "b") // nothing arrives any more; the link's keepalive finds out
			if _, err := client.Greet(t.Context(), new(greetv1.GreetRequest)); err == nil {
				t.Error("a call got through")
			}
			c.Heal("a", "b") // the next dial succeeds, and a call may wait for it
			ready := rpcmesh.WaitForReady(t.Context())
			if _, err := client.Greet(ready, new(greetv1.GreetRequest)); err != nil {
				t.Error(err)
			}
		})
	}
}

var testSilentGreeter func(t *testing.T)

func TestExampleNew(t *testing.T) {
	ExampleNew()
	testSilentGreeter(t)
}
