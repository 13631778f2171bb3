package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"connectrpc.com/connect/v2/connectproto"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func spec(kind connect.StreamType) connect.Spec {
	return connect.Spec{Procedure: "/test.S/" + kind.String(), StreamType: kind}
}

var kinds = []connect.StreamType{
	connect.StreamTypeUnary, connect.StreamTypeClient, connect.StreamTypeServer, connect.StreamTypeBidi,
}

// ends serves handler for every kind behind one pump and returns what calls it: over the mesh into the
// mesh, over HTTP into the mesh, and over the mesh to a server over HTTP.
type ends func(t *testing.T, handler connect.ServerFunc) connect.Transport

func meshToMesh(t *testing.T, handler connect.ServerFunc) connect.Transport {
	node := rpcmeshtest.New(t).Node("n")
	register(t, node.Namespace("back"), handler)
	pump := &bridge.Pump{To: node.Namespace("back"), StopReceiving: bridge.StopMesh}
	register(t, node.Namespace("front"), pump.Call)
	return node.Namespace("front")
}

func httpToMesh(t *testing.T, handler connect.ServerFunc) connect.Transport {
	node := rpcmeshtest.New(t).Node("n")
	register(t, node.Namespace("back"), handler)
	pump := &bridge.Pump{To: node.Namespace("back"), StopReceiving: stopHTTP}
	return overHTTP(t, pump.Call)
}

func meshToHTTP(t *testing.T, handler connect.ServerFunc) connect.Transport {
	node := rpcmeshtest.New(t).Node("n")
	pump := &bridge.Pump{To: overHTTP(t, handler), StopReceiving: bridge.StopMesh}
	register(t, node.Namespace("front"), pump.Call)
	return node.Namespace("front")
}

func register(t *testing.T, ns *rpcmesh.Namespace, handler connect.ServerFunc) {
	t.Helper()
	var methods []connect.Method
	for _, kind := range kinds {
		methods = append(methods, connect.Method{Spec: spec(kind), Handler: handler})
	}
	if _, err := ns.Register(methods...); err != nil {
		t.Fatal(err)
	}
}

type writerKey struct{}

func stopHTTP(ctx context.Context) {
	w := ctx.Value(writerKey{}).(http.ResponseWriter)
	_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
}

func overHTTP(t *testing.T, handler connect.ServerFunc) connect.Transport {
	t.Helper()
	server := connect.NewServer()
	for _, kind := range kinds {
		server.Register(connect.Method{Spec: spec(kind), Handler: handler})
	}
	mux := http.NewServeMux()
	connecthttp.Mount(mux, server, connecthttp.WithCodecs(new(bridge.Codec)))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), writerKey{}, w)))
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	client := &http.Transport{Protocols: s.Config.Protocols}
	t.Cleanup(func() {
		client.CloseIdleConnections()
		s.Close()
	})
	return connecthttp.NewTransport(&http.Client{Transport: client}, s.URL, connecthttp.WithGRPC(), connecthttp.WithCodecs(new(bridge.Codec)))
}

// onEvery runs a test with each of the ends and for each kind that takes is true for.
func onEvery(t *testing.T, takes func(connect.StreamType) bool, test func(t *testing.T, open ends, kind connect.StreamType)) {
	for name, open := range map[string]ends{"mesh to mesh": meshToMesh, "HTTP to mesh": httpToMesh, "mesh to HTTP": meshToHTTP} {
		for _, kind := range kinds {
			if takes(kind) {
				t.Run(name+"/"+kind.String(), func(t *testing.T) { test(t, open, kind) })
			}
		}
	}
}

func anyKind(connect.StreamType) bool { return true }

func streamsIn(kind connect.StreamType) bool { return kind&connect.StreamTypeClient != 0 }

func streamsOut(kind connect.StreamType) bool { return kind&connect.StreamTypeServer != 0 }

func begin(t *testing.T, to connect.Transport, kind connect.StreamType, header ...string) (connect.ClientStream, *connect.CallInfo) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return beginWith(ctx, t, to, kind, header...)
}

func beginWith(ctx context.Context, t *testing.T, to connect.Transport, kind connect.StreamType, header ...string) (connect.ClientStream, *connect.CallInfo) {
	t.Helper()
	ctx, info := connect.NewClientContext(ctx)
	for i := 0; i < len(header); i += 2 {
		info.RequestHeader().Add(header[i], header[i+1])
	}
	stream, err := to.NewClientStream(ctx, spec(kind))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stream.Close() })
	return stream, info
}

func send(t *testing.T, s interface{ Send(any) error }, msg string) {
	t.Helper()
	if err := s.Send(&rawcall.Message{B: []byte(msg)}); err != nil {
		t.Errorf("sending %.20q: %v", msg, err)
	}
}

func receive(s interface{ Receive(any) error }) (string, error) {
	var msg rawcall.Message
	err := s.Receive(&msg)
	return string(msg.B), err
}

func receiveAll(s interface{ Receive(any) error }) (all []string, err error) {
	for {
		msg, err := receive(s)
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return all, err
		}
		all = append(all, msg)
	}
}

func own(h *connect.Header) map[string][]string {
	all := maps.Collect(h.All())
	maps.DeleteFunc(all, func(key string, _ []string) bool {
		return !bridge.Forwarded(key) || strings.HasSuffix(key, "User-Agent")
	})
	return all
}

func TestMessagesHeadersAndTrailers(t *testing.T) {
	large := strings.Repeat("\x00\xff0123456789", 50_000)
	onEvery(t, anyKind, func(t *testing.T, open ends, kind connect.StreamType) {
		to := open(t, func(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			if diff := cmp.Diff(map[string][]string{"Plain": {"a", "b"}, "Bytes-Bin": {"AAEC"}}, own(info.RequestHeader())); diff != "" {
				t.Errorf("request headers (-want +got):\n%s", diff)
			}
			if _, limited := ctx.Deadline(); !limited {
				t.Error("the deadline did not arrive")
			}
			in, err := receiveAll(s)
			if err != nil {
				return err
			}
			info.ResponseHeader().Set("Head", "h")
			info.ResponseTrailer().Set("Tail-Bin", "Dw")
			if !streamsOut(kind) {
				in = []string{strings.Join(in, "+")}
			}
			for _, msg := range in {
				send(t, s, msg)
			}
			return nil
		})
		header := []string{"Plain", "a", "Plain", "b", "Bytes-Bin", "AAEC", "Te", "trailers"}
		if _, mesh := to.(*rpcmesh.Namespace); mesh { // HTTP/2 does not send them
			header = append(header, "Connection", "x-hop, Te", "X-Hop", "1", "Keep-Alive", "1", "Grpc-Thing", "1")
		}
		s, info := begin(t, to, kind, header...)
		out := []string{large}
		if streamsIn(kind) {
			out = []string{"one", "", large, "four"}
		}
		for _, msg := range out {
			send(t, s, msg)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if !streamsOut(kind) {
			out = []string{strings.Join(out, "+")}
		}
		got, err := receiveAll(s)
		if diff := cmp.Diff(out, got); diff != "" || err != nil {
			t.Errorf("error %v, responses differ: %d bytes", err, len(diff))
		}
		if diff := cmp.Diff(map[string][]string{"Head": {"h"}}, own(info.ResponseHeader())); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string][]string{"Tail-Bin": {"Dw"}}, own(info.ResponseTrailer())); diff != "" {
			t.Errorf("trailers (-want +got):\n%s", diff)
		}
	})
}

func TestVerdictArrives(t *testing.T) {
	onEvery(t, anyKind, func(t *testing.T, open ends, kind connect.StreamType) {
		detail, err := connectproto.NewErrorDetail(durationpb.New(3))
		if err != nil {
			t.Fatal(err)
		}
		to := open(t, func(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
			info, _ := connect.CallInfoForServerContext(ctx)
			info.ResponseTrailer().Set("Tail", "t")
			if _, err := receive(s); err != nil {
				return err
			}
			return connect.NewError(connect.CodeAborted, "no: \"ä\"\n").WithDetail(detail).WithDetail(&connect.ErrorDetail{Type: "a.B", Value: []byte{8, 1}})
		})
		s, info := begin(t, to, kind)
		send(t, s, "x")
		_ = s.CloseSend()
		_, err = receiveAll(s)
		e, ok := errors.AsType[*connect.Error](err)
		if !ok || e.Code() != connect.CodeAborted || e.Message() != "no: \"ä\"\n" || len(e.Details()) != 2 {
			t.Fatalf("got %v with %d details", err, len(e.Details()))
		}
		if d, err := connectproto.UnmarshalErrorDetail(e.Details()[0]); err != nil || !proto.Equal(d, durationpb.New(3)) {
			t.Errorf("first detail: %v, %v", d, err)
		}
		if diff := cmp.Diff(&connect.ErrorDetail{Type: "a.B", Value: []byte{8, 1}}, e.Details()[1]); diff != "" {
			t.Errorf("second detail (-want +got):\n%s", diff)
		}
		if got := info.ResponseTrailer().Get("Tail"); got != "t" {
			t.Errorf("trailer %q", got)
		}
	})
}

// TestAnswersFirst lets the function end the call while its caller has not sent all, and sends no more.
func TestAnswersFirst(t *testing.T) {
	for name, verdict := range map[string]error{"ends": nil, "fails": connect.NewError(connect.CodeOutOfRange, "enough")} {
		t.Run(name, func(t *testing.T) {
			onEvery(t, streamsIn, func(t *testing.T, open ends, kind connect.StreamType) {
				to := open(t, func(_ context.Context, _ connect.Spec, s connect.ServerStream) error {
					if verdict == nil {
						send(t, s, "early")
					}
					return verdict
				})
				s, _ := begin(t, to, kind)
				if err := s.SendHeaders(); err != nil {
					t.Fatal(err)
				}
				got, err := receiveAll(s)
				if verdict != nil {
					if connect.CodeOf(err) != connect.CodeOutOfRange {
						t.Errorf("got %v, %v", got, err)
					}
				} else if diff := cmp.Diff([]string{"early"}, got); diff != "" || err != nil {
					t.Errorf("got %v, %v", got, err)
				}
			})
		})
	}
}

func TestFullDuplex(t *testing.T) {
	onEvery(t, func(kind connect.StreamType) bool { return kind == connect.StreamTypeBidi }, func(t *testing.T, open ends, kind connect.StreamType) {
		to := open(t, func(_ context.Context, _ connect.Spec, s connect.ServerStream) error {
			send(t, s, "hello")
			for {
				msg, err := receive(s)
				if errors.Is(err, io.EOF) {
					return nil
				} else if err != nil {
					return err
				}
				send(t, s, "re: "+msg)
			}
		})
		s, _ := begin(t, to, kind)
		if err := s.SendHeaders(); err != nil {
			t.Fatal(err)
		}
		if msg, err := receive(s); msg != "hello" || err != nil {
			t.Fatalf("first response %q, %v", msg, err)
		}
		for i := range 20 {
			send(t, s, fmt.Sprint(i))
			if msg, err := receive(s); msg != "re: "+fmt.Sprint(i) || err != nil {
				t.Fatalf("response %q, %v", msg, err)
			}
		}
		_ = s.CloseSend()
		if rest, err := receiveAll(s); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %v, %v", rest, err)
		}
	})
}

func TestCancelReachesTheFunction(t *testing.T) {
	onEvery(t, anyKind, func(t *testing.T, open ends, kind connect.StreamType) {
		running, ended := make(chan struct{}), make(chan error, 1)
		to := open(t, func(ctx context.Context, _ connect.Spec, _ connect.ServerStream) error {
			close(running)
			<-ctx.Done()
			ended <- ctx.Err()
			return ctx.Err()
		})
		ctx, cancel := context.WithCancel(t.Context())
		s, _ := beginWith(ctx, t, to, kind)
		go func() {
			<-running
			cancel()
		}()
		_ = s.Send(&rawcall.Message{B: []byte("x")}) // a unary call over HTTP is over when it returns
		if _, err := receive(s); connect.CodeOf(err) != connect.CodeCanceled && !errors.Is(err, context.Canceled) {
			t.Errorf("the caller got %v", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the function's context: %v", err)
		}
	})
}

func TestDeadline(t *testing.T) {
	onEvery(t, anyKind, func(t *testing.T, open ends, kind connect.StreamType) {
		to := open(t, func(ctx context.Context, _ connect.Spec, _ connect.ServerStream) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		s, _ := beginWith(ctx, t, to, kind)
		_ = s.Send(&rawcall.Message{})
		if _, err := receive(s); connect.CodeOf(err) != connect.CodeDeadlineExceeded && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller got %v", err)
		}
	})
}

// TestBackpressure has a caller that receives nothing hold up the function, and one that is not received
// from held up, both after a few windows' worth.
func TestBackpressure(t *testing.T) {
	const window, size = 1000, 100
	for _, kind := range []connect.StreamType{connect.StreamTypeServer, connect.StreamTypeClient, connect.StreamTypeBidi} {
		t.Run(kind.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sent atomic.Int64
				flood := func(s interface{ Send(any) error }) {
					for s.Send(&rawcall.Message{B: make([]byte, size)}) == nil {
						sent.Add(1)
					}
				}
				node := rpcmeshtest.New(t).Node("n", func(cfg *rpcmesh.Config) { cfg.Limits.Window = window })
				register(t, node.Namespace("back"), func(ctx context.Context, _ connect.Spec, s connect.ServerStream) error {
					if streamsOut(kind) {
						flood(s)
					}
					<-ctx.Done()
					return ctx.Err()
				})
				pump := &bridge.Pump{To: node.Namespace("back"), StopReceiving: bridge.StopMesh}
				register(t, node.Namespace("front"), pump.Call)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s, _ := beginWith(ctx, t, node.Namespace("front"), kind)
				if streamsIn(kind) {
					go flood(s)
				} else {
					send(t, s, "x")
				}
				synctest.Wait()
				if n := sent.Load(); n > 6*(window/size+2) {
					t.Errorf("%d messages were sent", n)
				}
			})
		})
	}
}
