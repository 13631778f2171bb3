package peer

import (
	"context"
	"errors"
	"io"
	"time"

	benchv1 "github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1/benchv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
)

const (
	meshNamespace = "bench"
	meshSecret    = "every process of a benchmark knows it"
	meshReady     = 5 * time.Second
)

// meshPeer is rpcmesh with its generated stubs, every process a node with default settings that proves
// the secret. Each relay links to the node before it, and the caller's node to the last.
type meshPeer struct{}

func (meshPeer) Traits() Traits {
	return Traits{Name: "rpcmesh", Note: "every process a node, secret proven", MaxRelays: 3, Streams: true, TLS: true}
}

func (meshPeer) Serve(ctx context.Context, _ string, o Options) (string, error) {
	node, err := newMeshNode(ctx, o)
	if err != nil {
		return "", err
	}
	if _, err := benchv1rpcmesh.RegisterEchoServiceOrigin(node.Namespace(meshNamespace), meshEcho{}); err != nil {
		return "", err
	}
	return serveMesh(ctx, node)
}

func (meshPeer) Relay(ctx context.Context, upstream string, o Options) (string, error) {
	node, err := linkMesh(ctx, upstream, o)
	if err != nil {
		return "", err
	}
	return serveMesh(ctx, node)
}

func (meshPeer) Dial(ctx context.Context, addr string, o Options) (Client, error) {
	if o.Guest {
		return dialMesh(ctx, addr, o)
	}
	node, err := linkMesh(ctx, addr, o)
	if err != nil {
		return nil, err
	}
	return meshClient{node.Close, benchv1rpcmesh.NewEchoServiceClient(node.Namespace(meshNamespace))}, nil
}

func newMeshNode(ctx context.Context, o Options) (*rpcmesh.Node, error) {
	cfg := rpcmesh.Config{Name: o.Role, Secret: meshSecret}
	// Each of the most callers' calls counts 8 KiB where it is served; by default a node has memory for 32,768.
	cfg.Limits.LinkMemory = 1 << 30
	cfg.Limits.NodeMemory = 1 << 30
	if o.Credentials.Set() {
		var err error
		if cfg.TLS, err = o.Credentials.server(); err != nil {
			return nil, err
		}
		if cfg.DialTLS, err = o.Credentials.client(); err != nil {
			return nil, err
		}
	}
	node, err := rpcmesh.NewNode(cfg)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { node.Close() })
	return node, nil
}

// linkMesh returns a node whose link to the one at addr has exchanged tables.
func linkMesh(ctx context.Context, addr string, o Options) (*rpcmesh.Node, error) {
	node, err := newMeshNode(ctx, o)
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if o.Credentials.Set() {
		scheme = "https"
	}
	link, err := node.Link(scheme+"://"+addr, meshNamespace)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, meshReady)
	defer cancel()
	return node, link.Ready(ctx)
}

// dialMesh returns a client that calls by a link of its own and is no member.
func dialMesh(ctx context.Context, addr string, o Options) (Client, error) {
	scheme, cfg := "http", rpcmesh.ProxyConfig{Namespace: meshNamespace, Secret: meshSecret}
	if o.Credentials.Set() {
		var err error
		if cfg.TLS, err = o.Credentials.client(); err != nil {
			return nil, err
		}
		scheme = "https"
	}
	proxy, err := rpcmesh.Dial(ctx, scheme+"://"+addr, cfg)
	if err != nil {
		return nil, err
	}
	return meshClient{proxy.Close, benchv1rpcmesh.NewEchoServiceClient(proxy)}, nil
}

func serveMesh(ctx context.Context, node *rpcmesh.Node) (string, error) {
	l, err := listen(ctx)
	if err != nil {
		return "", err
	}
	serve(ctx, func() error { return node.Serve(ctx, l) })
	return l.Addr().String(), nil
}

type meshEcho struct {
	benchv1rpcmesh.UnimplementedEchoServiceServer
}

func (meshEcho) Echo(_ context.Context, req *benchv1.EchoRequest) (*benchv1.EchoResponse, error) {
	return &benchv1.EchoResponse{Payload: req.GetPayload()}, nil
}

func (meshEcho) Chat(_ context.Context, stream benchv1rpcmesh.EchoServiceChatServerStream) error {
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&benchv1.ChatResponse{Payload: req.GetPayload()}); err != nil {
			return err
		}
	}
}

type meshClient struct {
	close func() error
	stub  benchv1rpcmesh.EchoServiceClient
}

func (c meshClient) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	res, err := c.stub.Echo(ctx, &benchv1.EchoRequest{Payload: payload})
	return res.GetPayload(), err
}

func (c meshClient) Stream(ctx context.Context) (Stream, error) {
	stream, err := c.stub.Chat(ctx)
	if err != nil {
		return nil, err
	}
	return meshStream{stream}, nil
}

func (c meshClient) Close() error { return c.close() }

type meshStream struct {
	stream benchv1rpcmesh.EchoServiceChatClientStream
}

func (s meshStream) Send(payload []byte) error {
	return s.stream.Send(&benchv1.ChatRequest{Payload: payload})
}

func (s meshStream) Receive() ([]byte, error) {
	res, err := s.stream.Receive()
	return res.GetPayload(), err
}

func (s meshStream) CloseSend() error { return s.stream.CloseSend() }
