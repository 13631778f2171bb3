package link

import (
	"runtime"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

const (
	// maxLanePerCall is how many bytes of one call go into one packet's lane, ahead of the bulk.
	maxLanePerCall = 8 << 10
	// maxLane is how many bytes go into one packet's lane.
	maxLane = 1 << 20
	// packetTarget is the length at which a packet is cut off.
	packetTarget = 64 << 10
	// maxSingleBulk is how long a packet of one call's chunks may be where no other call waits for a share of it: a
	// message of 64 KiB leaves in one.
	maxSingleBulk = packetTarget + 4<<10
	// maxYields bounds how often a goroutine that is about to write yields to others first.
	maxYields = 8
	// TableBudget is about how many bytes of a table go into one packet.
	TableBudget = 32 << 10

	minOutBuffer  = 4 << 10
	idleOutBuffer = 64 << 10    // longer ones are kept only while they are used
	maxOutBuffer  = 2 * maxLane // longer ones are not kept
)

// outbox is what a session has to write. Its session's lock guards it.
//
// A packet is written of all frames in buf, which are its lane, with one chunk of bulk behind them. Order within a call
// holds because a call whose bulk waits puts nothing into buf itself, other than the frames that overtake it (cancel,
// window) or end it. Control goes before, in packets of its own, and is written by the session's writer alone.
type outbox struct {
	buf       []byte // HeadRoom bytes, then the frames of the next packet
	spare     []byte // the buffer of the last packet
	unsent    []byte // HeadRoom bytes, then frames of the last packet that are yet to be sent
	packet    uint64 // the number that the packet of buf will have, from 1
	lastBegun uint64 // the last packet of which something may have been sent
	opensSent uint64 // how many opens have been put into packets
	writing   bool   // a goroutine is writing
	longest   int    // the longest buffer filled since the last tick
	writeErr  error  // the error of a Send, after which nothing more is written
	bulk      roundRobin
	grants    []windowGrant

	sends        uint64 // packets, for the keepalive goroutine
	due          dueControls
	tablePending bool   // PullTable said that a table is coming
	pongToken    uint64 // of the pong
}

// dueControls is the set of controls that the writer is to send.
type dueControls uint8

const (
	dueTable dueControls = 1 << iota // PullTable is to be asked
	duePing
	duePong
)

// windowGrant is receive window to be granted again on another session.
type windowGrant struct {
	to *relayEndpoint
	n  int
}

// reserveLaneLocked reports whether a frame of n bytes may go into the lane of the next packet, and counts it.
func (s *Session) reserveLaneLocked(h *callState, n int) bool {
	o := &s.out
	if h.lanePacket != o.packet {
		h.lanePacket, h.laneBytes = o.packet, 0
	}
	if h.laneBytes+n > maxLanePerCall || len(o.buf) > maxLane {
		return false
	}
	h.laneBytes += n
	return true
}

// outputPendingLocked reports whether there is something to write.
func (s *Session) outputPendingLocked() bool {
	return len(s.out.buf) > HeadRoom || s.bulkReadyLocked() || s.controlDueLocked() || s.goodbyeDueLocked()
}

// bulkReadyLocked reports whether there is bulk to write, and not too much in flight.
func (s *Session) bulkReadyLocked() bool {
	return !s.out.bulk.empty() && (s.congestion == nil || !s.congestion.Congested())
}

// writerNeededLocked reports whether there is something that only the session's writer writes.
func (s *Session) writerNeededLocked() bool { return s.controlDueLocked() || s.closing != nil }

// controlDueLocked reports whether there is control to write, or the rest of a packet that could not be sent without
// waiting.
func (s *Session) controlDueLocked() bool {
	o := &s.out
	return o.unsent != nil || o.due != 0
}

// goodbyeDueLocked reports whether it is time for the goodbye: all else has been sent, and each call that came in has
// its endpoint here or its refusal sent.
func (s *Session) goodbyeDueLocked() bool {
	o := &s.out
	return s.closing != nil && len(o.buf) == HeadRoom && o.bulk.empty() && o.due&dueTable == 0 && !o.tablePending && !s.opening.Load()
}

// canWriteLocked reports whether a goroutine may begin to write.
func (s *Session) canWriteLocked() bool {
	return !s.out.writing && s.out.writeErr == nil && s.inPhase() < phaseParting
}

// canFlushLocked reports whether goroutines other than the session's writer may begin to write. Its own work must not
// wait for a gap between theirs.
func (s *Session) canFlushLocked() bool { return s.canWriteLocked() && !s.writerNeededLocked() }

// flushLocked writes what is ready, unless a goroutine is writing, which then writes that as well. What cannot be sent
// without waiting is left to the writer: callers and handlers have deadlines. It releases the lock meanwhile.
func (s *Session) flushLocked() {
	if !s.canFlushLocked() {
		s.wakeWriterLocked()
		return
	}
	s.out.writing = true
	if s.localCalls.live+s.peerCalls.live > 1 {
		s.yieldLocked()
	}
	if s.nonblocking != nil {
		s.writePacketLocked(sendNonblocking)
	}
	s.out.writing = false
	s.wakeWriterLocked()
}

// yieldLocked lets other goroutines add to the packet what they are about to: it then costs no write of its own. It goes
// on while they do, since an idle processor may take this goroutine up before it comes to them. It releases the lock
// meanwhile.
func (s *Session) yieldLocked() {
	for range maxYields {
		had := len(s.out.buf)
		s.unlockWhileLocked(runtime.Gosched)
		if len(s.out.buf) == had {
			return
		}
	}
}

// unlockWhileLocked releases the lock, calls f and takes the lock again, as [sync.Cond.Wait] does: f waits for the
// connection, takes another lock or calls the Handler.
func (s *Session) unlockWhileLocked(f func()) {
	s.mu.Unlock()     // lock: to be taken again
	defer s.mu.Lock() // lock: as it was
	f()
}

// FlushNow writes what is ready if that needs no waiting, and otherwise leaves it to the writer. It is the flush of
// readers, and of those who open calls with a Completion.
func (s *Session) FlushNow() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nonblocking != nil && s.canFlushLocked() && s.outputPendingLocked() {
		s.out.writing = true
		s.writePacketLocked(sendNonblocking)
		s.out.writing = false
	}
	s.wakeWriterLocked()
}

// wakeWriterLocked leaves what is ready to the session's writer.
func (s *Session) wakeWriterLocked() {
	if s.canWriteLocked() && s.outputPendingLocked() {
		s.writer.Signal()
	}
}

// wakeWriter is wakeWriterLocked for those who do not hold the lock.
func (s *Session) wakeWriter() {
	s.mu.Lock()
	s.wakeWriterLocked()
	s.mu.Unlock()
}

// writeLoop is the session's writer.
func (s *Session) writeLoop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.cause == nil && (!s.canWriteLocked() || !s.outputPendingLocked()) {
			s.writer.Wait()
		}
		if s.cause != nil {
			return
		}
		s.out.writing = true
		s.sendUnsentLocked()
		s.sendControlLocked()
		s.writePacketLocked(sendBlocking)
		s.out.writing = false
		s.sendGoodbyeLocked()
	}
}

// sendMode is how a packet is sent.
type sendMode uint8

const (
	sendBlocking    sendMode = iota // wait as long as it takes
	sendNonblocking                 // leave what would have to wait to the writer
)

// writePacketLocked writes a packet of frames. It releases the lock while it writes.
func (s *Session) writePacketLocked(mode sendMode) {
	o := &s.out
	if o.writeErr != nil || s.cause != nil { // since the caller looked
		return
	}
	if s.bulkReadyLocked() {
		o.appendBulkLocked(s.congestion != nil)
	}
	frames := o.buf
	if len(frames) == HeadRoom {
		return
	}
	o.buf, o.spare = o.spare, nil
	if o.buf == nil {
		o.buf = make([]byte, HeadRoom, minOutBuffer)
	}
	o.lastBegun = o.packet
	o.packet++
	o.longest = max(o.longest, len(frames))
	grants := o.grants
	o.grants = nil
	var rest []byte
	var err error
	s.unlockWhileLocked(func() {
		for _, g := range grants {
			g.to.grantWindow(g.n)
			g.to.s.wakeWriter()
		}
		rest, err = s.sendFrames(frames, mode)
	})
	o.sends++
	switch {
	case err != nil:
		s.failWritesLocked(err)
	case len(rest) > HeadRoom:
		o.unsent = rest
	case cap(frames) <= maxOutBuffer:
		o.spare = frames[:HeadRoom]
	}
}

// sendUnsentLocked sends the rest of a packet that could not be sent without waiting. It releases the lock while it
// writes.
func (s *Session) sendUnsentLocked() {
	o := &s.out
	if o.unsent == nil {
		return
	}
	unsent := o.unsent
	o.unsent = nil
	var err error
	s.unlockWhileLocked(func() { _, err = s.sendFrames(unsent, sendBlocking) })
	switch {
	case err != nil:
		s.failWritesLocked(err)
	case o.spare == nil && cap(unsent) <= maxOutBuffer:
		o.spare = unsent[:HeadRoom]
	}
}

// shrinkLocked drops a long buffer if none was needed since the last call.
func (o *outbox) shrinkLocked() {
	if cap(o.spare) > idleOutBuffer && o.longest <= idleOutBuffer {
		o.spare = nil
	}
	o.longest = 0
}

// failWritesLocked stops the writing. The reader is left some time to find out why: the peer may have told it before it
// closed.
func (s *Session) failWritesLocked(err error) {
	s.out.writeErr = err
	s.wakeKeepalive()
}

// appendBulkLocked appends the next chunk of bulk. In a packet of bulk alone it appends more, if only one call has any,
// or if what is in flight is bounded elsewhere.
func (o *outbox) appendBulkLocked(bounded bool) {
	start, budget := len(o.buf), frame.MaxData
	switch {
	case start > HeadRoom:
	case o.bulk.single():
		budget = maxSingleBulk
	case bounded:
		budget = packetTarget
	}
	for !o.bulk.empty() && len(o.buf)-start < budget {
		o.bulk.pop().appendNextLocked()
	}
}

// popControlsLocked returns the controls that are due.
func (o *outbox) popControlsLocked() []*linkv1.Control {
	if o.due&(duePing|duePong) == 0 {
		return nil
	}
	var controls []*linkv1.Control
	if o.due&duePong != 0 {
		controls = append(controls, &linkv1.Control{Body: &linkv1.Control_Pong{Pong: &linkv1.Pong{Token: o.pongToken}}})
	}
	if o.due&duePing != 0 {
		controls = append(controls, &linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: o.sends}}})
	}
	o.due &^= duePing | duePong
	return controls
}

// sendControlLocked sends the controls that are due and, if asked to, a piece of the table. It releases the lock while
// it writes.
func (s *Session) sendControlLocked() {
	o := &s.out
	controls := o.popControlsLocked()
	if o.writeErr == nil && len(controls) > 0 {
		s.sendControlsLocked(controls...)
	}
	if o.writeErr != nil || o.due&dueTable == 0 {
		return
	}
	o.due &^= dueTable
	o.tablePending = true
	var t *linkv1.Table
	var coming bool
	s.unlockWhileLocked(func() { t, coming = s.handler.PullTable() })
	o.tablePending = o.tablePending && coming
	if t != nil {
		o.due |= dueTable
		s.sendControlsLocked(&linkv1.Control{Body: &linkv1.Control_Table{Table: t}})
	}
}

// sendControlsLocked sends controls. It releases the lock while it writes.
func (s *Session) sendControlsLocked(controls ...*linkv1.Control) {
	var err error
	s.unlockWhileLocked(func() { err = s.sendControls(controls...) })
	s.out.sends++
	if err != nil {
		s.failWritesLocked(err)
	}
}

// sendControls sends a packet of controls. Only the goroutine that is writing calls it.
func (s *Session) sendControls(controls ...*linkv1.Control) error {
	p, err := packControls(controls...)
	if err != nil {
		return err
	}
	if len(p) > HeadRoom+MaxPacket {
		return connect.Errorf(connect.CodeInternal, "link: a piece of the table takes %d bytes", len(p))
	}
	return s.conn.Send(p)
}

// packControls returns a packet of controls, with head room.
func packControls(controls ...*linkv1.Control) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(make([]byte, HeadRoom, 128), &linkv1.Packet{Controls: controls})
}

// sendFrames sends p, HeadRoom bytes and frames, in packets that are not too long. It returns the rest where sending it
// would have had to wait.
func (s *Session) sendFrames(p []byte, mode sendMode) (rest []byte, err error) {
	for len(p) > HeadRoom {
		packet, n := p, len(p)
		if n > HeadRoom+maxSingleBulk {
			n = HeadRoom + frame.Cut(p[HeadRoom:], packetTarget)
			packet = p[:n:n]
		}
		sent := true
		if mode == sendBlocking {
			err = s.conn.Send(packet)
		} else {
			sent, err = s.nonblocking.TrySend(packet)
		}
		switch {
		case err != nil:
			return nil, err
		case !sent:
			return p, nil
		}
		p = p[n-HeadRoom:]
	}
	return nil, nil
}

// sendGoodbyeLocked sends the goodbye when it is time for it. It releases the lock while it writes.
func (s *Session) sendGoodbyeLocked() {
	o := &s.out
	if !s.canWriteLocked() || !s.goodbyeDueLocked() {
		return
	}
	bye := proto.CloneOf(s.closing)
	bye.Taken = new(s.acceptedOpens)
	o.writing = true
	s.advanceLocked(phaseParting)
	var err error
	s.unlockWhileLocked(func() {
		err = s.sendControls(&linkv1.Control{Body: &linkv1.Control_Goodbye{Goodbye: bye}})
	})
	close(s.goodbyeSent)
	o.writing = false
	if err != nil {
		o.writeErr = err
	}
}

// TableUnchanged says that no table is coming after all, where PullTable said there might. It never blocks.
func (s *Session) TableUnchanged() {
	s.mu.Lock()
	if s.out.tablePending {
		s.out.tablePending = false
		s.wakeWriterLocked()
	}
	s.mu.Unlock()
}

// TableChanged makes the writer pull the table again. It never blocks.
func (s *Session) TableChanged() {
	s.mu.Lock()
	s.out.due |= dueTable
	s.wakeWriterLocked()
	s.mu.Unlock()
}
