package interop

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/adopt"
	interopv1 "github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1connect"
)

// TestGRPCGoServer calls a server of grpc-go that knows nothing of meshes: it was adopted by its reflection.
func TestGRPCGoServer(t *testing.T) {
	server := newGRPCServer(t, "127.0.0.1:0")
	m := startWith(t, func(far *rpcmesh.Node) error {
		return adoptServer(t, far, "http://"+server.address, adopt.Config{})
	})
	t.Run("grpc-go", func(t *testing.T) { callGRPC(t, dialGRPC(t, m.address)) })
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			callConnect(t, connecthttp.NewTransport(h2c(t), m.url, p.opts...))
		})
	}
	t.Run("within the mesh", func(t *testing.T) { callConnect(t, m.entry) })
	t.Run("its end and its return", func(t *testing.T) { m.restart(t, server) })
}

// restart stops an adopted server and starts another in its place: its functions go and come.
func (m *mesh) restart(t *testing.T, server *grpcServer) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	await := func(what string, there bool) {
		t.Helper()
		for range m.entry.Watch(ctx) {
			if _, ok := m.entry.Find(interopv1connect.EchoServiceEchoProcedure); ok == there {
				return
			}
		}
		t.Fatalf("%s: %v", what, ctx.Err())
	}
	server.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	await("not serving", false)
	server.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	await("serving again", true)
	server.server.Stop()
	await("stopped", false)
	newGRPCServer(t, server.address)
	await("started again", true)
	callGRPC(t, dialGRPC(t, m.address))
}

// TestConnectGoServerAdopted calls a stock server of connect-go over HTTP, adopted by a descriptor set.
func TestConnectGoServerAdopted(t *testing.T) {
	mux := http.NewServeMux()
	server := connect.NewServer()
	interopv1connect.RegisterEchoServiceHandler(server, stockEcho{})
	connecthttp.Mount(mux, server)
	backend := httptest.NewUnstartedServer(mux)
	backend.Config.Protocols = new(http.Protocols)
	backend.Config.Protocols.SetUnencryptedHTTP2(true)
	backend.Start()
	t.Cleanup(backend.Close)
	descriptors, err := proto.Marshal(&descriptorpb.FileDescriptorSet{
		File: []*descriptorpb.FileDescriptorProto{protodesc.ToFileDescriptorProto(interopv1.File_interop_v1_echo_proto)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, protocol := range []adopt.Protocol{adopt.Connect, adopt.GRPC, adopt.GRPCWeb} {
		t.Run(protocol.String(), func(t *testing.T) {
			m := startWith(t, func(far *rpcmesh.Node) error {
				return adoptServer(t, far, backend.URL, adopt.Config{Protocol: protocol, Descriptors: descriptors})
			})
			callGRPC(t, dialGRPC(t, m.address))
			callConnect(t, connecthttp.NewTransport(h2c(t), m.url))
		})
	}
}

// adoptServer adopts a server until the test ends.
func adoptServer(t *testing.T, far *rpcmesh.Node, url string, cfg adopt.Config) error {
	cfg.Namespace = namespace
	adopted, err := adopt.New(far, url, cfg)
	if err != nil {
		return err
	}
	t.Cleanup(func() { _ = adopted.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return adopted.Ready(ctx)
}

// grpcServer is a server of grpc-go with health and reflection.
type grpcServer struct {
	address string
	server  *grpc.Server
	health  *health.Server
}

func newGRPCServer(t *testing.T, address string) *grpcServer {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s := &grpcServer{address: l.Addr().String(), server: grpc.NewServer(), health: health.NewServer()}
	interopv1.RegisterEchoServiceServer(s.server, grpcEcho{})
	grpc_health_v1.RegisterHealthServer(s.server, s.health)
	reflection.Register(s.server)
	served := make(chan error, 1)
	go func() { served <- s.server.Serve(l) }()
	t.Cleanup(func() {
		s.server.Stop()
		if err := <-served; err != nil {
			t.Errorf("grpc-go's server: %v", err)
		}
	})
	return s
}

// grpcEcho is the service on the stubs of grpc-go.
type grpcEcho struct {
	interopv1.UnimplementedEchoServiceServer
}

// grpcMark answers with the caller's mark.
func grpcMark(ctx context.Context) error {
	incoming, _ := metadata.FromIncomingContext(ctx)
	values := incoming.Get(markHeader)
	if len(values) == 0 {
		return nil
	}
	return errors.Join(
		grpc.SetHeader(ctx, metadata.Pairs(markHeader, values[0])),
		grpc.SetTrailer(ctx, metadata.Pairs(markTrailer, values[0])),
	)
}

func grpcFailure() error {
	s, err := status.New(codes.FailedPrecondition, "as you wish: ✓").WithDetails(&interopv1.FailDetail{Reason: "wished"})
	if err != nil {
		return err
	}
	return s.Err()
}

func (grpcEcho) Echo(ctx context.Context, req *interopv1.EchoRequest) (*interopv1.EchoResponse, error) {
	if err := grpcMark(ctx); err != nil {
		return nil, err
	}
	switch req.GetText() {
	case "fail":
		return nil, grpcFailure()
	case "wait":
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return &interopv1.EchoResponse{Text: req.GetText(), Data: req.GetData(), Number: req.GetNumber()}, nil
}

func (grpcEcho) Repeat(req *interopv1.RepeatRequest, stream grpc.ServerStreamingServer[interopv1.RepeatResponse]) error {
	for time := range req.GetTimes() {
		if err := stream.Send(&interopv1.RepeatResponse{Text: req.GetText(), Time: time + 1}); err != nil {
			return err
		}
	}
	return grpcFailure()
}

func (grpcEcho) Join(stream grpc.ClientStreamingServer[interopv1.JoinRequest, interopv1.JoinResponse]) error {
	var texts []string
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return stream.SendAndClose(&interopv1.JoinResponse{Text: strings.Join(texts, " ")})
		}
		if err != nil {
			return err
		}
		texts = append(texts, req.GetText())
	}
}

func (grpcEcho) Chat(stream grpc.BidiStreamingServer[interopv1.ChatRequest, interopv1.ChatResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&interopv1.ChatResponse{Text: req.GetText()}); err != nil {
			return err
		}
	}
}
