package link

import (
	"context"
	"sync/atomic"
	"time"
)

// PreparedCall is what the calls of one function over a session have in common, ready to be sent. It may be used
// concurrently.
type PreparedCall struct {
	session *Session
	hops    uint32
	open    []byte // the body of an Open, but for the timeout
}

// Prepare returns the way of calls as o has them, of which only what tells the function and its caller counts. It
// fails as opening such a call does.
func (s *Session) Prepare(o *Open) (*PreparedCall, error) {
	if _, err := o.check(&s.cfg.Limits); err != nil {
		return nil, err
	}
	return &PreparedCall{session: s, hops: o.Hops, open: o.Caller.appendTo(o.appendCallee(nil))}, nil
}

// appendTo appends hops and open, as fields of Frame. The timeout, which is another each time, comes last.
func (w *PreparedCall) appendTo(b []byte, timeout time.Duration) []byte {
	b = appendOpenTag(b, w.hops, len(w.open)+sizeTimeout(timeout))
	b = append(b, w.open...)
	return appendTimeout(b, timeout)
}

// Unary makes calls with one short request and one response, one at a time: it sends all in one go, and the
// session's reader ends the call by itself when it has the answer, so that its caller needs no lock when it wakes.
// That is for a call on which nothing out of the ordinary happens; any other goes on as a [ClientCall].
type Unary struct {
	prepared       *PreparedCall
	answer         []byte          // the response
	charged        int             // of the session's memory, by answer
	ended          atomic.Bool     // the reader has ended the call well, or is about to give the notice
	answeredSignal signal          // wakes the caller, in the place of own
	endpointSignal signal          // the end's
	unfinished     *callerEndpoint // of a call that goes on
}

// NewUnary returns a Unary that is ready for a call.
func NewUnary() *Unary { return &Unary{answeredSignal: make(signal, 1)} }

// UnaryResult is how far a [Unary] has come with a call.
type UnaryResult uint8

const (
	// Unsent says that nothing has been done: the call has to be made in another way, which also tells what
	// is in the way of this one.
	Unsent UnaryResult = iota
	// Answered says that the call has ended well. [Unary.Answer] is the response.
	Answered
	// Unfinished says that the call has been sent, and has ended in another way or not yet. [Unary.GoOn] has the
	// rest of it.
	Unfinished
)

// Do makes a call on its way w. It returns when the call has been answered, when ctx ends or when the call turns out
// to be none for a Unary. deadline and timeout say the same, zero for none; msg may be reused.
func (u *Unary) Do(ctx context.Context, w *PreparedCall, deadline time.Time, timeout time.Duration, msg []byte) UnaryResult {
	s := w.session
	if len(msg) > min(maxLanePerCall, s.cfg.Limits.MaxMessage) {
		return Unsent
	}
	var scratch [384]byte
	head := w.appendTo(scratch[:0], timeout)
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
	e.appendFrameLocked(head, &outFrame{hasData: true, data: msg, closeSend: true})
	s.flushLocked() // e may be another call's from here on
	s.mu.Unlock()
	return u.await(e, done)
}

// attachLocked has the end of a call that begins wake the Unary.
func (u *Unary) attachLocked(e *callerEndpoint, w *PreparedCall) {
	u.prepared, u.endpointSignal = w, e.readable
	u.ended.Store(false)
	e.unary, e.readable = u, u.answeredSignal
	e.users = 1
}

// await waits for the answer, or anything else that happens.
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
		<-u.answeredSignal // which the reader gives without the lock
		return u.takeAnswer()
	}
	e.unary, e.readable = nil, u.endpointSignal
	e.users--
	select {
	case <-u.answeredSignal: // given meanwhile, and none of the next call's
	default:
	}
	s.mu.Unlock()
	u.unfinished = e
	return Unfinished
}

// takeAnswer takes the answer out of the session's hands.
func (u *Unary) takeAnswer() UnaryResult {
	if u.charged > 0 {
		u.prepared.session.addMemory(-u.charged)
		u.charged = 0
	}
	return Answered
}

// Answer returns the response of a call that was answered. It is valid until the next call.
func (u *Unary) Answer() []byte { return u.answer }

// ToClientCall makes c, a zero ClientCall, of a call that goes on: one as [Session.OpenAs] prepares with o, whose only request
// has been sent. It is called once, by the goroutine that called Do.
func (u *Unary) ToClientCall(ctx context.Context, o Open, c *ClientCall) {
	s := u.prepared.session
	c.open, c.ctx, c.s, c.limits, c.mu = o, ctx, s, &s.cfg.Limits, &s.mu
	s.mu.Lock()
	c.endpoint, c.sentAll = u.unfinished, true
	c.opened.Store(true)
	s.mu.Unlock()
	u.unfinished = nil
}

// completesUnaryLocked reports whether a frame is all that there is to say to the end's Unary, and short.
func (e *callerEndpoint) completesUnaryLocked(f *frame) bool {
	n := len(f.data)
	return f.has == hasData|hasEnd && !f.more && len(f.end) == 0 && !e.answered &&
		n <= min(maxLanePerCall, e.limits.MaxMessage) && (n <= smallInbox || e.s.fitsMemory(0, n))
}

// finishLocked ends the call by its answer. The notice is still to be given.
func (u *Unary) finishLocked(e *callerEndpoint, f *frame) {
	s := e.s
	u.answer = append(u.answer[:0], f.data...)
	if n := len(f.data); n > smallInbox {
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
