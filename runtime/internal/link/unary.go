package link

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// PreparedCall is what the calls of one function over a session have in common, encoded. It may be used concurrently.
type PreparedCall struct {
	session *Session
	hops    uint32
	open    []byte // the body of an Open, but for the timeout
}

// Prepare returns what calls as o describes them have in common, of which only the callee, the hops and the caller
// count. It fails as opening such a call does.
func (s *Session) Prepare(o *Open) (*PreparedCall, error) {
	if _, err := o.check(&s.cfg.Limits); err != nil {
		return nil, err
	}
	callee := o.callee()
	return &PreparedCall{session: s, hops: o.Hops, open: o.Caller.AppendTo(callee.AppendTo(nil))}, nil
}

// Unary makes calls with one short request and one response, one at a time: it sends all in one frame, and the session's
// reader ends the call when it has the answer, so that the caller needs no lock when it wakes. That is for a call on
// which nothing unusual happens; any other goes on as a [ClientCall].
type Unary struct {
	prepared       *PreparedCall
	answer         []byte          // the response
	charged        int             // of the session's memory, for answer
	ended          atomic.Bool     // the call has ended well: the signal is given, or about to be
	answeredSignal signal          // wakes the caller, in place of endpointSignal
	endpointSignal signal          // the endpoint's own
	unfinished     *callerEndpoint // of a call that goes on
}

// NewUnary returns a Unary that is ready for a call.
func NewUnary() *Unary { return &Unary{answeredSignal: make(signal, 1)} }

// UnaryResult is how far a [Unary] has come with a call.
type UnaryResult uint8

const (
	// Unsent says that nothing has been done: the call has to be made as a ClientCall, which also finds out why
	// it cannot be sent, if so.
	Unsent UnaryResult = iota
	// Answered says that the call has ended well. [Unary.Answer] is the response.
	Answered
	// Unfinished says that the call has been sent, and has ended in another way or not yet. [Unary.ToClientCall]
	// has the rest of it.
	Unfinished
)

// Do makes a call. It returns when the call has been answered, when ctx ends, or when the call turns out to be none for
// a Unary. deadline and timeout are the same time, zero for none; msg may be reused.
func (u *Unary) Do(ctx context.Context, w *PreparedCall, deadline time.Time, timeout time.Duration, msg []byte) UnaryResult {
	s := w.session
	if len(msg) > min(maxLanePerCall, s.cfg.Limits.MaxMessage) {
		return Unsent
	}
	var scratch [384]byte
	head := frame.AppendPrepared(scratch[:0], w.hops, w.open, timeout)
	s.mu.Lock()
	if len(s.out.buf) > maxLane {
		s.mu.Unlock()
		return Unsent
	}
	e, err := s.startCallerLocked(deadline)
	if err != nil {
		s.mu.Unlock()
		return Unsent
	}
	e.done = ctx.Done()
	done := e.done
	u.attachLocked(e, w)
	s.reserveLaneLocked(&e.callState, len(msg))
	e.appendFrameLocked(head, &frame.Outgoing{Fields: frame.FieldData | frame.FieldCloseSend, Data: msg})
	s.flushLocked() // e may be another call's from here on
	s.mu.Unlock()
	return u.await(e, done)
}

// attachLocked lets the endpoint of a call that begins wake the Unary.
func (u *Unary) attachLocked(e *callerEndpoint, w *PreparedCall) {
	u.prepared, u.endpointSignal = w, e.readable
	u.ended.Store(false)
	e.unary, e.readable = u, u.answeredSignal
	e.users = 1
}

// await waits for the answer, or whatever else happens.
func (u *Unary) await(e *callerEndpoint, done <-chan struct{}) UnaryResult {
	select {
	case <-u.answeredSignal:
		if u.ended.Load() {
			return u.takeAnswer()
		}
	case <-done:
	}
	s := u.prepared.session
	s.mu.Lock()
	if u.ended.Load() {
		s.mu.Unlock()
		<-u.answeredSignal // which the reader gives after it has released the lock
		return u.takeAnswer()
	}
	e.unary, e.readable = nil, u.endpointSignal
	e.users--
	select {
	case <-u.answeredSignal: // which was given meanwhile: the next call must not find it
	default:
	}
	s.mu.Unlock()
	u.unfinished = e
	return Unfinished
}

// takeAnswer ends the counting of the answer as the session's memory.
func (u *Unary) takeAnswer() UnaryResult {
	if u.charged > 0 {
		u.prepared.session.addMemory(-u.charged)
		u.charged = 0
	}
	return Answered
}

// Answer returns the response of a call that was answered. It is valid until the next call.
func (u *Unary) Answer() []byte { return u.answer }

// ToClientCall makes c, a zero ClientCall, the handle of a call that is Unfinished: as one that [Session.Open] has
// prepared with o, and whose only request has been sent. It is called once, by the goroutine that called Do.
func (u *Unary) ToClientCall(ctx context.Context, o Open, c *ClientCall) {
	s := u.prepared.session
	c.prepare(ctx, o, s)
	s.mu.Lock()
	c.endpoint, c.sentAll = u.unfinished, true
	c.setPhaseLocked(callOpen)
	s.mu.Unlock()
	u.unfinished = nil
}

// completesUnaryLocked reports whether a frame is a whole answer for the endpoint's Unary, and short.
func (e *callerEndpoint) completesUnaryLocked(f *frame.Frame) bool {
	n := len(f.Data)
	return f.Fields == frame.FieldData|frame.FieldEnd && len(f.End) == 0 && !e.answered &&
		n <= min(maxLanePerCall, e.limits.MaxMessage) && (n <= smallInbox || e.s.fitsMemory(0, n))
}

// finishLocked ends the call by its answer. The signal is to follow, without the lock.
func (u *Unary) finishLocked(e *callerEndpoint, f *frame.Frame) {
	s := e.s
	u.answer = append(u.answer[:0], f.Data...)
	if n := len(f.Data); n > smallInbox {
		u.charged = n
		s.addMemory(n)
	}
	u.ended.Store(true)
	i, _ := idSlot(e.id)
	s.localCalls.release(i)
	e.readable = u.endpointSignal
	*e = callerEndpoint{stream: e.fresh()}
	s.callerPool.put(e)
}
