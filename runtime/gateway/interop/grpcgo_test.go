package interop

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	interopv1 "github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1"
)

// dialGRPC returns a connection of grpc-go.
func dialGRPC(t *testing.T, address string, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestGRPCGo(t *testing.T) {
	m := start(t)
	for _, tt := range []struct {
		name string
		opts []grpc.CallOption
	}{
		{"identity", nil},
		{"gzip", []grpc.CallOption{grpc.UseCompressor(gzip.Name)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			callGRPC(t, dialGRPC(t, m.address, grpc.WithDefaultCallOptions(tt.opts...)))
		})
	}
	t.Run("health", func(t *testing.T) { healthGRPC(t, dialGRPC(t, m.address)) })
}

// callGRPC calls everything.
func callGRPC(t *testing.T, conn *grpc.ClientConn) {
	client := interopv1.NewEchoServiceClient(conn)
	ctx := metadata.AppendToOutgoingContext(t.Context(), markHeader, "go")
	var header, trailer metadata.MD
	large := strings.Repeat("a large text ", 30_000)
	res, err := client.Echo(ctx, &interopv1.EchoRequest{Text: large, Number: 1 << 60}, grpc.Header(&header), grpc.Trailer(&trailer))
	if err != nil || res.GetText() != large || res.GetNumber() != 1<<60 {
		t.Errorf("unary: %d bytes, %d, %v", len(res.GetText()), res.GetNumber(), err)
	}
	if header.Get(markHeader)[0] != "go" || trailer.Get(markTrailer)[0] != "go" {
		t.Errorf("header %v, trailer %v", header, trailer)
	}
	_, err = client.Echo(ctx, &interopv1.EchoRequest{Text: "fail"})
	wantFailure(t, err)
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := client.Echo(short, &interopv1.EchoRequest{Text: "wait"}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	repeated, err := client.Repeat(ctx, &interopv1.RepeatRequest{Text: "fail", Times: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int32(3) {
		if res, err := repeated.Recv(); err != nil || res.GetTime() != i+1 {
			t.Errorf("server stream: %v, %v", res, err)
		}
	}
	_, err = repeated.Recv()
	wantFailure(t, err)
	join, err := client.Join(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if err := join.Send(&interopv1.JoinRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := join.CloseAndRecv(); err != nil || res.GetText() != "one two three" {
		t.Errorf("client stream: %v, %v", res, err)
	}
	chatGRPC(ctx, t, client)
}

func chatGRPC(ctx context.Context, t *testing.T, client interopv1.EchoServiceClient) {
	t.Helper()
	chat, err := client.Chat(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"ping", "pong"} {
		if err := chat.Send(&interopv1.ChatRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
		if res, err := chat.Recv(); err != nil || res.GetText() != text {
			t.Errorf("bidirectional stream: %v, %v", res, err)
		}
	}
	if err := chat.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := chat.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("bidirectional stream: %v at its end", err)
	}
	ended, cancel := context.WithCancel(ctx)
	if chat, err = client.Chat(ended); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := chat.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("canceled: %v", err)
	}
}

// wantFailure checks that err is what the text "fail" leads to.
func wantFailure(t *testing.T, err error) {
	t.Helper()
	s := status.Convert(err)
	if s.Code() != codes.FailedPrecondition || s.Message() != "as you wish: ✓" || len(s.Details()) != 1 {
		t.Fatalf("error: %v", err)
	}
	if d, ok := s.Details()[0].(*interopv1.FailDetail); !ok || d.GetReason() != "wished" {
		t.Errorf("detail: %v", s.Details()[0])
	}
}

func healthGRPC(t *testing.T, conn *grpc.ClientConn) {
	client := grpc_health_v1.NewHealthClient(conn)
	for _, service := range []string{"", "interop.v1.EchoService"} {
		res, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, res, err)
		}
	}
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "no.Such"}); status.Code(err) != codes.NotFound {
		t.Errorf("health of what was never seen: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: "interop.v1.EchoService"})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := watch.Recv(); err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health watched: %v, %v", res, err)
	}
}
