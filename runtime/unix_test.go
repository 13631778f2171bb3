package rpcmesh_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"connectrpc.com/connect/v2"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const unixSecret = "the secret of the Unix socket"

// TestUnixSocket links and dials through a Unix domain socket.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Skip("no Unix domain sockets here:", err)
	}
	hub := mustNode(t, rpcmesh.Config{Name: "hub", Secret: unixSecret})
	served := make(chan error, 1)
	go func() { served <- hub.Serve(context.Background(), l) }() //nolint:usetesting // until it is closed, below
	t.Cleanup(func() {
		hub.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	node := mustNode(t, rpcmesh.Config{Name: "node", Secret: unixSecret})
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("default"), greeter{}); err != nil {
		t.Fatal(err)
	}
	mustLink(t, node, "unix://"+path)
	for info := range node.Links() {
		if info.URL != "unix://"+path || info.Addr != path {
			t.Errorf("got %+v", info)
		}
	}
	proxy, err := rpcmesh.Dial(t.Context(), "unix://"+path, rpcmesh.ProxyConfig{Secret: unixSecret})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	if err := proxy.WaitFor(t.Context(), greetv1rpcmesh.GreeterGreetProcedure); err != nil {
		t.Fatal(err)
	}
	if _, err := greetv1rpcmesh.NewGreeterClient(proxy).Greet(t.Context(), &greetv1.GreetRequest{Name: "Ada"}); err != nil {
		t.Error(err)
	}
}

func TestUnixURLs(t *testing.T) {
	n := mustNode(t, rpcmesh.Config{Secret: unixSecret})
	for _, url := range []string{"unix:", "unix:///", "unix:relative.sock", "unix://host/node.sock", "unix:///node.sock?x=1"} {
		if _, err := n.Link(url); connect.CodeOf(err) != connect.CodeInvalidArgument {
			t.Errorf("%s: %v", url, err)
		}
	}
}
