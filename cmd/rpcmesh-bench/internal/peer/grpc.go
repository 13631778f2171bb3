package peer

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	benchv1 "github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1"
)

// grpcPeer is grpc-go with its generated stubs and default settings.
type grpcPeer struct{}

func (grpcPeer) Traits() Traits {
	return Traits{Name: "grpc-go", Note: "relay: raw-codec proxy", MaxRelays: 2, Streams: true, TLS: true}
}

func (grpcPeer) Serve(ctx context.Context, _ string, o Options) (string, error) {
	return serveGRPC(ctx, o, func(s *grpc.Server) { benchv1.RegisterEchoServiceServer(s, grpcEcho{}) })
}

func (grpcPeer) Relay(ctx context.Context, upstream string, o Options) (string, error) {
	conn, err := dialGRPC(upstream, o)
	if err != nil {
		return "", err
	}
	context.AfterFunc(ctx, func() { conn.Close() })
	return serveGRPC(ctx, o, func(*grpc.Server) {}, rawProxy(conn)...)
}

func (grpcPeer) Dial(_ context.Context, addr string, o Options) (Client, error) {
	conn, err := dialGRPC(addr, o)
	if err != nil {
		return nil, err
	}
	return &grpcClient{conn: conn, stub: benchv1.NewEchoServiceClient(conn)}, nil
}

func serveGRPC(ctx context.Context, o Options, register func(*grpc.Server), opts ...grpc.ServerOption) (string, error) {
	if o.Credentials.Set() {
		conf, err := o.Credentials.server()
		if err != nil {
			return "", err
		}
		opts = append(opts, grpc.Creds(credentials.NewTLS(conf)))
	}
	l, err := listen(ctx)
	if err != nil {
		return "", err
	}
	s := grpc.NewServer(opts...)
	register(s)
	context.AfterFunc(ctx, s.Stop)
	serve(ctx, func() error { return s.Serve(l) })
	return l.Addr().String(), nil
}

func dialGRPC(addr string, o Options) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if o.Credentials.Set() {
		conf, err := o.Credentials.client()
		if err != nil {
			return nil, err
		}
		creds = credentials.NewTLS(conf)
	}
	return grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(creds))
}

type grpcEcho struct {
	benchv1.UnimplementedEchoServiceServer
}

func (grpcEcho) Echo(_ context.Context, req *benchv1.EchoRequest) (*benchv1.EchoResponse, error) {
	return &benchv1.EchoResponse{Payload: req.GetPayload()}, nil
}

func (grpcEcho) Chat(stream grpc.BidiStreamingServer[benchv1.ChatRequest, benchv1.ChatResponse]) error {
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

type grpcClient struct {
	conn *grpc.ClientConn
	stub benchv1.EchoServiceClient
}

func (c *grpcClient) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	res, err := c.stub.Echo(ctx, &benchv1.EchoRequest{Payload: payload})
	return res.GetPayload(), err
}

func (c *grpcClient) Stream(ctx context.Context) (Stream, error) {
	stream, err := c.stub.Chat(ctx)
	if err != nil {
		return nil, err
	}
	return grpcStream{stream}, nil
}

func (c *grpcClient) Close() error { return c.conn.Close() }

type grpcStream struct {
	stream grpc.BidiStreamingClient[benchv1.ChatRequest, benchv1.ChatResponse]
}

func (s grpcStream) Send(payload []byte) error {
	return s.stream.Send(&benchv1.ChatRequest{Payload: payload})
}

func (s grpcStream) Receive() ([]byte, error) {
	res, err := s.stream.Recv()
	return res.GetPayload(), err
}

func (s grpcStream) CloseSend() error { return s.stream.CloseSend() }
