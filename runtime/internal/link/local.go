package link

import (
	"bytes"
	"context"
	"sync"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// localCall is what is allocated for each local call besides its caller's handle.
type localCall struct {
	limits Limits
	server ServerCall
	callee Callee
}

// localPair is the two endpoints of a local call. mu guards them.
type localPair struct {
	mu      sync.Mutex
	workers *Workers
	caller  callerEndpoint
	handler handlerEndpoint
	server  *ServerCall
}

// OpenLocal prepares c, a zero ClientCall, as a call whose caller and handler are in one process. Everything else
// (windows, limits, headers, deadline, cancellation, errors) is as over a session; there is no wire in between.
func OpenLocal(ctx context.Context, o Open, c *ClientCall, limits Limits, w *Workers, serve func(*ServerCall)) {
	p := w.getLocalPair()
	l := &localCall{limits: limits.withDefaults()}
	c.open, c.ctx = o, ctx
	c.local, c.mu = p, &p.mu
	c.limits = &l.limits
	l.callee = o.callee()
	s := &l.server
	s.mu, s.limits = &p.mu, &l.limits
	s.callee, s.caller = &l.callee, o.Caller
	s.streamType = o.StreamType
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

// recycleLocked makes the pair ready for another call if nothing refers to either endpoint any more.
func (p *localPair) recycleLocked() {
	if p.caller.idleLocked() && p.handler.idleLocked() {
		p.reset()
		p.workers.putLocalPair(p)
	}
}

// startLocked starts the handler of a call. headers is the body of the request's Headers.
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

// sendLocalLocked hands a frame to the other endpoint of a local call, in pieces as its window allows. It reports
// whether all of it went. It releases the lock while it waits.
func (c *stream) sendLocalLocked(f *frame.Outgoing) bool {
	c.send = sendPending
	data := f.Data
	for f.Has(frame.FieldData) {
		for c.send == sendPending && c.localPeer.recvWindow <= 0 {
			c.waitLocked(c.writable)
		}
		if c.send != sendPending {
			return false
		}
		piece := data[:min(len(data), frame.MaxData)]
		data = data[len(piece):]
		_ = c.localPeer.receiveDataLocked(piece, len(data) > 0, uint32(len(f.Data))) // it has the limits that Send has checked
		if len(data) == 0 {
			break
		}
	}
	c.send = sendIdle
	if f.Has(frame.FieldCloseSend) {
		c.localPeer.recv.close()
		c.localPeer.readable.Signal()
	}
	return true
}

// sendLocalAsyncLocked is sendLocalLocked for a single message, without waiting for the window.
func (c *stream) sendLocalAsyncLocked(f *frame.Outgoing) {
	_ = c.localPeer.receiveDataLocked(f.Data, false, 0) // it has the limits that Send has checked
	c.localPeer.recv.close()
}

// setHeadersLocked notes the response's headers: field is a field of Frame.
func (e *callerEndpoint) setHeadersLocked(field []byte) {
	e.headers = append([]byte{}, frame.HeadersOfField(field)...)
	e.readable.Signal()
}
