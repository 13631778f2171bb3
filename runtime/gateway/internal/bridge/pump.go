package bridge

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/rawcall"
)

// Pump passes calls on. Its fields are set before its first call and not changed. It may be used
// concurrently.
type Pump struct {
	// To is where calls go. Its streams take *[rawcall.Message].
	To connect.Transport
	// Skip drops request headers besides those that are not [Forwarded], by their canonical keys. It may
	// be nil.
	Skip func(key string) bool
	// StopReceiving ends a Receive of the handler's stream that waits, and every later one; ctx is the
	// handler's. It is called for requests that have not come to their end when the call has, or its time.
	StopReceiving func(ctx context.Context)
	// Discreet has errors of To's go back as [Discreet] has them.
	Discreet bool
}

var _ connect.ServerFunc = (*Pump)(nil).Call

// Call is a handler that passes its call on and answers with what comes back. Its stream takes
// *[rawcall.Message]. It returns when the called function has ended the call, whether or not its caller has
// sent all, or when one of the two ends fails; nothing of the call runs after that.
func (p *Pump) Call(ctx context.Context, spec connect.Spec, stream connect.ServerStream) error {
	info, ok := connect.CallInfoForServerContext(ctx)
	if !ok {
		return connect.NewError(connect.CodeInternal, "bridge: the handler's context is not that of a call")
	}
	c := &call{spec: spec, server: stream, info: info, discreet: p.Discreet}
	if spec.StreamType&connect.StreamTypeClient == 0 {
		return p.single(ctx, c)
	}
	return p.many(ctx, c)
}

// call is one call on its way.
type call struct {
	spec     connect.Spec
	server   connect.ServerStream
	info     *connect.CallInfo
	client   connect.ClientStream
	sent     *connect.CallInfo // of client
	answered bool              // the response's headers have been copied
	discreet bool
}

// verdict is [Verdict] for an error of the client's side.
func (c *call) verdict(err error) error {
	if c.discreet {
		err = Discreet(err, c.spec.Procedure)
	}
	return Verdict(err)
}

// open opens the call that c is passed on by.
func (p *Pump) open(ctx context.Context, c *call) (err error) {
	ctx, c.sent = connect.NewClientContext(ctx)
	copyHeaders(c.sent.RequestHeader(), c.info.RequestHeader(), p.Skip)
	c.client, err = p.To.NewClientStream(ctx, c.spec)
	return c.verdict(err)
}

// single passes on a call with one request. It needs no second goroutine.
func (p *Pump) single(ctx context.Context, c *call) error {
	msg := takeRaw()
	defer giveRaw(msg)
	if err := p.receiveOnly(ctx, c, msg); err != nil {
		return err
	}
	if err := p.open(ctx, c); err != nil {
		return err
	}
	defer c.client.Close()
	if err := c.client.Send(msg); err != nil && !errors.Is(err, io.EOF) {
		return c.verdict(err)
	}
	_ = c.client.CloseSend() // Receive says what is wrong with the call
	if c.spec.StreamType == connect.StreamTypeServer {
		return c.respond(msg)
	}
	return c.answer(c.receive(msg), msg)
}

// receiveTime is how long the one request of a call may take to come.
const receiveTime = time.Minute

// receiveOnly receives the request of a call that has one, in the call's time.
func (p *Pump) receiveOnly(ctx context.Context, c *call, msg *rawcall.Message) error {
	limited, cancel := context.WithTimeoutCause(ctx, receiveTime, errSlow)
	defer cancel()
	stopped := make(chan struct{})
	stop := context.AfterFunc(limited, func() {
		defer close(stopped)
		p.StopReceiving(ctx)
	})
	err := c.receiveOnly(msg)
	if stop() {
		return err
	}
	<-stopped
	if err != nil {
		err = Verdict(context.Cause(limited))
	}
	return err
}

var errSlow = connect.Errorf(connect.CodeDeadlineExceeded, "the request has not come within %v", receiveTime)

// receiveOnly receives the request of a call that has one.
func (c *call) receiveOnly(msg *rawcall.Message) error {
	err := c.request(msg)
	switch {
	case errors.Is(err, io.EOF):
		return connect.Errorf(connect.CodeUnimplemented, "%s takes one request, and got none", c.spec.Procedure)
	case err != nil:
		return err
	}
	var more rawcall.Message
	err = c.request(&more)
	switch {
	case err == nil:
		return connect.Errorf(connect.CodeUnimplemented, "%s takes one request, and got more", c.spec.Procedure)
	case !errors.Is(err, io.EOF):
		return err
	}
	return nil
}

// request receives a request. One that is empty may leave msg as it was.
func (c *call) request(msg *rawcall.Message) error {
	msg.B = msg.B[:0]
	return c.server.Receive(msg)
}

// receive receives a response, and passes on the headers that have come with it.
func (c *call) receive(msg *rawcall.Message) error {
	msg.B = msg.B[:0]
	err := c.client.Receive(msg)
	c.passHeaders()
	return err
}

// passHeaders passes on the response's headers, once they are there.
func (c *call) passHeaders() {
	if !c.answered {
		c.answered = true
		copyHeaders(c.info.ResponseHeader(), c.sent.ResponseHeader(), nil)
	}
}

// answer ends a call with one response, msg, or the error that came in its place.
func (c *call) answer(err error, msg *rawcall.Message) error {
	copyHeaders(c.info.ResponseTrailer(), c.sent.ResponseTrailer(), nil)
	if errors.Is(err, io.EOF) {
		return connect.Errorf(connect.CodeUnimplemented, "%s has one response, and gave none", c.spec.Procedure)
	}
	if err != nil {
		return c.verdict(err)
	}
	return c.server.Send(msg)
}

// respond passes on the responses until the call has ended.
func (c *call) respond(msg *rawcall.Message) error {
	if h, ok := c.client.(rawcall.HeaderReceiver); ok && h.ReceiveHeaders() {
		c.passHeaders()
		if err := c.server.SendHeaders(); err != nil {
			return err
		}
	}
	for {
		err := c.receive(msg)
		switch {
		case errors.Is(err, io.EOF):
			copyHeaders(c.info.ResponseTrailer(), c.sent.ResponseTrailer(), nil)
			return nil
		case err != nil:
			copyHeaders(c.info.ResponseTrailer(), c.sent.ResponseTrailer(), nil)
			return c.verdict(err)
		}
		if err := c.server.Send(msg); err != nil {
			return err
		}
	}
}

// many passes on a call with a stream of requests: those on a goroutine of their own, the responses here.
func (p *Pump) many(ctx context.Context, c *call) error {
	forward, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := p.open(forward, c); err != nil {
		return err
	}
	defer c.client.Close()
	// The function may be the first to speak, so it is called before there is a request.
	if err := c.client.SendHeaders(); err != nil && !errors.Is(err, io.EOF) {
		return c.verdict(err)
	}
	r := &requests{call: c, cancel: cancel, ended: make(chan struct{})}
	go r.run()
	stop := func() error {
		failure := r.failure() // later ones come of what follows
		cancel()
		select {
		case <-r.ended:
		default:
			p.StopReceiving(ctx)
			<-r.ended
		}
		return failure
	}
	msg := takeRaw()
	defer giveRaw(msg)
	if c.spec.StreamType == connect.StreamTypeClient {
		// HTTP/1.1 does not let a server answer while it reads.
		err := c.receive(msg)
		if failure := stop(); failure != nil {
			return failure
		}
		return c.answer(err, msg)
	}
	err := c.respond(msg)
	if failure := stop(); failure != nil {
		return failure
	}
	return err
}

// requests passes on a call's requests.
type requests struct {
	call   *call
	cancel context.CancelFunc // ends the call that they are sent on
	ended  chan struct{}

	mu  sync.Mutex
	err error
}

// failure is why the requests could not be passed on to their end, nil if they were or still are.
func (r *requests) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *requests) run() {
	defer close(r.ended)
	err := r.pass()
	if err == nil {
		return
	}
	r.mu.Lock()
	r.err = err
	r.mu.Unlock()
	r.cancel()
}

// pass returns nil, too, where the called function has ended the call: how is for the receiving side.
func (r *requests) pass() error {
	c, msg := r.call, takeRaw()
	defer giveRaw(msg)
	for {
		err := c.request(msg)
		switch {
		case errors.Is(err, io.EOF):
			_ = c.client.CloseSend() // Receive says what is wrong with the call
			return nil
		case err != nil:
			return Verdict(err)
		}
		err = c.client.Send(msg)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return c.verdict(err)
		}
	}
}

// maxSpare bounds, in bytes, what is kept of a message's memory for another one.
const maxSpare = 64 << 10

var spares = sync.Pool{New: func() any { return new(rawcall.Message) }}

func takeRaw() *rawcall.Message { return spares.Get().(*rawcall.Message) }

func giveRaw(msg *rawcall.Message) {
	if cap(msg.B) <= maxSpare {
		spares.Put(msg)
	}
}
