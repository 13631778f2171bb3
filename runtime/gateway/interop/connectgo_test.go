package interop

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	interopv1 "github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/interop/gen/interop/v1/interopv1connect"
)

// h2c is an HTTP client that speaks HTTP/2 in cleartext.
func h2c(t *testing.T) *http.Client {
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// protocols are the options of a stock client, by what it then speaks.
var protocols = []struct {
	name string
	opts []connecthttp.Option
}{
	{"connect", nil},
	{"connect JSON", []connecthttp.Option{connecthttp.WithProtoJSON()}},
	{"connect GET", []connecthttp.Option{connecthttp.WithHTTPGet()}},
	{"connect gzip", []connecthttp.Option{connecthttp.WithSendGzip()}},
	{"grpc", []connecthttp.Option{connecthttp.WithGRPC()}},
	{"grpc JSON", []connecthttp.Option{connecthttp.WithGRPC(), connecthttp.WithProtoJSON()}},
	{"grpcweb", []connecthttp.Option{connecthttp.WithGRPCWeb()}},
	{"grpcweb JSON", []connecthttp.Option{connecthttp.WithGRPCWeb(), connecthttp.WithProtoJSON()}},
}

func TestConnectGo(t *testing.T) {
	m := start(t)
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			callConnect(t, connecthttp.NewTransport(h2c(t), m.url, p.opts...))
		})
	}
}

// TestConnectGoServer calls a stock server that was registered as it is.
func TestConnectGoServer(t *testing.T) {
	m := startWith(t, func(far *rpcmesh.Node) error {
		server := connect.NewServer()
		interopv1connect.RegisterEchoServiceHandler(server, stockEcho{})
		_, err := far.Namespace(namespace).RegisterServer(server)
		return err
	})
	for _, p := range protocols {
		t.Run(p.name, func(t *testing.T) {
			callConnect(t, connecthttp.NewTransport(h2c(t), m.url, p.opts...))
		})
	}
	t.Run("within the mesh", func(t *testing.T) { callConnect(t, m.entry) })
}

// callConnect calls everything with the stock client.
func callConnect(t *testing.T, transport connect.Transport) {
	client := interopv1connect.NewEchoServiceClient(connect.NewClient(transport))
	ctx, info := connect.NewClientContext(t.Context())
	info.RequestHeader().Set(markHeader, "connect")
	large := strings.Repeat("a large text ", 30_000)
	res, err := client.Echo(ctx, &interopv1.EchoRequest{Text: large, Number: 1 << 60})
	if err != nil || res.GetText() != large || res.GetNumber() != 1<<60 {
		t.Errorf("unary: %d bytes, %d, %v", len(res.GetText()), res.GetNumber(), err)
	}
	if info.ResponseHeader().Get(markHeader) != "connect" || info.ResponseTrailer().Get(markTrailer) != "connect" {
		t.Errorf("header %q, trailer %q", info.ResponseHeader().Get(markHeader), info.ResponseTrailer().Get(markTrailer))
	}
	_, err = client.Echo(t.Context(), &interopv1.EchoRequest{Text: "fail"})
	wantConnectFailure(t, err)
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Echo(short, &interopv1.EchoRequest{Text: "wait"}); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
	repeated, err := client.Repeat(t.Context(), &interopv1.RepeatRequest{Text: "fail", Times: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i := range int32(3) {
		if res, err := repeated.Receive(); err != nil || res.GetTime() != i+1 {
			t.Errorf("server stream: %v, %v", res, err)
		}
	}
	_, err = repeated.Receive()
	wantConnectFailure(t, err)
	join, err := client.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one", "two", "three"} {
		if err := join.Send(&interopv1.JoinRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	if res, err := join.CloseAndReceive(); err != nil || res.GetText() != "one two three" {
		t.Errorf("client stream: %v, %v", res, err)
	}
	chatConnect(t, client)
}

func chatConnect(t *testing.T, client interopv1connect.EchoServiceClient) {
	t.Helper()
	chat, err := client.Chat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer chat.Close()
	for _, text := range []string{"ping", "pong"} {
		if err := chat.Send(&interopv1.ChatRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
		if res, err := chat.Receive(); err != nil || res.GetText() != text {
			t.Errorf("bidirectional stream: %v, %v", res, err)
		}
	}
	if err := chat.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := chat.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("bidirectional stream: %v at its end", err)
	}
}

// wantConnectFailure checks that err is what the text "fail" leads to.
func wantConnectFailure(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || e.Code() != connect.CodeFailedPrecondition || e.Message() != "as you wish: ✓" || len(e.Details()) != 1 {
		t.Fatalf("error: %v", err)
	}
	detail, err := connectproto.UnmarshalErrorDetail(e.Details()[0])
	if d, ok := detail.(*interopv1.FailDetail); err != nil || !ok || d.GetReason() != "wished" {
		t.Errorf("detail: %v, %v", detail, err)
	}
}

// stockEcho is the service on the stubs of connect-go.
type stockEcho struct{}

func (stockEcho) Echo(ctx context.Context, req *interopv1.EchoRequest) (*interopv1.EchoResponse, error) {
	return echo{}.Echo(ctx, req)
}

func (stockEcho) Repeat(ctx context.Context, req *interopv1.RepeatRequest, stream interopv1connect.EchoServiceRepeatServerStream) error {
	mark(ctx)
	for time := range req.GetTimes() {
		if err := stream.Send(&interopv1.RepeatResponse{Text: req.GetText(), Time: time + 1}); err != nil {
			return err
		}
	}
	return failure()
}

func (stockEcho) Join(ctx context.Context, stream interopv1connect.EchoServiceJoinServerStream) (*interopv1.JoinResponse, error) {
	mark(ctx)
	var texts []string
	for {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			return &interopv1.JoinResponse{Text: strings.Join(texts, " ")}, nil
		}
		if err != nil {
			return nil, err
		}
		texts = append(texts, req.GetText())
	}
}

func (stockEcho) Chat(ctx context.Context, stream interopv1connect.EchoServiceChatServerStream) error {
	mark(ctx)
	for {
		req, err := stream.Receive()
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
