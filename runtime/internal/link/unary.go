package link

import (
	"context"
	"sync/atomic"
	"time"
)

// Way is what the calls of one function over a session have in common, ready to be sent. It may be used
// concurrently.
type Way struct {
	s    *Session
	hops uint32
	open []byte // the body of an Open, but for the timeout
}

// NewWay returns the way of calls as o has them, of which only what tells the function and its caller counts. It
// fails as opening such a call does.
func (s *Session) NewWay(o *Open) (*Way, error) {
	if _, err := o.check(&s.cfg.Limits); err != nil {
		return nil, err
	}
	return &Way{s: s, hops: o.Hops, open: o.Caller.appendTo(o.appendCallee(nil))}, nil
}

// appendTo appends hops and open, as fields of Frame. The timeout, which is another each time, comes last.
func (w *Way) appendTo(b []byte, timeout time.Duration) []byte {
	b = appendOpenTag(b, w.hops, len(w.open)+sizeTimeout(timeout))
	b = append(b, w.open...)
	return appendTimeout(b, timeout)
}

// Unary makes calls with one short request and one response, one at a time: it sends all in one go, and the
// session's reader ends the call by itself when it has the answer, so that its caller needs no lock when it wakes.
// That is for a call on which nothing out of the ordinary happens; any other goes on as a [ClientCall].
type Unary struct {
	w      *Way
	answer []byte      // the response
	held   int         // of the session's memory, by answer
	ended  atomic.Bool // the reader has ended the call well, or is about to give the notice
	notice notice      // wakes the caller, in the place of own
	own    notice      // the end's
	end    *callerEnd  // of a call that goes on
}

// NewUnary returns a Unary that is ready for a call.
func NewUnary() *Unary { return &Unary{notice: make(notice, 1)} }

// Progress is how far a [Unary] has come with a call.
type Progress uint8

const (
	// Unsent says that nothing has been done: the call has to be made in another way, which also tells what
	// is in the way of this one.
	Unsent Progress = iota
	// Answered says that the call has ended well. [Unary.Answer] is the response.
	Answered
	// GoesOn says that the call has been sent, and has ended in another way or not yet. [Unary.GoOn] has the
	// rest of it.
	GoesOn
)

// Do makes a call on its way w. It returns when the call has been answered, when ctx ends or when the call turns out
// to be none for a Unary. deadline and timeout say the same, zero for none; msg may be reused.
func (u *Unary) Do(ctx context.Context, w *Way, deadline time.Time, timeout time.Duration, msg []byte) Progress {
	s := w.s
	if len(msg) > min(laneShare, s.cfg.Limits.MaxMessage) {
		return Unsent
	}
	var scratch [384]byte
	head := w.appendTo(scratch[:0], timeout)
	s.mu.Lock()
	if len(s.out.buf) > laneLimit {
		s.mu.Unlock()
		return Unsent
	}
	e, err := s.startCaller(deadline)
	if err != nil {
		s.mu.Unlock()
		return Unsent
	}
	e.done = ctx.Done()
	done := e.done
	u.takeLocked(e, w)
	s.room(&e.half, len(msg))
	e.emit(head, &outFrame{hasData: true, data: msg, closeSend: true})
	s.flush() // e may be another call's from here on
	s.mu.Unlock()
	return u.await(e, done)
}

// takeLocked has the end of a call that begins wake the Unary.
func (u *Unary) takeLocked(e *callerEnd, w *Way) {
	u.w, u.own = w, e.readable
	u.ended.Store(false)
	e.unary, e.readable = u, u.notice
	e.inside = 1
}

// await waits for the answer, or anything else that happens.
func (u *Unary) await(e *callerEnd, done <-chan struct{}) Progress {
	select {
	case <-u.notice:
		if u.ended.Load() {
			return u.answered()
		}
	case <-done:
	}
	s := u.w.s
	s.mu.Lock()
	if u.ended.Load() {
		s.mu.Unlock()
		<-u.notice // which the reader gives without the lock
		return u.answered()
	}
	e.unary, e.readable = nil, u.own
	e.inside--
	select {
	case <-u.notice: // given meanwhile, and none of the next call's
	default:
	}
	s.mu.Unlock()
	u.end = e
	return GoesOn
}

// answered takes the answer out of the session's hands.
func (u *Unary) answered() Progress {
	if u.held > 0 {
		u.w.s.use(-u.held)
		u.held = 0
	}
	return Answered
}

// Answer returns the response of a call that was answered. It is valid until the next call.
func (u *Unary) Answer() []byte { return u.answer }

// GoOn makes c, a zero ClientCall, of a call that goes on: one as [Session.OpenAs] prepares with o, whose only request
// has been sent. It is called once, by the goroutine that called Do.
func (u *Unary) GoOn(ctx context.Context, o Open, c *ClientCall) {
	s := u.w.s
	c.open, c.ctx, c.s, c.limits, c.mu = o, ctx, s, &s.cfg.Limits, &s.mu
	s.mu.Lock()
	c.end, c.sentAll = u.end, true
	c.opened.Store(true)
	s.mu.Unlock()
	u.end = nil
}

// answersLocked reports whether a frame is all that there is to say to the end's Unary, and short.
func (e *callerEnd) answersLocked(f *frame) bool {
	n := len(f.data)
	return f.has == hasData|hasEnd && !f.more && len(f.end) == 0 && !e.answered &&
		n <= min(laneShare, e.limits.MaxMessage) && (n <= smallInbox || e.s.fits(0, n))
}

// finishLocked ends the call by its answer. The notice is still to be given.
func (u *Unary) finishLocked(e *callerEnd, f *frame) {
	s := e.s
	u.answer = append(u.answer[:0], f.data...)
	if n := len(f.data); n > smallInbox {
		u.held = n
		s.use(n)
	}
	u.ended.Store(true)
	i, _ := idSlot(e.id)
	s.own.release(i)
	e.readable = u.own
	*e = callerEnd{stream: e.fresh()}
	s.spareCallers.put(e)
}
