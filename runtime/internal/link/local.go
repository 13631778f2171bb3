package link

import (
	"bytes"
	"context"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

// localCall is what is made for each local call besides its caller's side.
type localCall struct {
	limits Limits
	server ServerCall
	callee Callee
}

// localPair is the two ends of a local call. mu guards them.
type localPair struct {
	mu      sync.Mutex
	workers *Workers
	caller  callerEnd
	handler handlerEnd
	server  *ServerCall
}

// Local opens a call whose caller and handler are in one process. Everything else (windows, limits,
// headers, deadline, cancellation, errors) is as over a session; there is no wire in between.
func Local(ctx context.Context, o Open, limits Limits, w *Workers, serve func(*ServerCall)) *ClientCall {
	c := new(ClientCall)
	LocalAs(ctx, o, c, limits, w, serve)
	return c
}

// LocalAs is Local for one who has the room for a call: c is a zero ClientCall.
func LocalAs(ctx context.Context, o Open, c *ClientCall, limits Limits, w *Workers, serve func(*ServerCall)) {
	p := w.takePair()
	l := &localCall{limits: limits.withDefaults()}
	c.open, c.ctx, c.pair, c.limits, c.mu = o, ctx, p, &l.limits, &p.mu
	l.callee = Callee{Namespace: o.Namespace, Procedure: o.Procedure, Origin: o.Origin, OriginNamespace: o.OriginNamespace}
	s := &l.server
	s.mu, s.limits = &p.mu, &l.limits
	s.callee, s.caller, s.kind = &l.callee, o.Caller, o.StreamType
	p.server, p.handler.handle = s, serve
}

func newLocalPair(w *Workers) *localPair {
	p := &localPair{workers: w}
	p.caller.stream, p.handler.stream = newStream(&p.caller, &p.mu, nil), newStream(&p.handler, &p.mu, nil)
	p.reset()
	return p
}

// reset makes the pair ready for a call.
func (p *localPair) reset() {
	p.caller = callerEnd{stream: p.caller.fresh(), pair: p}
	p.handler = handlerEnd{stream: p.handler.fresh(), pair: p}
	p.caller.other, p.handler.other = &p.handler.stream, &p.caller.stream
	p.server = nil
}

// recycle makes the pair ready for another call if nobody uses either end any more. mu is held.
func (p *localPair) recycle() {
	if p.caller.idle() && p.handler.idle() {
		p.reset()
		p.workers.putPair(p)
	}
}

// start starts the handler of a call. headers is the body of the request's Headers. mu is held.
func (p *localPair) start(c *ClientCall, headers []byte) *callerEnd {
	s := p.server
	if len(headers) > 0 {
		s.header = new(bytes.Clone(headers))
	}
	s.deadline = c.deadline()
	s.end, p.handler.call = &p.handler, s
	p.caller.limits, p.handler.limits = c.limits, c.limits
	p.caller.window, p.handler.window = c.limits.Window, c.limits.Window
	p.workers.run(s)
	return &p.caller
}

// sendLocal hands a frame to the other end of a local call, in pieces as its window allows. It reports
// whether all of it went. mu is held, but not while it waits.
func (c *stream) sendLocal(f *outFrame) bool {
	c.sending, c.cut = true, false
	for data := f.data; f.hasData; {
		for c.sending && c.other.window <= 0 {
			c.wait(c.writable)
		}
		if !c.sending {
			return false
		}
		piece := data[:min(len(data), maxData)]
		data = data[len(piece):]
		_ = c.other.take(piece, len(data) > 0, uint32(len(f.data))) // has the limits that have been checked here
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

// postLocal is sendLocal for the one message of one who does not wait for a window. mu is held.
func (c *stream) postLocal(f *outFrame) {
	_ = c.other.take(f.data, false, 0) // has the limits that have been checked here
	c.other.eof = true
}

// takeHeaders notes the response's headers, a field of Frame. mu is held.
func (e *callerEnd) takeHeaders(field []byte) {
	body, _ := protowire.ConsumeBytes(field[1:])
	e.headers = append([]byte{}, body...)
	e.readable.Signal()
}
