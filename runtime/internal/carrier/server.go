package carrier

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// closeTimeout bounds how long a server waits for a peer to take the error that ends its stream.
const closeTimeout = time.Second

// ServerConn is the listening side of a carried link.
type ServerConn struct {
	addr      string
	tls       *tls.ConnectionState
	stream    connect.ServerStream
	ctrl      *http.ResponseController
	in        packet
	bytesRead atomic.Uint64
	sendSlot  chan struct{} // holds one value while a Send is under way, and for ever once the stream has ended

	mu     sync.Mutex
	closed bool
	cause  error
}

// Mount registers the link's procedure on mux. For each stream accept is called, concurrently; it
// must return once the conn is closed. The stream ends when it does, with the error that the
// conn was closed with.
func Mount(mux connecthttp.ServeMux, maxPacket int, accept func(context.Context, *ServerConn)) {
	server := connect.NewServer()
	server.Register(connect.Method{Spec: sessionSpec(), Handler: func(ctx context.Context, _ connect.Spec, stream connect.ServerStream) error {
		return serve(ctx, stream, accept)
	}})
	connecthttp.Mount(controllerMux{mux}, server,
		connecthttp.WithCodecs(rawCodec{}),
		connecthttp.WithCompressors(),
		connecthttp.WithReadMaxBytes(maxPacket),
	)
}

func serve(ctx context.Context, stream connect.ServerStream, accept func(context.Context, *ServerConn)) error {
	s := &ServerConn{stream: stream, sendSlot: make(chan struct{}, 1)}
	s.in.bytesRead = &s.bytesRead
	s.ctrl, _ = ctx.Value(controllerKey{}).(*http.ResponseController)
	if info, ok := connect.CallInfoForServerContext(ctx); ok {
		s.addr = info.PeerAddr
	}
	if info, ok := connecthttp.ServerInfoForContext(ctx); ok {
		s.tls = info.TLS()
	}
	// The server's own time-outs are for requests; a link lives on.
	if errors.Join(s.ctrl.SetReadDeadline(time.Time{}), s.ctrl.SetWriteDeadline(time.Time{})) != nil {
		return errNoDeadlines // by which Close ends what is stuck
	}
	accept(ctx, s)
	s.sendSlot <- struct{}{} // nothing may be sent once the handler has returned
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Send sends the packet p[link.HeadRoom:].
func (s *ServerConn) Send(p []byte) error {
	select {
	case s.sendSlot <- struct{}{}:
	default: // one at a time is the caller's promise
		return errEnded
	}
	defer func() { <-s.sendSlot }()
	return s.stream.Send(&packet{b: p[link.HeadRoom:]})
}

var errNoDeadlines = connect.NewError(connect.CodeInternal,
	"the node's server has a middleware whose http.ResponseWriter hides SetReadDeadline and SetWriteDeadline: give it an Unwrap method")

var errEnded = errors.New("carrier: the stream has ended")

// Receive returns the next packet, which is valid until the next Receive.
func (s *ServerConn) Receive() ([]byte, error) {
	if err := s.stream.Receive(&s.in); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, err
	}
	return s.in.b, nil
}

// BytesReceived returns how many bytes have been read.
func (s *ServerConn) BytesReceived() uint64 { return s.bytesRead.Load() }

// Unread does not know what net/http has yet to read.
func (s *ServerConn) Unread() bool { return false }

// Close ends the stream. A *connect.Error is sent to the peer.
func (s *ServerConn) Close(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	if _, ok := errors.AsType[*connect.Error](err); ok {
		s.cause = err
	}
	_ = s.ctrl.SetWriteDeadline(time.Now().Add(closeTimeout))
	_ = s.ctrl.SetReadDeadline(time.Unix(1, 0))
}

// Binding returns what both ends export from the TLS channel, nil in cleartext.
func (s *ServerConn) Binding() ([]byte, error) { return h2link.Binding(s.tls) }

// TLS returns the state of the TLS channel, nil in cleartext.
func (s *ServerConn) TLS() *tls.ConnectionState { return s.tls }

// Addr returns the peer's address.
func (s *ServerConn) Addr() string { return s.addr }

// controllerMux hands each request's controller to the stream's handler, which Connect gives no
// http.ResponseWriter.
type controllerMux struct{ mux connecthttp.ServeMux }

type controllerKey struct{}

func (c controllerMux) Handle(pattern string, h http.Handler) {
	c.mux.Handle(pattern, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := context.WithValue(r.Context(), controllerKey{}, http.NewResponseController(w))
		h.ServeHTTP(w, r.WithContext(ctx))
	}))
}

// ServerConfig is what a server that is there for links should run HTTP/2 with.
func ServerConfig() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxReceiveBufferPerStream:     receiveBuffer,
		MaxReceiveBufferPerConnection: receiveBuffer,
	}
}
