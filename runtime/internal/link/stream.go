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
	callState
	mu        *sync.Mutex
	limits    *Limits
	localPeer *stream        // the other end of a local call, nil for others
	err       *connect.Error // why nothing more can be sent or received here

	burst    int  // frames sent in a row, without a receive between
	users    int  // how many goroutines are in send or receive
	released bool // none will begin

	inbox       queue
	partialCost int  // of the message at the end of inbox that is not whole
	ungranted   int  // consumed, but not yet granted
	recvClosed  bool // the other end sends no more
	recvStopped bool // what it still sends is not wanted
	recvWaiting bool
	readable    signal

	sending     bool // a message waits for credit or its turn:
	pending     outFrame
	pendingHead []byte
	aborted     bool // the last one could not be sent to its end
	writable    signal

	owner           memoryWaiter // this end
	overhead        int          // what the call takes besides its inbox
	charged         int          // of the session's memory
	reserved        int          // of it, for the message at the end of inbox
	memoryWaiting   bool         // that message waits for memory
	waitingSince    int64        // when it began to, or the favoured one's last data came
	memoryExhausted bool         // the call ends because there was none
	memoryReleased  bool

	done    <-chan struct{} // ends all waiting; nil where the end is told otherwise
	ctxDone bool            // done was found closed
}

// memoryWaiter is an end that puts messages together.
type memoryWaiter interface {
	// memoryWaitExpired ends the call if its message has waited for memory since before then. It is called without
	// the lock, as expire is.
	memoryWaitExpired(s *Session, then int64)
}

func newStream(owner memoryWaiter, mu *sync.Mutex, limits *Limits) stream {
	return stream{owner: owner, mu: mu, limits: limits, readable: make(signal, 1), writable: make(signal, 1)}
}

// fresh returns the stream as it was before its first use.
func (c *stream) fresh() stream {
	return stream{owner: c.owner, mu: c.mu, limits: c.limits, readable: c.readable, writable: c.writable}
}

// signal wakes the one goroutine that waits for it, or the next one to wait.
type signal chan struct{}

// Signal gives the notice. It does not wait.
func (n signal) Signal() {
	select {
	case n <- struct{}{}:
	default:
	}
}

// waitLocked waits for a notice, and may return without one. mu is held, but not while it waits.
func (c *stream) waitLocked(n signal) {
	c.mu.Unlock()
	select {
	case <-n:
		c.mu.Lock()
	case <-c.done:
		c.mu.Lock()
		c.ctxDone = true
	}
}

// idleLocked reports whether nobody uses the stream any more. mu is held.
func (c *stream) idleLocked() bool { return c.unusedLocked() && !c.scheduled }

// unusedLocked reports whether nobody uses the stream any more, though it may be in the ring yet. mu is held.
func (c *stream) unusedLocked() bool { return c.released && c.users == 0 }

// leaveLocked ends the use of the stream by a goroutine that has counted itself in. mu is held.
func (c *stream) leaveLocked(e interface{ recycleLocked() }) {
	c.users--
	e.recycleLocked()
}

// receiveDataLocked takes data that has come, or says what is wrong with it. total is how long the message is that it begins, 0
// where that is not said. mu is held.
func (c *stream) receiveDataLocked(data []byte, more bool, total uint32) *connect.Error {
	if c.recvWindow <= 0 {
		return errWindowExceeded
	}
	cost := len(data) + dataCost
	c.recvWindow -= cost
	if c.inbox.partial+len(data) > c.limits.MaxMessage || more && int64(total) > int64(c.limits.MaxMessage) {
		return c.limits.errTooLong()
	}
	if c.memoryExhausted = !c.canBufferLocked(len(data), more); c.memoryExhausted {
		return c.s.errMemory()
	}
	if c.inbox.partial == 0 && more {
		c.inbox.announced = int(total)
	}
	c.inbox.append(data, more, c.memoryAmpleLocked(len(data)))
	c.partialCost += cost
	switch {
	case !more:
		c.inbox.endRecord(c.partialCost, false)
		c.partialCost = 0
		c.readable.Signal()
	case c.recvWaiting:
		c.grantPartialLocked()
	}
	c.updateChargeLocked()
	return nil
}

// grantPartialLocked gives the window back for what has come of a message that is not whole, where there is memory for
// the rest: a message that is longer than the window comes in as its receiver waits for it. It reports
// whether there is something to write. mu is held.
func (c *stream) grantPartialLocked() bool {
	if n := c.ungranted + c.partialCost; c.localPeer == nil && !c.recvClosed && 2*n >= c.limits.Window && !c.reserveForMessageLocked(n) {
		return false
	}
	n := c.partialCost
	c.partialCost = 0
	return c.consumeLocked(n)
}

// consumeLocked gives n bytes of the window back once that is worth a frame. It reports whether there is
// something to write. mu is held.
func (c *stream) consumeLocked(n int) bool {
	if c.localPeer != nil {
		c.recvWindow += n
		c.localPeer.writable.Signal()
		return false
	}
	c.ungranted += n
	if c.recvClosed || 2*c.ungranted < c.limits.Window {
		return false
	}
	c.s.out.buf = appendWindow(c.s.out.buf, c.id, c.ungranted)
	c.recvWindow += c.ungranted
	c.ungranted = 0
	return true
}

// addSendWindowLocked adds to the credit and lets a message that waits for it go on. mu is held.
func (c *stream) addSendWindowLocked(n uint32, e endpoint) *connect.Error {
	if !windowFits(c.sendWindow, n) {
		return connect.NewError(connect.CodeResourceExhausted, "too much credit")
	}
	c.sendWindow += int(n)
	if c.sending && c.sendWindow > 0 {
		c.s.out.bulk.push(e)
	}
	return nil
}

// receiveLocked returns the next message, or io.EOF or err at the end. mu is held, but not while it waits.
func (c *stream) receiveLocked() ([]byte, error) {
	c.inbox.release()
	c.updateChargeLocked()
	c.burst = 0
	for {
		granted := false
		switch {
		case c.err != nil:
			return nil, c.err
		case c.recvStopped:
			return nil, errRecvStopped
		case c.ctxDone:
			return nil, errCtxDone
		case !c.inbox.empty():
			msg, r := c.inbox.pop()
			if c.consumeLocked(r.cost) {
				c.s.flushLocked()
			}
			return msg, nil
		case c.recvClosed:
			return nil, io.EOF
		case c.partialCost > 0:
			granted = c.grantPartialLocked()
		}
		if granted {
			c.s.flushLocked()
			continue
		}
		c.recvWaiting = true
		c.waitLocked(c.readable)
		c.recvWaiting = false
	}
}

// longBurst is how many frames in a row an end writes itself. One that goes on leaves them to the writer
// and adds to the packet meanwhile.
const longBurst = 4

// sendLocked sends a frame and returns when it is in a packet or the call is over; it reports which. Frames
// without data are never held up. mu is held, but not while it waits.
func (c *stream) sendLocked(e endpoint, head []byte, f *outFrame) bool {
	if c.localPeer != nil {
		return c.sendLocalLocked(f)
	}
	s := c.s
	if !f.hasData || c.sendWindow > 0 && s.reserveLaneLocked(&c.callState, len(f.data)) {
		c.appendFrameLocked(head, f)
		if c.burst++; c.burst > longBurst {
			s.wakeWriterLocked()
		} else {
			s.flushLocked()
		}
		return true
	}
	c.setPendingLocked(head, f)
	if c.sendWindow > 0 {
		s.out.bulk.push(e)
	}
	for c.sending && !c.ctxDone {
		if s.nonblocking != nil && c.scheduled && s.canFlushLocked() && s.bulkReadyLocked() {
			s.flushLocked()
		} else {
			s.wakeWriterLocked()
			c.waitLocked(c.writable)
		}
	}
	return !c.aborted && !c.ctxDone
}

// sendAsyncLocked is send for one who does not wait, nor flush: a frame for which there is no room goes out later, and
// its data must stay as it is until the call is over. mu is held.
func (c *stream) sendAsyncLocked(e endpoint, head []byte, f *outFrame) {
	if c.localPeer != nil {
		c.sendLocalAsyncLocked(f)
		return
	}
	if c.sendWindow > 0 && c.s.reserveLaneLocked(&c.callState, len(f.data)) {
		c.appendFrameLocked(head, f)
		return
	}
	c.setPendingLocked(head, f)
	if c.sendWindow > 0 {
		c.s.out.bulk.push(e)
	}
}

// setPendingLocked makes a frame the one that waits.
func (c *stream) setPendingLocked(head []byte, f *outFrame) {
	c.pending, c.pendingHead = *f, bytes.Clone(head)
	if len(f.data) > maxData {
		c.pending.total = len(f.data)
	}
	c.sending, c.aborted = true, false
}

// appendFrameLocked puts a frame into the packet. mu is held.
func (c *stream) appendFrameLocked(head []byte, f *outFrame) {
	o := &c.s.out
	if c.openPacket == 0 && c.s.isLocal(c.id) {
		c.noteOpenLocked()
	}
	if f.hasData {
		c.sendWindow -= len(f.data) + dataCost
	}
	o.buf = f.appendTo(o.buf, c.id, head)
}

// appendChunkLocked puts the next chunk of the message that waits into the packet. mu is held.
func (c *stream) appendChunkLocked(e endpoint) {
	if !c.sending || c.sendWindow <= 0 {
		return
	}
	f := c.pending
	if len(f.data) <= maxData {
		c.appendFrameLocked(c.pendingHead, &f)
		c.clearPendingLocked()
		return
	}
	f.data, f.more, f.closeSend, f.hasEnd = f.data[:maxData], true, false, false
	c.appendFrameLocked(c.pendingHead, &f)
	c.pendingHead, c.pending.data, c.pending.total = nil, c.pending.data[maxData:], 0
	if c.sendWindow > 0 {
		c.s.out.bulk.push(e)
	}
}

// clearPendingLocked forgets the message that waits. mu is held.
func (c *stream) clearPendingLocked() {
	c.pending, c.pendingHead, c.sending = outFrame{}, nil, false
	c.writable.Signal()
}

// stopLocked ends all waiting at this end. mu is held.
func (c *stream) stopLocked() {
	c.aborted = c.sending
	c.clearPendingLocked()
	c.stopWaitingForMemoryLocked()
	c.readable.Signal()
}

var (
	errRecvStopped = connect.NewError(connect.CodeCanceled, "the handler receives no more").WithCause(context.Canceled)
	errCtxDone     = connect.NewError(connect.CodeCanceled, "nobody waits any more")
)

var errWindowExceeded = connect.NewError(connect.CodeResourceExhausted, "link: more data than the window allows")

var errConcurrentSend = connect.NewError(connect.CodeInternal, "two goroutines send at once: use Send from one at a time")
