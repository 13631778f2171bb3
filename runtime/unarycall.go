package rpcmesh

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

// unaryCall is a unary call that came in over a link, at a node without interceptors: call, context and stream in one
// allocation. Its handler may keep any of them beyond its return, when they behave like those of an ended call. So it
// is never used again. The buffers that it points to are; each belongs to whoever swaps it out.
type unaryCall struct {
	call        link.ServerCall
	function    *localFunction
	request     atomic.Pointer[link.Buffer]
	response    atomic.Pointer[link.Buffer] // set by Send; only Serve uses the buffer
	info        atomic.Pointer[connect.CallInfo]
	requestSize atomic.Int32 // the size of the request, if complete
	complete    bool         // the request came in one piece
	recvStopped atomic.Bool
}

// serverInfoKey is the context key of a handler's CallInfo in package connect.
var serverInfoKey = func() (key any) {
	connect.CallInfoForServerContext(keyCatcher{context.Background(), &key})
	return key
}()

// keyCatcher is a context that records the key that it is asked for.
type keyCatcher struct {
	context.Context

	key *any
}

// Value implements context.Context.
func (c keyCatcher) Value(key any) any {
	*c.key = key
	return nil
}

// newUnaryCall implements link.Route.Make for calls of the function.
func (m *localFunction) newUnaryCall() link.CallHandler { return &unaryCall{function: m} }

// Call implements [link.CallHandler].
func (u *unaryCall) Call() *link.ServerCall { return &u.call }

// Serve implements [link.CallHandler].
func (u *unaryCall) Serve() {
	os := u.function.origins
	os.beginCall()
	defer os.endCall()
	if b := u.call.TakeRequest(); b != nil {
		u.complete = true
		u.request.Store(b)
	}
	header, ok := u.call.Header()
	if !ok {
		u.dropRequest()
		return
	}
	if header.Len() > 0 {
		u.info.Store(u.newInfo(header))
	}
	ctx := (*unaryContext)(u)
	verdict, failure := u.function.runHandler(ctx, &u.call, func() error { return u.function.handler(ctx, u.function.spec, u) })
	u.dropRequest()
	response := u.response.Load()
	if verdict == nil && failure == nil && response != nil && u.noMetadata() && u.call.ReplyFinal(response.B) {
		response.Free()
		return
	}
	s := &serverStream{call: &u.call, info: u.callInfo(), singleResponse: true, response: response, sent: response != nil}
	s.finish(verdict, failure)
}

// noMetadata reports whether the response has neither headers nor trailers.
func (u *unaryCall) noMetadata() bool {
	info := u.info.Load()
	return info == nil || info.ResponseHeader().Len() == 0 && info.ResponseTrailer().Len() == 0
}

// dropRequest frees the request unless the handler has received it.
func (u *unaryCall) dropRequest() {
	if b := u.request.Swap(nil); b != nil {
		b.Free()
	}
}

// Receive implements [connect.ServerStream].
func (u *unaryCall) Receive(msg any) error {
	b := u.request.Swap(nil)
	if b != nil {
		defer b.Free()
	}
	if !u.complete || u.recvStopped.Load() || u.call.Context().Err() != nil {
		return u.receiveStreamed(msg)
	}
	if b == nil {
		return io.EOF
	}
	return u.decode(b.B, msg)
}

// receiveStreamed is Receive for a request that did not come in one piece, or was given up.
func (u *unaryCall) receiveStreamed(msg any) error {
	b, err := u.call.Receive()
	if err != nil {
		return err
	}
	return u.decode(b, msg)
}

func (u *unaryCall) decode(b []byte, msg any) error {
	u.requestSize.Store(int32(len(b)))
	if info := u.info.Load(); info != nil {
		info.ReceiveStats = connect.MessageStats{Size: len(b)}
	}
	return decodeRequest(b, msg)
}

// StopReceiving implements [rawcall.ReceiveStopper].
func (u *unaryCall) StopReceiving() {
	u.recvStopped.Store(true)
	u.call.StopReceiving()
}

// SendHeaders implements [connect.ServerStream].
func (u *unaryCall) SendHeaders() error {
	if info := u.info.Load(); info != nil {
		return u.call.SendHeaders(info.ResponseHeader())
	}
	return u.call.SendHeaders(nil)
}

// Send implements [connect.ServerStream].
func (u *unaryCall) Send(msg any) error {
	b, err := marshal(msg)
	if err != nil {
		return err
	}
	size := len(b.B)
	if !u.response.CompareAndSwap(nil, b) {
		b.Free()
		return errOneResponse
	}
	if info := u.info.Load(); info != nil {
		info.SendStats = connect.MessageStats{Size: size}
	}
	return nil
}

// callInfo returns the call's CallInfo, and makes it on first use.
func (u *unaryCall) callInfo() *connect.CallInfo {
	if info := u.info.Load(); info != nil {
		return info
	}
	if info := u.newInfo(nil); u.info.CompareAndSwap(nil, info) {
		return info
	}
	return u.info.Load()
}

func (u *unaryCall) newInfo(header *connect.Header) *connect.CallInfo {
	info := newServerInfo(u.function.spec, u.call.Caller(), header)
	info.ReceiveStats.Size, info.TransportInfo = int(u.requestSize.Load()), u
	return info
}

// unaryContext is a unaryCall as its handler's context.
type unaryContext unaryCall

// Deadline implements context.Context.
func (c *unaryContext) Deadline() (time.Time, bool) { return c.call.Context().Deadline() }

// Done implements context.Context.
func (c *unaryContext) Done() <-chan struct{} { return c.call.Context().Done() }

// Err implements context.Context.
func (c *unaryContext) Err() error { return c.call.Context().Err() }

// Value implements context.Context.
func (c *unaryContext) Value(key any) any {
	if key == serverInfoKey {
		return (*unaryCall)(c).callInfo()
	}
	return c.call.Context().Value(key)
}
