package peer

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	benchv1 "github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1"
	"github.com/rpcmesh/rpcmesh/cmd/rpcmesh-bench/gen/bench/v1/benchv1connect"
)

// connectPeer is connect-go v2 with its generated stubs over net/http's HTTP/2 in cleartext.
type connectPeer struct{}

func (connectPeer) Traits() Traits {
	return Traits{Name: "connect-go", Note: "h2c; relay: httputil.ReverseProxy", MaxRelays: 2, Streams: true}
}

func (connectPeer) Serve(ctx context.Context, _ string, _ Options) (string, error) {
	server := connect.NewServer()
	benchv1connect.RegisterEchoServiceHandler(server, connectEcho{})
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server)
	return serveHTTP(ctx, mux)
}

func (connectPeer) Relay(ctx context.Context, upstream string, _ Options) (string, error) {
	target := &url.URL{Scheme: "http", Host: upstream}
	return serveHTTP(ctx, &httputil.ReverseProxy{
		Transport: streamTransport{cleartextHTTP2()},
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
	})
}

func (connectPeer) Dial(_ context.Context, addr string, _ Options) (Client, error) {
	transport := cleartextHTTP2()
	client := connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, "http://"+addr))
	return &connectClient{stub: benchv1connect.NewEchoServiceClient(client), http: transport}, nil
}

func serveHTTP(ctx context.Context, h http.Handler) (string, error) {
	l, err := listen(ctx)
	if err != nil {
		return "", err
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { s.Close() })
	serve(ctx, func() error { return s.Serve(l) })
	return l.Addr().String(), nil
}

func cleartextHTTP2() *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Transport{Protocols: protocols}
}

// streamTransport gives the way out a body of its own where the inbound one is a stream: net/http's
// server stops reading a request once its response begins, if the proxy hands over the body itself.
type streamTransport struct{ next http.RoundTripper }

func (t streamTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.ContentLength < 0 && req.Body != nil {
		inbound := req.Body
		r, w := io.Pipe()
		req = req.Clone(req.Context())
		req.Body = r
		go func() {
			_, err := io.Copy(w, inbound)
			w.CloseWithError(err)
		}()
	}
	return t.next.RoundTrip(req)
}

type connectEcho struct{}

func (connectEcho) Echo(_ context.Context, req *benchv1.EchoRequest) (*benchv1.EchoResponse, error) {
	return &benchv1.EchoResponse{Payload: req.GetPayload()}, nil
}

func (connectEcho) Chat(_ context.Context, stream benchv1connect.EchoServiceChatServerStream) error {
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

type connectClient struct {
	stub benchv1connect.EchoServiceClient
	http *http.Transport
}

func (c *connectClient) Unary(ctx context.Context, payload []byte) ([]byte, error) {
	res, err := c.stub.Echo(ctx, &benchv1.EchoRequest{Payload: payload})
	return res.GetPayload(), err
}

func (c *connectClient) Stream(ctx context.Context) (Stream, error) {
	stream, err := c.stub.Chat(ctx)
	if err != nil {
		return nil, err
	}
	return connectStream{stream}, nil
}

func (c *connectClient) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

type connectStream struct {
	stream benchv1connect.EchoServiceChatClientStream
}

func (s connectStream) Send(payload []byte) error {
	return s.stream.Send(&benchv1.ChatRequest{Payload: payload})
}

func (s connectStream) Receive() ([]byte, error) {
	res, err := s.stream.Receive()
	return res.GetPayload(), err
}

func (s connectStream) CloseSend() error { return s.stream.CloseSend() }
