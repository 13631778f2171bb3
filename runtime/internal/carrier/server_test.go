package carrier_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"
	"go.uber.org/goleak"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/rpcmeshtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// withoutDeadlines is a middleware that hides what a ResponseWriter can do but flush.
func withoutDeadlines(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(struct {
			http.ResponseWriter
			http.Flusher
		}{w, w.(http.Flusher)}, r)
	})
}

// dial opens a stream to accept behind a server of net/http, as a stock Connect client does.
func dial(t *testing.T, wrap func(http.Handler) http.Handler, accept func(context.Context, *carrier.ServerConn)) connect.ClientStream {
	t.Helper()
	network := rpcmeshtest.NewNetwork()
	l, err := network.Listen("a")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	carrier.Mount(mux, link.MaxPacket, accept)
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: wrap(mux), Protocols: h2c}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(l) }) // ends with the server
	transport := &http.Transport{DialContext: network.Dialer("b"), Protocols: h2c}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
		serving.Wait()
	})
	client := connect.NewClient(connecthttp.NewTransport(&http.Client{Transport: transport}, rpcmeshtest.URL("a")))
	stream, err := client.CallClientStream(t.Context(), connect.Spec{StreamType: connect.StreamTypeBidi, Procedure: carrier.Procedure})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stream.Close() })
	if err := stream.SendHeaders(); err != nil {
		t.Fatal(err)
	}
	return stream
}

// asItIs is no middleware.
func asItIs(h http.Handler) http.Handler { return h }

// TestCloseWhileSending: closing ends a Send that is stuck because the peer does not read, in a bounded time, and
// nothing is sent after the handler's end.
func TestCloseWhileSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sending, sent := make(chan *carrier.ServerConn, 1), make(chan error, 1)
		stream := dial(t, asItIs, func(_ context.Context, s *carrier.ServerConn) {
			sending <- s
			packet := make([]byte, link.HeadRoom+100_000)
			for {
				if err := s.Send(packet); err != nil {
					sent <- err
					return
				}
			}
		})
		s := <-sending
		synctest.Wait()
		begin := time.Now()
		s.Close(connect.NewError(connect.CodeAborted, "enough"))
		<-sent
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the stuck Send ended after %v", took)
		}
		synctest.Wait()
		if err := s.Send(make([]byte, link.HeadRoom+1)); err == nil {
			t.Error("something was sent after the end")
		}
		for err := error(nil); err == nil; {
			err = stream.Receive(new(linkv1.Packet))
		}
	})
}

// TestCloseTellsWhy: the peer gets the error that the conn was closed with, and a good end without one.
func TestCloseTellsWhy(t *testing.T) {
	for name, why := range map[string]error{
		"an error of connect's": connect.NewError(connect.CodeNotFound, "no such thing"),
		"none":                  nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stream := dial(t, asItIs, func(_ context.Context, s *carrier.ServerConn) {
					s.Close(why)
					_, _ = s.Receive()
				})
				err := stream.Receive(new(linkv1.Packet))
				if why == nil && !errors.Is(err, io.EOF) || why != nil && connect.CodeOf(err) != connect.CodeNotFound {
					t.Errorf("the peer got %v, want %v", err, why)
				}
			})
		})
	}
}

// TestMiddlewareThatHidesDeadlines: where Close could not end what is stuck there is no link, and the peer is told
// what to do.
func TestMiddlewareThatHidesDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := dial(t, withoutDeadlines, func(context.Context, *carrier.ServerConn) { t.Error("it was accepted") })
		err := stream.Receive(new(linkv1.Packet))
		if connect.CodeOf(err) != connect.CodeInternal || !strings.Contains(err.Error(), "Unwrap") {
			t.Errorf("the peer got %v", err)
		}
	})
}
