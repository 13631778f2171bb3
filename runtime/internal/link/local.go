package link

import (
	"bytes"
	"context"
	"sync"
	"time"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// localCall is a call whose two ends are in one process.
type localCall struct {
	mu      sync.Mutex
	limits  Limits
	workers *Workers
	client  ClientCall
	server  ServerCall
}

// Local opens a call whose caller and handler are in one process. Everything else (windows, limits,
// headers, deadline, cancellation, errors) is as over a session; there is no wire in between.
func Local(ctx context.Context, o Open, limits Limits, w *Workers, serve func(*ServerCall)) *ClientCall {
	l := &localCall{limits: limits.withDefaults(), workers: w}
	c, s := &l.client, &l.server
	c.open, c.ctx, c.local = o, ctx, l
	s.handle, s.client = serve, c
	c.init(&l.mu, &l.limits)
	s.init(&l.mu, &l.limits)
	c.window, s.window = l.limits.Window, l.limits.Window
	c.other, s.other = &s.stream, &c.stream
	return c
}

// start starts the handler. headers is the body of the request's Headers. mu is held.
func (l *localCall) start(headers []byte) {
	o, s := &l.client.open, &l.server
	s.incoming = Incoming{
		Namespace: o.Namespace, Procedure: o.Procedure, Origin: o.Origin,
		OriginNamespace: o.OriginNamespace, Hops: o.Hops, StreamType: o.StreamType,
	}
	if deadline := l.client.deadlineTime(); !deadline.IsZero() {
		s.ctx.deadline = deadline
		s.incoming.Timeout = time.Until(deadline)
	}
	s.headers = bytes.Clone(headers)
	l.workers.run(s)
}

// sendLocal hands a frame to the other end of a local call, in pieces as its window allows. It reports
// whether all of it went. mu is held, but not while it waits.
func (c *stream) sendLocal(f *outFrame) bool {
	c.sending, c.cut = true, false
	for data := f.data; f.hasData; {
		for c.sending && c.other.window <= 0 {
			c.writable.Wait()
		}
		if !c.sending {
			return false
		}
		piece := data[:min(len(data), maxData)]
		data = data[len(piece):]
		_ = c.other.take(piece, len(data) > 0) // has the limits that have been checked here
		if len(data) == 0 {
			break
		}
	}
	c.sending = false
	if f.closeSend {
		c.other.eof = true
		c.other.readable.Signal()
	}
	return true
}

// takeHeaders notes the response's headers, a field of Frame. mu is held.
func (c *ClientCall) takeHeaders(field []byte) {
	body, _ := protowire.ConsumeBytes(field[1:])
	c.headers = append([]byte{}, body...)
}

// canceled ends the call because its caller, in this process, let go of it.
func (c *ServerCall) canceled(code connect.Code) {
	err := cancelError(code)
	c.mu.Lock()
	if !c.ended {
		c.over(err)
	}
	c.mu.Unlock()
	c.ctx.cancel(contextCause(err))
}
