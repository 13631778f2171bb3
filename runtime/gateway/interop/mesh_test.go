// Package interop holds tests alone: clients of other libraries and languages call through the gateway.
// What a client is written in beside Go lies in a folder of its own. A test whose tools are missing is
// skipped, but for `bash .ci/run clients`, which installs them.
package interop

import (
	"context"
	"net"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1connect"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1rpcmesh"
)

func TestMain(m *testing.M) {
	if as := os.Getenv(processEnv); as != "" {
		os.Exit(runProcess(as))
	}
	goleak.VerifyTestMain(m)
}

// mesh is a chain of three nodes: a gateway at one end, the service at the other.
type mesh struct {
	address, url string             // of the gateway
	entry        *rpcmesh.Namespace // where it is
}

const (
	namespace = "public"
	secret    = "interop"
	// pages is where web pages that may call come from, with a port.
	pages = "http://127.0.0.1:*"
)

// start starts a mesh with the service on the project's own stubs.
func start(t *testing.T) *mesh {
	t.Helper()
	return startWith(t, func(far *rpcmesh.Node) error {
		_, err := interopv1rpcmesh.RegisterEchoServiceOrigin(far.Namespace(namespace), echo{})
		return err
	})
}

// startWith starts a mesh at whose far end offer has the service.
func startWith(t *testing.T, offer func(far *rpcmesh.Node) error) *mesh {
	t.Helper()
	entry, relay, far := newNode(t, "entry"), newNode(t, "relay"), newNode(t, "far")
	if err := offer(far); err != nil {
		t.Fatal(err)
	}
	m := &mesh{entry: entry.Namespace(namespace)}
	if err := gateway.Mount(entry, gateway.Config{
		Open: true, Namespace: namespace,
		CORS: &gateway.CORS{
			Origins: []string{pages}, RequestHeaders: []string{markHeader},
			ResponseHeaders: []string{markHeader, "Trailer-" + markTrailer},
		},
	}); err != nil {
		t.Fatal(err)
	}
	relay.Namespace(namespace)
	m.address = serve(t, entry)
	m.url = "http://" + m.address
	between := "http://" + serve(t, relay)
	for _, n := range []*rpcmesh.Node{entry, far} {
		if _, err := n.Link(between, namespace); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := m.entry.WaitFor(ctx, interopv1connect.EchoServiceEchoProcedure); err != nil {
		t.Fatal(err)
	}
	return m
}

func newNode(t *testing.T, name string) *rpcmesh.Node {
	t.Helper()
	node, err := rpcmesh.NewNode(rpcmesh.Config{Name: name, Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Close() })
	return node
}

// serve has a node listen until the test ends, and returns its address.
func serve(t *testing.T, node *rpcmesh.Node) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- node.Serve(context.WithoutCancel(t.Context()), l) }()
	t.Cleanup(func() {
		_ = node.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}
