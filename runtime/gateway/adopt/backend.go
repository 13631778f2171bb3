package adopt

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
	"connectrpc.com/connect/v2/connecthttp"

	rpcmesh "github.com/rpcmesh/rpcmesh/runtime"
	"github.com/rpcmesh/rpcmesh/runtime/gateway/internal/bridge"
	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// backend makes calls of the server, and says of those that fail on the way how far they had come.
type backend struct {
	http      *httpClient
	transport connect.Transport
	pump      bridge.Pump
	header    http.Header
	noCaller  bool            // the server is not told who calls
	ctx       context.Context // ends all calls
	slots     chan struct{}   // one for each call that is with the server
	mu        sync.Mutex
	closed    bool // no call is added to calls
	calls     sync.WaitGroup
}

func newBackend(a *Server) *backend {
	b := &backend{
		http: newHTTPClient(&a.cfg, a.url), header: a.cfg.Header, noCaller: a.cfg.NoCaller, ctx: a.ctx,
		slots: make(chan struct{}, a.cfg.Limits.MaxCalls),
	}
	options := []connecthttp.Option{
		connecthttp.WithCodecs(&bridge.Codec{}),
		connecthttp.WithConditionalOptions(func(spec connect.Spec) []connecthttp.Option {
			limit := a.cfg.Limits.MaxMessage
			if isReflection(spec) {
				limit = a.cfg.Limits.MaxDescriptors
			}
			return []connecthttp.Option{connecthttp.WithReadMaxBytes(limit)}
		}),
	}
	switch a.cfg.Protocol {
	case GRPC:
		options = append(options, connecthttp.WithGRPC())
	case GRPCWeb:
		options = append(options, connecthttp.WithGRPCWeb())
	case Connect:
	}
	b.transport = connecthttp.NewTransport(b.http, a.url.String(), options...)
	b.pump = bridge.Pump{To: limited{b}, Skip: skip, StopReceiving: bridge.StopMesh}
	return b
}

// call is the handler of every adopted function.
func (b *backend) call(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
	return b.pump.Call(ctx, spec, stream)
}

// close ends the connections and waits for the calls, which have been told to end.
func (b *backend) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.calls.Wait()
	b.http.close()
}

// begin counts a call in, unless there are to be no more.
func (b *backend) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || b.ctx.Err() != nil {
		return false
	}
	b.calls.Add(1)
	return true
}

// limited is a backend that has only so many calls at once.
type limited struct{ *backend }

// NewClientStream makes limited a [connect.Transport].
func (b limited) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	select {
	case b.slots <- struct{}{}:
	default:
		return nil, rpcmesh.NotStarted(errSlots)
	}
	s, err := b.open(ctx, spec)
	if err != nil {
		<-b.slots
		return nil, err
	}
	s.release = func() { <-b.slots }
	return s, nil
}

// NewClientStream makes backend a [connect.Transport]. The stream must be closed.
func (b *backend) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	s, err := b.open(ctx, spec)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (b *backend) open(ctx context.Context, spec connect.Spec) (*stream, error) {
	if !b.begin() {
		return nil, rpcmesh.NotStarted(errGone)
	}
	info, ok := connect.CallInfoForClientContext(ctx)
	if !ok {
		ctx, info = connect.NewClientContext(ctx)
	}
	if caller, ok := rpcmesh.CallerFrom(ctx); ok && !b.noCaller {
		setCallerHeaders(info.RequestHeader(), caller)
	}
	for key, values := range b.header {
		info.RequestHeader().SetValues(key, values)
	}
	s := &stream{backend: b, outer: ctx, info: info, responded: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.WithValue(ctx, streamKey{}, s))
	stop := context.AfterFunc(b.ctx, cancel)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { s.conn.Store(connOf(got.Conn)) }})
	var err error
	if s.ClientStream, err = b.transport.NewClientStream(ctx, spec); err != nil {
		stop()
		cancel()
		b.calls.Done()
		return nil, err
	}
	s.end = sync.OnceFunc(func() {
		stop()
		cancel()
		if s.release != nil {
			s.release()
		}
		b.calls.Done()
	})
	return s, nil
}

var (
	errSlots = connect.NewError(connect.CodeResourceExhausted, "adopt: the node has as many calls with the server as Limits.MaxCalls allows: try again later")
	errGone  = connect.NewError(connect.CodeUnavailable, "adopt: the node no longer offers the server's functions")
)

// stream is one call of the server.
type stream struct {
	connect.ClientStream
	backend *backend
	outer   context.Context //nolint:containedctx // the caller's, to tell its end from the server's
	info    *connect.CallInfo
	conn    atomic.Pointer[conn] // nil until there is one for the call
	release func()
	end     func()

	responded chan struct{}  // closed when there is a response, or will be none
	response  *http.Response // nil where there is none
}

type streamKey struct{}

var _ rawcall.HeaderReceiver = (*stream)(nil)

// respond receives the HTTP response to the request that was made in ctx.
func respond(ctx context.Context, res *http.Response) {
	if s, ok := ctx.Value(streamKey{}).(*stream); ok {
		s.response = res
		close(s.responded)
	}
}

// ReceiveHeaders makes the stream a [rawcall.HeaderReceiver]. It does not know whether a message has come with
// the headers.
func (s *stream) ReceiveHeaders() bool {
	select {
	case <-s.responded:
	case <-s.outer.Done():
		return false
	case <-s.backend.ctx.Done():
		return false
	}
	if s.response == nil || s.response.StatusCode != http.StatusOK || s.response.Header.Get("Grpc-Status") != "" {
		return false // Receive says how the call has ended
	}
	for key, values := range s.response.Header {
		s.info.ResponseHeader().SetValues(key, values)
	}
	return true
}

func (s *stream) SendHeaders() error { return s.explain(s.ClientStream.SendHeaders()) }

func (s *stream) Send(msg any) error { return s.explain(s.ClientStream.Send(msg)) }

func (s *stream) CloseSend() error { return s.explain(s.ClientStream.CloseSend()) }

func (s *stream) Receive(msg any) error { return s.explain(s.ClientStream.Receive(msg)) }

// Close ends the call at once, where it has not ended.
func (s *stream) Close() error {
	s.end()
	return s.ClientStream.Close()
}

// explain makes what broke the call, if anything did, into unavailable, with how far it had come. What the
// server says, how the caller's context ends, and what breaks the protocol or a limit, stays as it is.
func (s *stream) explain(err error) error {
	e, ok := errors.AsType[*connect.Error](err)
	switch {
	case err == nil || errors.Is(err, io.EOF) || ok && e.IsRemote():
		return err
	case s.overdue():
		return errOverdue.WithCause(err)
	case s.outer.Err() != nil:
		return err
	case s.conn.Load() == nil:
		return rpcmesh.NotStarted(errNotConnected.WithCause(err))
	}
	certainty := rpcmesh.CertaintyUnknown
	var status int
	if transport, ok := s.info.TransportInfo.(*connecthttp.ClientInfo); ok {
		status = transport.ResponseStatus()
	}
	if status != 0 {
		certainty = rpcmesh.CertaintyStarted
	}
	switch {
	case status == 0 && isNotConnected(err):
		return rpcmesh.NotStarted(errNotConnected.WithCause(err))
	case status == 0 && isUnprocessed(err):
		return rpcmesh.NotStarted(errConnGone.WithCause(&connGoneError{err}))
	case s.backend.ctx.Err() != nil:
		return rpcmesh.WithCertainty(errGone.WithCause(err), certainty)
	case status == 0, s.conn.Load().goingAway.Load() && errors.Unwrap(e) != nil:
		return rpcmesh.WithCertainty(errBroken.WithCause(&connGoneError{err}), certainty)
	case ok && e.Code() == connect.CodeResourceExhausted:
		return errTooLong(s.info.Spec, e)
	case status == http.StatusHTTPVersionNotSupported:
		return connect.NewError(connect.CodeUnimplemented, "adopt: the server has no HTTP/2, which a bidirectional stream needs: give it HTTP/2").WithCause(err)
	}
	return err
}

// errTooLong says of a response that is too long whose limit that is.
func errTooLong(spec connect.Spec, err *connect.Error) error {
	limit := "MaxMessage"
	if isReflection(spec) {
		limit = "MaxDescriptors"
	}
	return connect.Errorf(connect.CodeResourceExhausted, "adopt: the server's response is too long (%s): "+
		"set Limits.%s of the adopt.Config higher, or send less at once", err.Message(), limit).WithCause(err)
}

// overdue reports whether the call's time is up. The server counts it too, in milliseconds at the coarsest,
// and may reset the stream at the same instant, which is no break.
func (s *stream) overdue() bool {
	deadline, limited := s.outer.Deadline()
	return limited && time.Until(deadline) <= time.Millisecond
}

var (
	errOverdue      = connect.NewError(connect.CodeDeadlineExceeded, "adopt: the call's time is up")
	errNotConnected = connect.NewError(connect.CodeUnavailable, "adopt: the server cannot be connected to")
	errConnGone     = connect.NewError(connect.CodeUnavailable, "adopt: the server has let the connection go, or refused the call unseen")
	errBroken       = connect.NewError(connect.CodeUnavailable, "adopt: the connection to the server broke")
)

func isNotConnected(err error) bool {
	_, ok := errors.AsType[*notConnectedError](err)
	return ok
}
