package rpcmesh_test

import (
	"testing"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func TestFind(t *testing.T) {
	c := rpcmeshtest.New(t)
	c.Link("b", "a", "one")
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(c.Node("b").Namespace("one"), greetv1rpcmesh.UnimplementedGreeterServer{}); err != nil {
		t.Fatal(err)
	}
	a := c.Node("a")
	ns, ok := a.FindNamespace("one")
	if !ok || ns != a.Namespace("one") {
		t.Fatalf("the namespace: %v, %v", ns, ok)
	}
	if err := ns.WaitFor(t.Context(), greetv1rpcmesh.GreeterChatProcedure); err != nil {
		t.Fatal(err)
	}
	f, ok := ns.Find(greetv1rpcmesh.GreeterGreetProcedure)
	if !ok || f.Procedure != greetv1rpcmesh.GreeterGreetProcedure || f.StreamType != connect.StreamTypeUnary ||
		f.Idempotency != connect.IdempotencyNoSideEffects || f.OriginName != "b" || f.Hops != 1 {
		t.Errorf("got %+v, %v", f, ok)
	}
	if f, _ := ns.Find(greetv1rpcmesh.GreeterChatProcedure); f.StreamType != connect.StreamTypeBidi || f.Idempotency != connect.IdempotencyUnknown {
		t.Errorf("got %+v", f)
	}
	for listed := range ns.Functions() {
		if found, _ := ns.Find(listed.Procedure); found != listed {
			t.Errorf("listed as %+v, found as %+v", listed, found)
		}
	}
	if f, ok := ns.Find("/a.B/C"); ok {
		t.Errorf("found %+v", f)
	}
	if n := testing.AllocsPerRun(100, func() { ns.Find(greetv1rpcmesh.GreeterGreetProcedure) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if ns, ok := a.FindNamespace("two"); ok || ns != nil {
		t.Errorf("a namespace that the node is no member of: %v", ns)
	}
	if ns, ok := a.FindNamespace(""); !ok || ns.Name() != "default" {
		t.Errorf("the default namespace: %v, %v", ns, ok)
	}
}
