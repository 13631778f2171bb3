package link

import (
	"bytes"
	"context"
	"io"
	"sync"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// stream is what a caller's and a handler's endpoint have in common: a queue of what has been received, and
// at most one message on its way out. mu, the session's lock or that of a local call, guards it.
type stream struct {
	callState
	mu        *sync.Mutex
	limits    *Limits
	localPeer *stream        // the other endpoint of a local call, nil for others
	err       *connect.Error // why nothing more can be sent or received here

	burst    int  // frames sent in a row, without a receive between
	users    int  // how many goroutines are in send or receive
	released bool // none will begin

	recv        recvState
	recvWaiting bool // a goroutine waits for a message
	inbox       queue
	partialCost int // of the message at the end of inbox that is not whole
	ungranted   int // consumed, but not yet granted
	readable    signal

	send        sendState
	pending     frame.Outgoing // the message that waits, with sendPending
	pendingHead []byte
	writable    signal

	owner        memoryWaiter // this endpoint
	mem          memState
	overhead     int   // what the call takes besides its inbox
	charged      int   // of the session's memory
	reserved     int   // of it, for the message at the end of inbox
	waitingSince int64 // when memWaiting began, or the exceeder's last data came

	done    <-chan struct{} // ends all waiting; nil where the endpoint is told otherwise
	ctxDone bool            // done was found closed
}

// recvState is the state of the receiving half of a stream. As in RFC 9000, section 3.2, that the receiver has stopped
// does not end what the sender sends.
//
//	            the last message came
//	recvOpen ───────────────────────────► recvClosed
//	   │                                      │
//	   │ StopReceiving                        │ StopReceiving
//	   ▼        the last message came         ▼
//	recvStopped ────────────────────────► recvStoppedClosed
type recvState uint8

const (
	recvOpen recvState = iota
	recvClosed
	recvStopped
	recvStoppedClosed
)

// closed reports whether the other endpoint sends no more.
func (r recvState) closed() bool { return r == recvClosed || r == recvStoppedClosed }

// stopped reports whether this endpoint receives no more.
func (r recvState) stopped() bool { return r == recvStopped || r == recvStoppedClosed }

func (r *recvState) close() {
	if r.stopped() {
		*r = recvStoppedClosed
		return
	}
	*r = recvClosed
}

func (r *recvState) stop() {
	if r.closed() {
		*r = recvStoppedClosed
		return
	}
	*r = recvStopped
}

// sendState is the state of the sending half of a stream.
//
//	          has to wait for window or its turn
//	sendIdle ───────────────────────────────────► sendPending
//	    ▲                                          │      │
//	    │ all of it is in packets                  │      │ the call is over
//	    └──────────────────────────────────────────┘      ▼
//	                                                 sendAborted
type sendState uint8

const (
	sendIdle    sendState = iota
	sendPending           // a message waits
	sendAborted           // the last message could not be sent to its end
)

// memState is how a stream stands with its session's memory.
//
//	            none for the rest of a message
//	memCounted ────────────────────────────────► memWaiting
//	   │   ▲                                        │   │
//	   │   └────────────────────────────────────────┘   │ has waited for too long
//	   │ none for what has come    some is free         ▼
//	   └──────────────────────────────────────────► memExhausted
//
// From each of these it goes to memReleased, when the call is over or out of the session's hands.
type memState uint8

const (
	memCounted memState = iota
	memWaiting
	memExhausted // the call ends because there was none
	memReleased
)

// memoryWaiter is an endpoint whose messages may have to wait for memory.
type memoryWaiter interface {
	// memoryWaitExpired ends the call if its message has waited for memory since before then, a time on the session's
	// clock. It is called without the lock, as expire is.
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

// Signal gives the signal. It does not wait.
func (n signal) Signal() {
	select {
	case n <- struct{}{}:
	default:
	}
}

// waitLocked waits for a signal or the end of done, and may return without either. It releases the lock while it waits.
func (c *stream) waitLocked(n signal) {
	over := false
	c.mu.Unlock() // lock: to be taken again
	select {
	case <-n:
	case <-c.done:
		over = true
	}
	c.mu.Lock() // lock: as it was
	c.ctxDone = c.ctxDone || over
}

// idleLocked reports whether nothing refers to the stream any more.
func (c *stream) idleLocked() bool { return c.unusedLocked() && !c.scheduled }

// unusedLocked reports whether no goroutine uses the stream any more; it may still be among those whose bulk waits.
func (c *stream) unusedLocked() bool { return c.released && c.users == 0 }

// leaveLocked ends the use of the stream by a goroutine that has counted itself in users.
func (c *stream) leaveLocked(e interface{ recycleLocked() }) {
	c.users--
	e.recycleLocked()
}

// receiveDataLocked adds data that has come to the inbox, or says what is wrong with it. total is the length of the
// message that it begins, 0 where the peer does not say it.
func (c *stream) receiveDataLocked(data []byte, more bool, total uint32) *connect.Error {
	if c.recvWindow <= 0 {
		return errWindowExceeded
	}
	cost := len(data) + frame.DataCost
	c.recvWindow -= cost
	if c.inbox.partial+len(data) > c.limits.MaxMessage || more && int64(total) > int64(c.limits.MaxMessage) {
		return c.limits.errTooLong()
	}
	if !c.canBufferLocked(len(data), more) {
		c.exhaustMemoryLocked()
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

// grantPartialLocked grants the receive window again for what has come of a message that is not whole, where there is
// memory for the rest: so a message may be longer than the window while its receiver waits for it. It reports whether
// there is something to write.
func (c *stream) grantPartialLocked() bool {
	total := c.ungranted + c.partialCost
	worthIt := c.localPeer == nil && !c.recv.closed() && 2*total >= c.limits.Window
	if worthIt && !c.reserveForMessageLocked(total) {
		return false
	}
	n := c.partialCost
	c.partialCost = 0
	return c.consumeLocked(n)
}

// consumeLocked grants n bytes of the receive window again once that is worth a frame. It reports whether there is
// something to write.
func (c *stream) consumeLocked(n int) bool {
	if c.localPeer != nil {
		c.recvWindow += n
		c.localPeer.writable.Signal()
		return false
	}
	c.ungranted += n
	if c.recv.closed() || 2*c.ungranted < c.limits.Window {
		return false
	}
	c.s.out.buf = frame.AppendWindow(c.s.out.buf, c.id, c.ungranted)
	c.recvWindow += c.ungranted
	c.ungranted = 0
	return true
}

// addSendWindowLocked adds to the send window, and lets a message that waits for it go on.
func (c *stream) addSendWindowLocked(n uint32, e endpoint) *connect.Error {
	if !frame.WindowFits(c.sendWindow, n) {
		return connect.NewError(connect.CodeResourceExhausted, "too much credit")
	}
	c.sendWindow += int(n)
	if c.send == sendPending && c.sendWindow > 0 {
		c.s.out.bulk.push(e)
	}
	return nil
}

// receiveLocked returns the next message, or at the end io.EOF or another error. It releases the lock while it waits.
func (c *stream) receiveLocked() ([]byte, error) {
	c.inbox.release()
	c.updateChargeLocked()
	c.burst = 0
	for {
		granted := false
		switch {
		case c.err != nil:
			return nil, c.err
		case c.recv.stopped():
			return nil, errRecvStopped
		case c.ctxDone:
			return nil, errCtxDone
		case !c.inbox.empty():
			msg, r := c.inbox.pop()
			if c.consumeLocked(r.cost) {
				c.s.flushLocked()
			}
			return msg, nil
		case c.recv.closed():
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

// longBurst is how many frames in a row an endpoint writes itself. With more it leaves them to the writer, and adds to
// the packet meanwhile.
const longBurst = 4

// sendLocked sends a frame and returns when it is in a packet or the call is over; it reports which. A frame without
// data never waits. It releases the lock while it waits.
func (c *stream) sendLocked(e endpoint, head []byte, f *frame.Outgoing) bool {
	if c.localPeer != nil {
		return c.sendLocalLocked(f)
	}
	s := c.s
	if !f.Has(frame.FieldData) || c.sendWindow > 0 && s.reserveLaneLocked(&c.callState, len(f.Data)) {
		c.appendFrameLocked(head, f)
		c.burst++
		if c.burst > longBurst {
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
	for c.send == sendPending && !c.ctxDone {
		if s.nonblocking != nil && c.scheduled && s.canFlushLocked() && s.bulkReadyLocked() {
			s.flushLocked()
		} else {
			s.wakeWriterLocked()
			c.waitLocked(c.writable)
		}
	}
	return c.send != sendAborted && !c.ctxDone
}

// sendAsyncLocked is sendLocked without waiting or flushing: a frame for which there is no room goes out later, and its
// data must stay as it is until the call is over.
func (c *stream) sendAsyncLocked(e endpoint, head []byte, f *frame.Outgoing) {
	if c.localPeer != nil {
		c.sendLocalAsyncLocked(f)
		return
	}
	if c.sendWindow > 0 && c.s.reserveLaneLocked(&c.callState, len(f.Data)) {
		c.appendFrameLocked(head, f)
		return
	}
	c.setPendingLocked(head, f)
	if c.sendWindow > 0 {
		c.s.out.bulk.push(e)
	}
}

// setPendingLocked makes a frame the one that waits.
func (c *stream) setPendingLocked(head []byte, f *frame.Outgoing) {
	c.pending, c.pendingHead = *f, bytes.Clone(head)
	if len(f.Data) > frame.MaxData {
		c.pending.Total = len(f.Data)
	}
	c.send = sendPending
}

// appendFrameLocked puts a frame into the packet.
func (c *stream) appendFrameLocked(head []byte, f *frame.Outgoing) {
	o := &c.s.out
	if c.openPacket == 0 && c.s.isLocal(c.id) {
		c.noteOpenLocked()
	}
	if f.Has(frame.FieldData) {
		c.sendWindow -= len(f.Data) + frame.DataCost
	}
	o.buf = f.AppendTo(o.buf, c.id, head)
}

// appendChunkLocked puts the next chunk of the message that waits into the packet.
func (c *stream) appendChunkLocked(e endpoint) {
	if c.send != sendPending || c.sendWindow <= 0 {
		return
	}
	f := c.pending
	if len(f.Data) <= frame.MaxData {
		c.appendFrameLocked(c.pendingHead, &f)
		c.clearPendingLocked()
		return
	}
	f.Data, f.Fields = f.Data[:frame.MaxData], frame.FieldData|frame.FieldMore
	c.appendFrameLocked(c.pendingHead, &f)
	c.pendingHead = nil
	c.pending.Data = c.pending.Data[frame.MaxData:]
	c.pending.Total = 0
	if c.sendWindow > 0 {
		c.s.out.bulk.push(e)
	}
}

// clearPendingLocked notes that all of the message that waited is in packets.
func (c *stream) clearPendingLocked() {
	c.pending, c.pendingHead = frame.Outgoing{}, nil
	c.send = sendIdle
	c.writable.Signal()
}

// stopLocked ends all waiting at this endpoint.
func (c *stream) stopLocked() {
	if c.send == sendPending {
		c.abortSendingLocked()
	}
	c.stopWaitingForMemoryLocked()
	c.readable.Signal()
	c.writable.Signal()
}

// abortSendingLocked drops the message that waits.
func (c *stream) abortSendingLocked() {
	c.pending, c.pendingHead = frame.Outgoing{}, nil
	c.send = sendAborted
}

var (
	errRecvStopped = connect.NewError(connect.CodeCanceled, "the handler receives no more").WithCause(context.Canceled)
	errCtxDone     = connect.NewError(connect.CodeCanceled, "nobody waits any more")
)

var errWindowExceeded = connect.NewError(connect.CodeResourceExhausted, "link: more data than the window allows")

var errConcurrentSend = connect.NewError(connect.CodeInternal, "two goroutines send at once: use Send from one at a time")
