package peer

import (
	"context"
	"errors"
	"io"
	"net"

	"storj.io/drpc/drpcconn"
	"storj.io/drpc/drpcmux"
	"storj.io/drpc/drpcpool"
	"storj.io/drpc/drpcserver"

	benchv1 "github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1"
)

// drpcPeer is storj's drpc with its generated stubs and its connection pool: a connection of drpc
// carries one call at a time.
type drpcPeer struct{}

func (drpcPeer) Traits() Traits {
	return Traits{Name: "drpc", Note: "pooled, a connection a call", Streams: true}
}

func (drpcPeer) Serve(ctx context.Context, _ string, _ Options) (string, error) {
	mux := drpcmux.New()
	if err := benchv1.DRPCRegisterEchoService(mux, drpcEcho{}); err != nil {
		return "", err
	}
	l, err := listen(ctx)
	if err != nil {
		return "", err
	}
	serve(ctx, func() error { return drpcserver.New(mux).Serve(ctx, l) })
	return l.Addr().String(), nil
}

func (drpcPeer) Relay(context.Context, string, Options) (string, error) {
	return "", errors.New("drpc has no relay")
}

func (drpcPeer) Dial(ctx context.Context, addr string, _ Options) (Client, error) {
	pool := drpcpool.New[string, *drpcconn.Conn](drpcpool.Options{})
	conn := pool.Get(ctx, addr, func(ctx context.Context, addr string) (*drpcconn.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return drpcconn.New(conn), nil
	})
	return &drpcClient{pool: pool, stub: benchv1.NewDRPCEchoServiceClient(conn)}, nil
}

type drpcEcho struct{}

func (drpcEcho) Echo(_ context.Context, req *benchv1.EchoRequest) (*benchv1.EchoResponse, error) {
	return &benchv1.EchoResponse{Payload: req.GetPayload()}, nil
}

func (drpcEcho) Chat(stream benchv1.DRPCEchoService_ChatStream) error {
	for {
		req, err := stream.Recv()
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

type drpcClient struct {
	pool *drpcpool.Pool[string, *drpcconn.Conn]
	stub benchv1.DRPCEchoServiceClient
}

func (c *drpcClient) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	res, err := c.stub.Echo(ctx, &benchv1.EchoRequest{Payload: payload})
	return res.GetPayload(), err
}

func (c *drpcClient) Stream(ctx context.Context) (Stream, error) {
	stream, err := c.stub.Chat(ctx)
	if err != nil {
		return nil, err
	}
	return drpcStream{stream}, nil
}

func (c *drpcClient) Close() error { return c.pool.Close() }

type drpcStream struct {
	stream benchv1.DRPCEchoService_ChatClient
}

func (s drpcStream) Send(payload []byte) error {
	return s.stream.Send(&benchv1.ChatRequest{Payload: payload})
}

func (s drpcStream) Receive() ([]byte, error) {
	res, err := s.stream.Recv()
	return res.GetPayload(), err
}

func (s drpcStream) CloseSend() error { return s.stream.CloseSend() }
