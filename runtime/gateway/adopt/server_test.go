package adopt_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"connectrpc.com/grpcreflect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	greetv1 "github.com/rpcmesh/rpcmesh/gen/example/greet/v1"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

const service = "example.greet.v1.Greeter"

// unfinished is a number at which Sum tells that it has begun.
const unfinished = 1_000_000

var greeterMethods = greetv1.File_example_greet_v1_greet_proto.Services().ByName("Greeter")

// spec is what protoc-gen-connect-go gives a method of the Greeter.
func spec(method protoreflect.Name) connect.Spec {
	return rawcall.SpecOf(greeterMethods.Methods().ByName(method))
}

// seen is what a handler of the stock server was called with.
type seen struct {
	header   *connect.Header
	deadline time.Time
	limited  bool
}

// stock is a Greeter of stock connect-go, with what tests look at.
type stock struct {
	calls    chan seen        // of Greet
	canceled chan struct{}    // a Chat whose caller let go
	started  chan struct{}    // a Chat has begun
	services []connect.Method // more
}

func newStock() *stock {
	return &stock{calls: make(chan seen, 16), canceled: make(chan struct{}, 16), started: make(chan struct{}, 16)}
}

func (s *stock) server() *connect.Server {
	server := connect.NewServer()
	server.Register(
		connect.Method{Spec: spec("Greet"), Handler: s.greet},
		connect.Method{Spec: spec("Count"), Handler: s.count},
		connect.Method{Spec: spec("Sum"), Handler: s.sum},
		connect.Method{Spec: spec("Chat"), Handler: s.chat},
	)
	server.Register(s.services...)
	return server
}

func (s *stock) greet(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var req greetv1.GreetRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	info, _ := connect.CallInfoForServerContext(ctx)
	call := seen{header: info.RequestHeader()}
	call.deadline, call.limited = ctx.Deadline()
	select {
	case s.calls <- call:
	default:
	}
	info.ResponseHeader().Set("Greeter-Header", "h1")
	info.ResponseHeader().Set("Greeter-Bin", connect.EncodeBinaryHeader([]byte{0, 1, 255}))
	info.ResponseTrailer().Set("Greeter-Trailer", "t1")
	switch name := req.GetName(); name {
	case "fail":
		detail, err := connectproto.NewErrorDetail(durationpb.New(time.Second))
		if err != nil {
			return err
		}
		return connect.NewError(connect.CodeOutOfRange, "nobody is called "+name).WithDetail(detail)
	case "wait":
		s.started <- struct{}{}
		<-ctx.Done()
		s.canceled <- struct{}{}
		return ctx.Err()
	default:
		return stream.Send(&greetv1.GreetResponse{Greeting: "Hello, " + name})
	}
}

func (s *stock) count(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var req greetv1.CountRequest
	if err := stream.Receive(&req); err != nil {
		return err
	}
	for i := range req.GetTo() {
		if err := stream.Send(&greetv1.CountResponse{Number: i + 1}); err != nil {
			return err
		}
	}
	return nil
}

func (s *stock) sum(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
	var sum greetv1.SumResponse
	for {
		var req greetv1.SumRequest
		if err := stream.Receive(&req); errors.Is(err, io.EOF) {
			return stream.Send(&sum)
		} else if err != nil {
			s.canceled <- struct{}{}
			return err
		}
		if req.GetNumber() == unfinished {
			s.started <- struct{}{}
		}
		sum.Sum += req.GetNumber()
		sum.Count++
	}
}

// chat speaks first, if only by headers, echoes in capitals, and ends at "bye".
func (s *stock) chat(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	info, _ := connect.CallInfoForServerContext(ctx)
	info.ResponseTrailer().Set("Greeter-Trailer", "t1")
	s.started <- struct{}{}
	first := func() error { return stream.Send(&greetv1.ChatResponse{Line: "welcome"}) }
	if info.RequestHeader().Has("Quiet") {
		info.ResponseHeader().Set("Greeter-Header", "h1")
		first = stream.SendHeaders
	}
	if err := first(); err != nil {
		return err
	}
	for {
		var req greetv1.ChatRequest
		if err := stream.Receive(&req); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			s.canceled <- struct{}{}
			return err
		}
		if req.GetLine() == "bye" {
			return connect.NewError(connect.CodeAborted, "bye")
		}
		if err := stream.Send(&greetv1.ChatResponse{Line: strings.ToUpper(req.GetLine())}); err != nil {
			return err
		}
	}
}

// healthy is a health service whose states a test sets.
type healthy struct {
	mu      sync.Mutex
	states  map[string]uint64
	changed chan struct{}
	noWatch bool
}

func newHealthy() *healthy {
	return &healthy{states: map[string]uint64{"": 1}, changed: make(chan struct{})}
}

func (h *healthy) set(service string, state uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.states[service] = state
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *healthy) get(service string) (state uint64, ok bool, changed <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	state, ok = h.states[service]
	return state, ok, h.changed
}

func (h *healthy) methods() []connect.Method {
	return []connect.Method{
		{Spec: connect.Spec{Procedure: "/grpc.health.v1.Health/Check"}, Handler: h.check},
		{Spec: connect.Spec{Procedure: "/grpc.health.v1.Health/Watch", StreamType: connect.StreamTypeServer}, Handler: h.watch},
	}
}

func healthService(stream connect.ServerStream) (string, error) {
	var req rawcall.Message
	if err := stream.Receive(&req); err != nil || len(req.B) == 0 {
		return "", err
	}
	name, n := protowire.ConsumeString(req.B[1:])
	return name, protowire.ParseError(min(n, 0))
}

func healthState(state uint64) *rawcall.Message {
	return &rawcall.Message{B: protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), state)}
}

func (h *healthy) check(_ context.Context, _ connect.Spec, stream connect.ServerStream) error {
	name, err := healthService(stream)
	if err != nil {
		return err
	}
	state, ok, _ := h.get(name)
	if !ok {
		return connect.NewError(connect.CodeNotFound, "unknown service")
	}
	return stream.Send(healthState(state))
}

func (h *healthy) watch(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
	name, err := healthService(stream)
	if err != nil {
		return err
	}
	if h.noWatch {
		return connect.NewError(connect.CodeUnimplemented, "no Watch here")
	}
	for {
		state, ok, changed := h.get(name)
		if !ok {
			state = 3
		}
		if err := stream.Send(healthState(state)); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mux mounts server with reflection.
func mux(server *connect.Server, options ...grpcreflect.Option) http.Handler {
	grpcreflect.Register(server, options...)
	m := http.NewServeMux()
	connecthttp.Mount(m, server, connecthttp.WithCodecs(&bridge.Codec{}))
	return m
}

// running is an HTTP server on a socket of its own.
type running struct {
	addr   string
	url    string
	server *http.Server
	stop   func()
}

// serve serves handler at addr, 127.0.0.1:0 for any; under TLS where there is a configuration; HTTP/1.1 alone
// where old is set.
func serve(t *testing.T, addr string, handler http.Handler, cfg *tls.Config, old bool) *running {
	t.Helper()
	l := listen(t, addr)
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(!old)
	protocols.SetUnencryptedHTTP2(!old)
	server := &http.Server{Handler: handler, Protocols: &protocols, TLSConfig: cfg, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	r := &running{server: server, addr: l.Addr().String(), url: "http://" + l.Addr().String()}
	go func() {
		defer close(served)
		if cfg != nil {
			_ = server.ServeTLS(l, "", "")
		} else {
			_ = server.Serve(l)
		}
	}()
	if cfg != nil {
		r.url = "https://" + r.addr
	}
	r.stop = sync.OnceFunc(func() {
		_ = server.Close()
		<-served
	})
	t.Cleanup(r.stop)
	return r
}

// listen listens at addr, which another test may have for a moment.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
