package gateway_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/gen/example/greet/v1/greetv1rpcmesh"
	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway"
)

var protocols = map[string][]connecthttp.Option{
	"connect":  nil,
	"grpc":     {connecthttp.WithGRPC()},
	"grpc-web": {connecthttp.WithGRPCWeb()},
}

// scripted is a Greeter whose functions do what a test says.
type scripted struct {
	greetv1rpcmesh.UnimplementedGreeterServer
	greet func(context.Context) error
	sum   func(context.Context, greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error)
	chat  func(context.Context, greetv1rpcmesh.GreeterChatServerStream) error
}

func (s scripted) Greet(ctx context.Context, _ *greetv1.GreetRequest) (*greetv1.GreetResponse, error) {
	return &greetv1.GreetResponse{}, s.greet(ctx)
}

func (s scripted) Sum(ctx context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
	return s.sum(ctx, stream)
}

func (s scripted) Chat(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
	return s.chat(ctx, stream)
}

// TestFunctionSpeaksFirst has a bidirectional function greet its caller, who has sent nothing, and end the
// call while the caller's side is open.
func TestFunctionSpeaksFirst(t *testing.T) {
	node := entry(t, 2, scripted{chat: func(_ context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
		return stream.Send(&greetv1.ChatResponse{Line: "welcome"})
	}})
	for name, options := range protocols {
		t.Run(name, func(t *testing.T) {
			stream, err := open(t, "h2c", node, public).greet(options...).Chat(limited(t))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			if err := stream.SendHeaders(); err != nil {
				t.Fatal(err)
			}
			if res, err := stream.Receive(); err != nil || res.GetLine() != "welcome" {
				t.Fatalf("got %v, %v", res, err)
			}
			if _, err := stream.Receive(); !errors.Is(err, io.EOF) {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// TestHeadersBeforeMessages has a function send headers and wait for its caller, who waits for them: HTTP's
// clients see the headers of a response before its body.
func TestHeadersBeforeMessages(t *testing.T) {
	for _, relays := range []int{0, 2} {
		node := entry(t, relays, scripted{chat: func(ctx context.Context, stream greetv1rpcmesh.GreeterChatServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			info.ResponseHeader().Set("Head", "early")
			if err := stream.SendHeaders(); err != nil {
				return err
			}
			info.ResponseTrailer().Set("Tail", "late")
			req, err := stream.Receive()
			if err != nil {
				return err
			}
			return stream.Send(&greetv1.ChatResponse{Line: req.GetLine()})
		}})
		d := open(t, "h2c", node, public)
		body, more := io.Pipe()
		req, err := http.NewRequestWithContext(limited(t), http.MethodPost, d.url+greetv1rpcmesh.GreeterChatProcedure, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		res, err := d.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Values("Head"); len(got) != 1 || got[0] != "early" {
			t.Errorf("headers: %v", res.Header)
		}
		const message = "\x00\x00\x00\x00\x03\x0a\x01a"
		if _, err := more.Write([]byte(message)); err != nil {
			t.Error(err)
		}
		if got, err := io.ReadAll(res.Body); string(got) != message || err != nil || res.Trailer.Get("Tail") != "late" {
			t.Errorf("got %q, %v, %v", got, err, res.Trailer)
		}
		_ = res.Body.Close()
		_ = more.Close()
	}
}

// TestAnswerBeforeTheRequestEnds has a function answer a stream of requests of which more could come, over
// both versions of HTTP. The connection serves the next call.
func TestAnswerBeforeTheRequestEnds(t *testing.T) {
	node := entry(t, 0, scripted{sum: func(_ context.Context, stream greetv1rpcmesh.GreeterSumServerStream) (*greetv1.SumResponse, error) {
		req, err := stream.Receive()
		return &greetv1.SumResponse{Sum: req.GetNumber()}, err
	}})
	for _, kind := range allDoors() {
		t.Run(kind, func(t *testing.T) {
			d := open(t, kind, node, public)
			for range 3 {
				body, more := io.Pipe()
				go func() { _, _ = more.Write([]byte("\x00\x00\x00\x00\x02\x08\x07")) }()
				req, err := http.NewRequestWithContext(limited(t), http.MethodPost, d.url+greetv1rpcmesh.GreeterSumProcedure, body)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/connect+proto")
				res, err := d.client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(res.Body)
				if want := "\x00\x00\x00\x00\x02\x08\x07\x02\x00\x00\x00\x02{}"; string(got) != want || err != nil {
					t.Errorf("got %q, %v", got, err)
				}
				_ = res.Body.Close()
				_ = more.Close()
			}
		})
	}
}

func TestCallersEndReachesTheFunction(t *testing.T) {
	running, ended := make(chan struct{}), make(chan error)
	wait := func(ctx context.Context) error {
		running <- struct{}{}
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}
	node := entry(t, 2, scripted{
		greet: wait,
		chat:  func(ctx context.Context, _ greetv1rpcmesh.GreeterChatServerStream) error { return wait(ctx) },
	})
	for _, kind := range allDoors() {
		d := open(t, kind, node, public)
		t.Run(kind+"/unary", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-running
				cancel()
			}()
			if _, err := d.greet().Greet(ctx, &greetv1.GreetRequest{}); connect.CodeOf(err) != connect.CodeCanceled {
				t.Errorf("the caller got %v", err)
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the function's context: %v", err)
			}
		})
		if kind == "http/1.1" {
			continue
		}
		for name, options := range protocols {
			t.Run(kind+"/bidi/"+name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				stream, err := d.greet(options...).Chat(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if err := stream.SendHeaders(); err != nil {
					t.Fatal(err)
				}
				<-running
				cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Errorf("the function's context: %v", err)
				}
			})
		}
	}
}

// TestDeadlines sends one by each protocol: the function sees it, and the caller gets what it led to.
func TestDeadlines(t *testing.T) {
	node := entry(t, 2, scripted{greet: func(ctx context.Context) error {
		if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > 5*time.Second {
			return connect.NewError(connect.CodeInternal, "the deadline did not arrive")
		}
		<-ctx.Done()
		return ctx.Err()
	}})
	d := open(t, "h2c", node, public)
	for _, test := range []struct{ contentType, header, value, body string }{
		{"application/proto", "Connect-Timeout-Ms", "60", ""},
		{"application/grpc", "Grpc-Timeout", "60m", "\x00\x00\x00\x00\x00"},
		{"application/grpc-web", "Grpc-Timeout", "60000u", "\x00\x00\x00\x00\x00"},
	} {
		status, header, body := d.post(t, greetPath, test.contentType, test.body, test.header, test.value)
		if !strings.Contains(body, "deadline_exceeded") && header.Get("Grpc-Status") != "4" && !strings.Contains(body, "grpc-status: 4") {
			t.Errorf("%s: status %d, %v, %q", test.contentType, status, header, body)
		}
	}
	status, _, body := d.post(t, greetPath, "application/proto", "", "Connect-Timeout-Ms", "soon")
	if status != http.StatusBadRequest || !strings.Contains(body, "parse timeout") {
		t.Errorf("a malformed timeout: %d, %s", status, body)
	}
}

// TestServe puts the gateway on a node's own port, by the one call.
func TestServe(t *testing.T) {
	node, err := rpcmesh.NewNode(rpcmesh.Config{Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	defer node.Close()
	if _, err := greetv1rpcmesh.RegisterGreeterOrigin(node.Namespace("public"), greeter{}); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Mount(node, public); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- node.Serve(t.Context(), l) }()
	for _, kind := range []string{"h2c", "http/1.1"} {
		c := &http.Transport{Protocols: new(http.Protocols)}
		if kind == "h2c" {
			c.Protocols.SetUnencryptedHTTP2(true)
		} else {
			c.Protocols.SetHTTP1(true)
		}
		d := door{url: url, client: &http.Client{Transport: c}}
		kinds(t, d.greet(), kind == "h2c")
		c.CloseIdleConnections()
	}
	proxy, err := rpcmesh.Dial(limited(t), url, rpcmesh.ProxyConfig{Namespace: "public", Secret: "s"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := greetv1rpcmesh.NewGreeterClient(proxy).Greet(limited(t), &greetv1.GreetRequest{Name: "link"}); err != nil {
		t.Errorf("by a link: %v", err)
	}
	_ = proxy.Close()
	_ = node.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
