package gateway_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// greeter answers with what it was sent: the header Ask comes back as a header and a trailer.
type greeter struct{}

func echo(ctx context.Context) {
	info, _ := connect.CallInfoForServerContext(ctx)
	if values := info.RequestHeader().Values("Ask"); len(values) > 0 {
		info.ResponseHeader().SetValues("Head", values)
		info.ResponseTrailer().SetValues("Tail", values)
		info.ResponseTrailer().SetValues("Tail-Bin", []string{connect.EncodeBinaryHeader([]byte{0, 255, 7})})
	}
}

// refusal is how the greeter fails when it is told to.
func refusal() error {
	detail, err := connectproto.NewErrorDetail(durationpb.New(time.Minute))
	if err != nil {
		return err
	}
	return connect.NewError(connect.CodeFailedPrecondition, "not today: \"é\"").WithDetail(detail).
		WithDetail(&connect.ErrorDetail{Type: "who.knows.It", Value: []byte{1, 2, 3}})
}

func (greeter) Greet(ctx context.Context, req *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	echo(ctx)
	if req.GetName() == "fail" {
		return nil, refusal()
	}
	return &greetv1.GreetResponse{Greeting: "Hello, " + req.GetName()}, nil
}

func (greeter) Count(ctx context.Context, req *greetv1.CountRequest, stream greetv1rpcmesh.GreeterCountServerStream) error {
	echo(ctx)
	for i := range max(req.GetTo(), -req.GetTo()) {
		if err := stream.Send(&greetv1.CountResponse{Number: i + 1}); err != nil {
			return err
		}
	}
	if req.GetTo() < 0 {
		return refusal()
	}
	return nil
}

func (greeter) Sum(ctx context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	echo(ctx)
	res := new(greetv1.SumResponse)
	for req, err := range stream.All() {
		if err != nil {
			return nil, err
		}
		if req.GetNumber() < 0 {
			return nil, refusal()
		}
		res.Sum += req.GetNumber()
		res.Count++
	}
	return res, nil
}

func (greeter) Chat(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	echo(ctx)
	for req, err := range stream.All() {
		if err != nil {
			return err
		}
		switch req.GetLine() {
		case "fail":
			return refusal()
		case "bye":
			return nil
		}
		if err := stream.Send(&greetv1.ChatResponse{Line: strings.ToUpper(req.GetLine())}); err != nil {
			return err
		}
	}
	return nil
}

// entry returns a node that sees a Greeter in the namespace public, at itself or two relays away.
func entry(t testing.TB, relays int, srv greetv1rpcmesh.GreeterServer) *rpcmesh.Node {
	t.Helper()
	c := rpcmeshtest.New(t)
	names := []string{"entry", "first", "second", "origin"}
	if relays == 0 {
		names = names[:1]
	}
	for i, name := range names[1:] {
		c.Link(name, names[i], "public")
	}
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(c.Node(names[len(names)-1]).Namespace("public"), srv); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	node := c.Node("entry")
	if err := node.Namespace("public").WaitFor(ctx, greetv1rpcmesh.GreeterGreetProcedure); err != nil {
		t.Fatal(err)
	}
	return node
}

// door is a server with a gateway, and the client for it.
type door struct {
	url    string
	client *http.Client
	tls    *tls.Config // of the server, nil: none
}

// doors are the ways in by HTTP.
var doors = map[string]func(*httptest.Server, *http.Transport){
	"h2c": func(s *httptest.Server, c *http.Transport) {
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		c.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
	},
	"h2": func(s *httptest.Server, c *http.Transport) {
		s.Config.Protocols.SetHTTP2(true)
		c.Protocols.SetHTTP2(true)
		s.TLS = &tls.Config{NextProtos: []string{"h2"}}
		s.EnableHTTP2 = true
		s.StartTLS()
		c.TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		c.TLSClientConfig.NextProtos = nil
	},
	"http/1.1": func(s *httptest.Server, c *http.Transport) {
		s.Config.Protocols.SetHTTP1(true)
		c.Protocols.SetHTTP1(true)
		s.Start()
	},
}

// nodeDoors are the doors that a node has itself, where it serves the gateway beside links.
var nodeDoors = map[string]string{"node, h2c": "h2c", "node, h2": "h2"}

// allDoors are the names of all doors.
func allDoors() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for kind := range doors {
			if !yield(kind) {
				return
			}
		}
		for kind := range nodeDoors {
			if !yield(kind) {
				return
			}
		}
	})
}

// mounted are the nodes that have a gateway already: a test gives all doors of a node the same.
var mounted sync.Map

// openNode opens a door of a node's own.
func openNode(t testing.TB, kind string, node *rpcmesh.Node, cfg gateway.Config) door {
	t.Helper()
	if _, had := mounted.LoadOrStore(node, true); !had {
		if err := gateway.Mount(node, cfg); err != nil {
			t.Fatal(err)
		}
	}
	like := serve(t, nodeDoors[kind], http.NotFoundHandler()) // for its client and certificate
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if like.tls != nil {
		cfg := like.tls.Clone()
		cfg.NextProtos = []string{"h2"}
		l, url = tls.NewListener(l, cfg), "https://"+l.Addr().String()
	}
	served := make(chan error, 1)
	go func() { served <- node.Serve(t.Context(), l) }()
	t.Cleanup(func() {
		like.client.CloseIdleConnections()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return door{url: url, client: like.client}
}

func open(t testing.TB, kind string, node *rpcmesh.Node, cfg gateway.Config) door {
	t.Helper()
	if nodeDoors[kind] != "" {
		return openNode(t, kind, node, cfg)
	}
	g, err := gateway.New(node, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, kind, g)
}

func serve(t testing.TB, kind string, handler http.Handler) door {
	s := httptest.NewUnstartedServer(handler)
	s.Config.Protocols = new(http.Protocols)
	c := &http.Transport{Protocols: new(http.Protocols)}
	doors[kind](s, c)
	t.Cleanup(func() {
		c.CloseIdleConnections()
		s.Close()
	})
	return door{url: s.URL, client: &http.Client{Transport: c}, tls: s.TLS}
}

// public lets anyone into the namespace public.
var public = gateway.Config{Namespace: "public", Open: true}

// greet returns a stock client.
func (d door) greet(options ...connecthttp.Option) greetv1rpcmesh.GreeterClient {
	return greetv1rpcmesh.NewGreeterClient(connecthttp.NewTransport(d.client, d.url, options...))
}

// post sends a request and returns its answer's status, headers and body.
func (d door) post(t *testing.T, path, contentType, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	return d.do(t, http.MethodPost, path, body, append(header, "Content-Type", contentType)...)
}

func (d door) do(t *testing.T, method, path, body string, header ...string) (int, http.Header, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	res, got := d.roundTrip(t, req)
	if status := res.Trailer.Get("Grpc-Status"); status != "" {
		res.Header.Set("Grpc-Status", status)
		res.Header.Set("Grpc-Message", res.Trailer.Get("Grpc-Message"))
	}
	return res.StatusCode, res.Header, string(got)
}

// roundTrip returns the response to a request, and the body of it.
func (d door) roundTrip(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	res, err := d.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, got
}

const greetPath = greetv1rpcmesh.GreeterGreetProcedure

// checkRefusal checks that err is a [refusal].
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*connect.Error](err)
	if !ok || e.Code() != connect.CodeFailedPrecondition || e.Message() != "not today: \"é\"" || len(e.Details()) != 2 {
		t.Errorf("got %v, of %T", err, err)
		return
	}
	if d, err := connectproto.UnmarshalErrorDetail(e.Details()[0]); err != nil || d.(*durationpb.Duration).GetSeconds() != 60 {
		t.Errorf("first detail: %v, %v", d, err)
	}
	if d := e.Details()[1]; d.Type != "who.knows.It" || string(d.Value) != "\x01\x02\x03" {
		t.Errorf("second detail: %+v", d)
	}
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
