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
	caller  callerEndpoint
	handler handlerEndpoint
	server  *ServerCall
}

// NewLocalCall opens a call whose caller and handler are in one process. Everything else (windows, limits,
// headers, deadline, cancellation, errors) is as over a session; there is no wire in between.
func NewLocalCall(ctx context.Context, o Open, limits Limits, w *Workers, serve func(*ServerCall)) *ClientCall {
	c := new(ClientCall)
	OpenLocal(ctx, o, c, limits, w, serve)
	return c
}

// OpenLocal is Local for one who has the room for a call: c is a zero ClientCall.
func OpenLocal(ctx context.Context, o Open, c *ClientCall, limits Limits, w *Workers, serve func(*ServerCall)) {
	p := w.getLocalPair()
	l := &localCall{limits: limits.withDefaults()}
	c.open, c.ctx, c.local, c.limits, c.mu = o, ctx, p, &l.limits, &p.mu
	l.callee = Callee{Namespace: o.Namespace, Procedure: o.Procedure, Origin: o.Origin, OriginNamespace: o.OriginNamespace}
	s := &l.server
	s.mu, s.limits = &p.mu, &l.limits
	s.callee, s.caller, s.streamType = &l.callee, o.Caller, o.StreamType
	p.server, p.handler.serve = s, serve
}

func newLocalPair(w *Workers) *localPair {
	p := &localPair{workers: w}
	p.caller.stream, p.handler.stream = newStream(&p.caller, &p.mu, nil), newStream(&p.handler, &p.mu, nil)
	p.reset()
	return p
}

// reset makes the pair ready for a call.
func (p *localPair) reset() {
	p.caller = callerEndpoint{stream: p.caller.fresh(), pair: p}
	p.handler = handlerEndpoint{stream: p.handler.fresh(), pair: p}
	p.caller.localPeer, p.handler.localPeer = &p.handler.stream, &p.caller.stream
	p.server = nil
}

// recycleLocked makes the pair ready for another call if nobody uses either end any more. mu is held.
func (p *localPair) recycleLocked() {
	if p.caller.idleLocked() && p.handler.idleLocked() {
		p.reset()
		p.workers.putLocalPair(p)
	}
}

// startLocked starts the handler of a call. headers is the body of the request's Headers. mu is held.
func (p *localPair) startLocked(c *ClientCall, headers []byte) *callerEndpoint {
	s := p.server
	if len(headers) > 0 {
		s.header = new(bytes.Clone(headers))
	}
	s.deadline = c.deadline()
	s.endpoint, p.handler.call = &p.handler, s
	p.caller.limits, p.handler.limits = c.limits, c.limits
	p.caller.recvWindow, p.handler.recvWindow = c.limits.Window, c.limits.Window
	p.workers.run(s)
	return &p.caller
}

// sendLocalLocked hands a frame to the other end of a local call, in pieces as its window allows. It reports
// whether all of it went. mu is held, but not while it waits.
func (c *stream) sendLocalLocked(f *outFrame) bool {
	c.sending, c.aborted = true, false
	for data := f.data; f.hasData; {
		for c.sending && c.localPeer.recvWindow <= 0 {
			c.waitLocked(c.writable)
		}
		if !c.sending {
			return false
		}
		piece := data[:min(len(data), maxData)]
		data = data[len(piece):]
		_ = c.localPeer.receiveDataLocked(piece, len(data) > 0, uint32(len(f.data))) // has the limits that have been checked here
		if len(data) == 0 {
			break
		}
	}
	c.sending = false
	if f.closeSend {
		c.localPeer.recvClosed = true
		c.localPeer.readable.Signal()
	}
	return true
}

// sendLocalAsyncLocked is sendLocal for the one message of one who does not wait for a window. mu is held.
func (c *stream) sendLocalAsyncLocked(f *outFrame) {
	_ = c.localPeer.receiveDataLocked(f.data, false, 0) // has the limits that have been checked here
	c.localPeer.recvClosed = true
}

// setHeadersLocked notes the response's headers, a field of Frame. mu is held.
func (e *callerEndpoint) setHeadersLocked(field []byte) {
	body, _ := protowire.ConsumeBytes(field[1:])
	e.headers = append([]byte{}, body...)
	e.readable.Signal()
}
