package link

import (
	"runtime"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

const (
	// maxLanePerCall is how many bytes of one call go ahead of the bulk in one packet.
	maxLanePerCall = 8 << 10
	// maxLane is how much goes ahead of the bulk in one packet.
	maxLane = 1 << 20
	// packetTarget is the length at which a packet is cut off.
	packetTarget = 64 << 10
	// maxSingleBulk is up to where one call's chunks are put together in a packet of which no other call
	// wants a share: a message of 64 KiB leaves in one.
	maxSingleBulk = packetTarget + 4<<10
	// maxYields bounds how often one who is about to write lets others go before.
	maxYields = 8
	// TableBudget is about how many bytes of a table go into one packet.
	TableBudget = 32 << 10

	minOutBuffer  = 4 << 10
	idleOutBuffer = 64 << 10    // longer ones are kept only while they are used
	maxOutBuffer  = 2 * maxLane // longer ones are not kept
)

// outbox is what a session has to write. Its session's lock guards it.
//
// A round writes all frames in buf, with one chunk of bulk behind them. Order within a call holds because
// a call whose bulk is in the ring puts nothing into buf itself, other than the frames that overtake
// (cancel, window) or end it. Control goes before, in packets of its own, and is the writer's alone.
type outbox struct {
	buf       []byte // HeadRoom bytes, then the frames of the next packet
	spare     []byte // the buffer of the last packet
	unsent    []byte // HeadRoom bytes, then frames of the last packet that are yet to be sent
	packet    uint64 // the number that the packet of buf will have, from 1
	lastBegun uint64 // the last packet of which something may have been sent
	opensSent uint64 // how many opens have been put into packets
	writing   bool   // somebody is in a round
	longest   int    // the longest buffer filled since the last beat
	writeErr  error  // the error of a Send, after which nothing more is written
	bulk      roundRobin
	grants    []windowGrant

	sends        uint64 // rounds, for the keeper
	tableDue     bool   // PullTable is to be asked
	tablePending bool   // a table is coming
	pingDue      bool
	pongDue      bool
	pongToken    uint64 // of the pong
}

// windowGrant is window to be given back on another session.
type windowGrant struct {
	to *relayEndpoint
	n  int
}

// reserveLaneLocked reports whether a frame of n bytes may go ahead of the bulk, and counts it. The session's lock
// is held.
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

// outputPendingLocked reports whether there is something to write. The session's lock is held.
func (s *Session) outputPendingLocked() bool {
	return len(s.out.buf) > HeadRoom || s.bulkReadyLocked() || s.controlDueLocked() || s.goodbyeDueLocked()
}

// bulkReadyLocked reports whether there is bulk to write, and not too much under way. The session's lock is
// held.
func (s *Session) bulkReadyLocked() bool {
	return !s.out.bulk.empty() && (s.congestion == nil || !s.congestion.Congested())
}

// writerNeededLocked reports whether there is something that only the session's writer writes. The session's lock
// is held.
func (s *Session) writerNeededLocked() bool { return s.controlDueLocked() || s.closing != nil }

// controlDueLocked reports whether there is control to write, or what a round has left. The session's lock is
// held.
func (s *Session) controlDueLocked() bool {
	o := &s.out
	return o.unsent != nil || o.pingDue || o.pongDue || o.tableDue
}

// goodbyeDueLocked reports whether it is time for the goodbye: all else has been sent, and each call that came in
// has its end here or its refusal sent. The session's lock is held.
func (s *Session) goodbyeDueLocked() bool {
	o := &s.out
	return s.closing != nil && len(o.buf) == HeadRoom && o.bulk.empty() && !o.tableDue && !o.tablePending && !s.opening.Load()
}

// canWriteLocked reports whether a round can be begun. The session's lock is held.
func (s *Session) canWriteLocked() bool {
	return !s.out.writing && !s.parted && s.out.writeErr == nil && s.cause == nil
}

// canFlushLocked reports whether others than the session's writer may begin a round. Its own work must not
// wait for a gap between theirs. The session's lock is held.
func (s *Session) canFlushLocked() bool { return s.canWriteLocked() && !s.writerNeededLocked() }

// flushLocked writes what is ready, unless somebody is writing, who then takes it along. What cannot be sent without
// waiting is left to the writer: callers and handlers have deadlines. The session's lock is held, but not
// all the time.
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

// yieldLocked lets others say what they are about to say: what they say now costs no write of its own. It
// goes on while they do, since an idle processor may take this goroutine up before it comes to them. The
// session's lock is held, but not all the time.
func (s *Session) yieldLocked() {
	for range maxYields {
		had := len(s.out.buf)
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
		if len(s.out.buf) == had {
			return
		}
	}
}

// FlushNow writes what is ready if that can be done without waiting, and otherwise leaves it to the
// writer: it is the readers' flush, and that of those who open calls with a Waiter.
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

// wakeWriterLocked leaves what is ready to the session's writer. The session's lock is held.
func (s *Session) wakeWriterLocked() {
	if s.canWriteLocked() && s.outputPendingLocked() {
		s.writer.Signal()
	}
}

// wakeWriter is wakeWriter for those who hold no lock.
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

// sendMode is how a round sends.
type sendMode uint8

const (
	sendBlocking    sendMode = iota // wait as long as it takes
	sendNonblocking                 // leave what would have to wait to the writer
)

// writePacketLocked writes a packet of frames. The session's lock is held, but not while writing.
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
	if o.buf, o.spare = o.spare, nil; o.buf == nil {
		o.buf = make([]byte, HeadRoom, minOutBuffer)
	}
	o.lastBegun = o.packet
	o.packet++
	o.longest = max(o.longest, len(frames))
	grants := o.grants
	o.grants = nil
	s.mu.Unlock()

	for _, g := range grants {
		g.to.grantWindow(g.n)
		g.to.s.wakeWriter()
	}
	rest, err := s.sendFrames(frames, mode)

	s.mu.Lock()
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

// sendUnsentLocked sends what a round has left. The session's lock is held, but not while writing.
func (s *Session) sendUnsentLocked() {
	o := &s.out
	if o.unsent == nil {
		return
	}
	late := o.unsent
	o.unsent = nil
	s.mu.Unlock()
	_, err := s.sendFrames(late, sendBlocking)
	s.mu.Lock()
	switch {
	case err != nil:
		s.failWritesLocked(err)
	case o.spare == nil && cap(late) <= maxOutBuffer:
		o.spare = late[:HeadRoom]
	}
}

// shrinkLocked lets go of a long buffer if none was needed since the last call. The session's lock is held.
func (o *outbox) shrinkLocked() {
	if cap(o.spare) > idleOutBuffer && o.longest <= idleOutBuffer {
		o.spare = nil
	}
	o.longest = 0
}

// failWritesLocked stops the writing. The reader is left a moment to find out why: the other end may have said
// so before it closed. The session's lock is held.
func (s *Session) failWritesLocked(err error) {
	s.out.writeErr = err
	s.wakeKeepalive()
}

// appendBulkLocked appends the next chunk of those that wait. Where there is nothing but bulk it is more, if only
// one call has any, or if what is under way is bounded elsewhere.
func (o *outbox) appendBulkLocked(bounded bool) {
	start, budget := len(o.buf), maxData
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
	if !o.pingDue && !o.pongDue {
		return nil
	}
	var controls []*linkv1.Control
	if o.pongDue {
		controls = append(controls, &linkv1.Control{Body: &linkv1.Control_Pong{Pong: &linkv1.Pong{Token: o.pongToken}}})
	}
	if o.pingDue {
		controls = append(controls, &linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: o.sends}}})
	}
	o.pingDue, o.pongDue = false, false
	return controls
}

// sendControlLocked sends the controls that are due and, if asked to, a piece of the table. The session's lock
// is held, but not while writing.
func (s *Session) sendControlLocked() {
	o := &s.out
	if controls := o.popControlsLocked(); o.writeErr == nil && len(controls) > 0 {
		s.sendControlsLocked(controls...)
	}
	if o.writeErr != nil || !o.tableDue {
		return
	}
	o.tableDue, o.tablePending = false, true
	s.mu.Unlock()
	t, coming := s.handler.PullTable()
	s.mu.Lock()
	o.tablePending = o.tablePending && coming
	if t != nil {
		o.tableDue = true
		s.sendControlsLocked(&linkv1.Control{Body: &linkv1.Control_Table{Table: t}})
	}
}

// sendControlsLocked sends controls. The session's lock is held, but not while writing.
func (s *Session) sendControlsLocked(controls ...*linkv1.Control) {
	s.mu.Unlock()
	p, err := packControls(controls...)
	if err == nil && len(p) > HeadRoom+MaxPacket {
		err = connect.Errorf(connect.CodeInternal, "link: a piece of the table takes %d bytes", len(p))
	}
	if err == nil {
		err = s.conn.Send(p)
	}
	s.mu.Lock()
	s.out.sends++
	if err != nil {
		s.failWritesLocked(err)
	}
}

// packControls returns a packet of controls, with head room.
func packControls(controls ...*linkv1.Control) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(make([]byte, HeadRoom, 128), &linkv1.Packet{Controls: controls})
}

// sendFrames sends p, HeadRoom bytes and frames, in packets that are not too long. It returns what is
// left where sending it would have had to wait.
func (s *Session) sendFrames(p []byte, mode sendMode) (rest []byte, err error) {
	for len(p) > HeadRoom {
		packet, n := p, len(p)
		if n > HeadRoom+maxSingleBulk {
			n = HeadRoom + cutFrames(p[HeadRoom:])
			packet = p[:n:n]
		}
		if mode == sendBlocking {
			err = s.conn.Send(packet)
		} else if sent, failed := s.nonblocking.TrySend(packet); !sent && failed == nil {
			return p, nil
		} else {
			err = failed
		}
		if err != nil {
			return nil, err
		}
		p = p[n-HeadRoom:]
	}
	return nil, nil
}

// cutFrames returns the length of the frames at the start of p that make a packet.
func cutFrames(p []byte) int {
	n := 0
	for n < len(p) && n < packetTarget {
		_, _, size := protowire.ConsumeField(p[n:])
		n += size
	}
	return n
}

// sendGoodbyeLocked sends the goodbye when it is time for it. The session's lock is held, but not while writing.
func (s *Session) sendGoodbyeLocked() {
	o := &s.out
	if !s.canWriteLocked() || !s.goodbyeDueLocked() {
		return
	}
	bye := proto.CloneOf(s.closing)
	bye.Taken = new(s.acceptedOpens)
	o.writing, s.parted = true, true
	s.mu.Unlock()
	p, err := packControls(&linkv1.Control{Body: &linkv1.Control_Goodbye{Goodbye: bye}})
	if err == nil {
		err = s.conn.Send(p)
	}
	s.mu.Lock()
	close(s.goodbyeSent)
	o.writing = false
	if err != nil {
		o.writeErr = err
	}
}

// TableUnchanged says that no table is coming, as was said it might. It never blocks.
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
	s.out.tableDue = true
	s.wakeWriterLocked()
	s.mu.Unlock()
}
