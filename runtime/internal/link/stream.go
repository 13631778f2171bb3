package link

import (
	"bytes"
	"context"
	"io"
	"sync"

	"connectrpc.com/connect/v2"
)

// stream is what a caller's and a handler's end have in common: a queue of what has been received, and
// at most one message on its way out. mu, the session's lock or that of a local call, guards it.
type stream struct {
	half
	mu     *sync.Mutex
	limits *Limits
	other  *stream        // the other end of a local call, nil for others
	err    *connect.Error // why nothing more can be sent or received here

	burst   int  // frames sent in a row, without a receive between
	inside  int  // how many goroutines are in send or receive
	retired bool // none will begin

	inbox     queue
	inCost    int  // of the message at the end of inbox that is not whole
	owed      int  // consumed, but not yet granted
	eof       bool // the other end sends no more
	deaf      bool // what it still sends is not wanted
	receiving bool
	readable  notice

	sending  bool // a message waits for credit or its turn:
	out      outFrame
	outHead  []byte
	cut      bool // the last one could not be sent to its end
	writable notice

	owner     assembler // this end
	fixed     int       // what the call takes besides its inbox
	charged   int       // of the session's memory
	reserved  int       // of it, for the message at the end of inbox
	starving  bool      // that message waits for memory
	since     int64     // when it began to, or the favoured one's last data came
	full      bool      // the call ends because there was none
	uncounted bool

	done <-chan struct{} // ends all waiting; nil where the end is told otherwise
	gone bool            // done was found closed
}

// assembler is an end that puts messages together.
type assembler interface {
	// giveUp ends the call if its message has waited for memory since before then. It is called without
	// the lock, as expire is.
	giveUp(s *Session, then int64)
}

func newStream(owner assembler, mu *sync.Mutex, limits *Limits) stream {
	return stream{owner: owner, mu: mu, limits: limits, readable: make(notice, 1), writable: make(notice, 1)}
}

// fresh returns the stream as it was before its first use.
func (c *stream) fresh() stream {
	return stream{owner: c.owner, mu: c.mu, limits: c.limits, readable: c.readable, writable: c.writable}
}

// notice wakes the one goroutine that waits for it, or the next one to wait.
type notice chan struct{}

// Signal gives the notice. It does not wait.
func (n notice) Signal() {
	select {
	case n <- struct{}{}:
	default:
	}
}

// wait waits for a notice, and may return without one. mu is held, but not while it waits.
func (c *stream) wait(n notice) {
	c.mu.Unlock()
	select {
	case <-n:
		c.mu.Lock()
	case <-c.done:
		c.mu.Lock()
		c.gone = true
	}
}

// idle reports whether nobody uses the stream any more. mu is held.
func (c *stream) idle() bool { return c.left() && !c.inRing }

// left reports whether nobody uses the stream any more, though it may be in the ring yet. mu is held.
func (c *stream) left() bool { return c.retired && c.inside == 0 }

// leave ends the use of the stream by a goroutine that has counted itself in. mu is held.
func (c *stream) leave(e interface{ recycle() }) {
	c.inside--
	e.recycle()
}

// take takes data that has come, or says what is wrong with it. total is how long the message is that it begins, 0
// where that is not said. mu is held.
func (c *stream) take(data []byte, more bool, total uint32) *connect.Error {
	if c.window <= 0 {
		return errWindow
	}
	cost := len(data) + dataCost
	c.window -= cost
	if c.inbox.open+len(data) > c.limits.MaxMessage || more && int64(total) > int64(c.limits.MaxMessage) {
		return c.limits.errTooLong()
	}
	if c.full = !c.mayTake(len(data), more); c.full {
		return c.s.errMemory()
	}
	if c.inbox.open == 0 && more {
		c.inbox.expected = int(total)
	}
	c.inbox.extend(data, more, c.ampleLocked(len(data)))
	c.inCost += cost
	switch {
	case !more:
		c.inbox.seal(c.inCost, false)
		c.inCost = 0
		c.readable.Signal()
	case c.receiving:
		c.assemble()
	}
	c.count()
	return nil
}

// assemble gives the window back for what has come of a message that is not whole, where there is memory for
// the rest: a message that is longer than the window comes in as its receiver waits for it. It reports
// whether there is something to write. mu is held.
func (c *stream) assemble() bool {
	if n := c.owed + c.inCost; c.other == nil && !c.eof && 2*n >= c.limits.Window && !c.mayGoOn(n) {
		return false
	}
	n := c.inCost
	c.inCost = 0
	return c.consumed(n)
}

// consumed gives n bytes of the window back once that is worth a frame. It reports whether there is
// something to write. mu is held.
func (c *stream) consumed(n int) bool {
	if c.other != nil {
		c.window += n
		c.other.writable.Signal()
		return false
	}
	c.owed += n
	if c.eof || 2*c.owed < c.limits.Window {
		return false
	}
	c.s.out.buf = appendWindow(c.s.out.buf, c.id, c.owed)
	c.window += c.owed
	c.owed = 0
	return true
}

// credited adds to the credit and lets a message that waits for it go on. mu is held.
func (c *stream) credited(n uint32, e callEnd) *connect.Error {
	if !mayGrant(c.credit, n) {
		return connect.NewError(connect.CodeResourceExhausted, "too much credit")
	}
	c.credit += int(n)
	if c.sending && c.credit > 0 {
		c.s.out.ring.push(e)
	}
	return nil
}

// receive returns the next message, or io.EOF or err at the end. mu is held, but not while it waits.
func (c *stream) receive() ([]byte, error) {
	c.inbox.release()
	c.count()
	c.burst = 0
	for {
		granted := false
		switch {
		case c.err != nil:
			return nil, c.err
		case c.deaf:
			return nil, errDeaf
		case c.gone:
			return nil, errGone
		case !c.inbox.empty():
			msg, r := c.inbox.next()
			if c.consumed(r.cost) {
				c.s.flush()
			}
			return msg, nil
		case c.eof:
			return nil, io.EOF
		case c.inCost > 0:
			granted = c.assemble()
		}
		if granted {
			c.s.flush()
			continue
		}
		c.receiving = true
		c.wait(c.readable)
		c.receiving = false
	}
}

// longBurst is how many frames in a row an end writes itself. One that goes on leaves them to the writer
// and adds to the packet meanwhile.
const longBurst = 4

// send sends a frame and returns when it is in a packet or the call is over; it reports which. Frames
// without data are never held up. mu is held, but not while it waits.
func (c *stream) send(e callEnd, head []byte, f *outFrame) bool {
	if c.other != nil {
		return c.sendLocal(f)
	}
	s := c.s
	if !f.hasData || c.credit > 0 && s.room(&c.half, len(f.data)) {
		c.emit(head, f)
		if c.burst++; c.burst > longBurst {
			s.wakeWriter()
		} else {
			s.flush()
		}
		return true
	}
	c.putLocked(head, f)
	if c.credit > 0 {
		s.out.ring.push(e)
	}
	for c.sending && !c.gone {
		if s.trier != nil && c.inRing && s.mayFlush() && s.bulkReady() {
			s.flush()
		} else {
			s.wakeWriter()
			c.wait(c.writable)
		}
	}
	return !c.cut && !c.gone
}

// post is send for one who does not wait, nor flush: a frame for which there is no room goes out later, and
// its data must stay as it is until the call is over. mu is held.
func (c *stream) post(e callEnd, head []byte, f *outFrame) {
	if c.other != nil {
		c.postLocal(f)
		return
	}
	if c.credit > 0 && c.s.room(&c.half, len(f.data)) {
		c.emit(head, f)
		return
	}
	c.putLocked(head, f)
	if c.credit > 0 {
		c.s.out.ring.push(e)
	}
}

// putLocked makes a frame the one that waits.
func (c *stream) putLocked(head []byte, f *outFrame) {
	c.out, c.outHead = *f, bytes.Clone(head)
	if len(f.data) > maxData {
		c.out.total = len(f.data)
	}
	c.sending, c.cut = true, false
}

// emit puts a frame into the packet. mu is held.
func (c *stream) emit(head []byte, f *outFrame) {
	o := &c.s.out
	if c.opened == 0 && c.s.owns(c.id) {
		c.noteOpen()
	}
	if f.hasData {
		c.credit -= len(f.data) + dataCost
	}
	o.buf = f.appendTo(o.buf, c.id, head)
}

// pullChunk puts the next chunk of the message that waits into the packet. mu is held.
func (c *stream) pullChunk(e callEnd) {
	if !c.sending || c.credit <= 0 {
		return
	}
	f := c.out
	if len(f.data) <= maxData {
		c.emit(c.outHead, &f)
		c.stopSending()
		return
	}
	f.data, f.more, f.closeSend, f.hasEnd = f.data[:maxData], true, false, false
	c.emit(c.outHead, &f)
	c.outHead, c.out.data, c.out.total = nil, c.out.data[maxData:], 0
	if c.credit > 0 {
		c.s.out.ring.push(e)
	}
}

// stopSending forgets the message that waits. mu is held.
func (c *stream) stopSending() {
	c.out, c.outHead, c.sending = outFrame{}, nil, false
	c.writable.Signal()
}

// stop ends all waiting at this end. mu is held.
func (c *stream) stop() {
	c.cut = c.sending
	c.stopSending()
	c.feed()
	c.readable.Signal()
}

var (
	errDeaf = connect.NewError(connect.CodeCanceled, "the handler receives no more").WithCause(context.Canceled)
	errGone = connect.NewError(connect.CodeCanceled, "nobody waits any more")
)

var errWindow = connect.NewError(connect.CodeResourceExhausted, "link: more data than the window allows")

var errSending = connect.NewError(connect.CodeInternal, "two goroutines send at once: use Send from one at a time")
