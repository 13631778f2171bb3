package link

import (
	"runtime"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

const (
	// laneShare is how many bytes of one call go ahead of the bulk in one packet.
	laneShare = 8 << 10
	// laneLimit is how much goes ahead of the bulk in one packet.
	laneLimit = 1 << 20
	// packetTarget is the length at which a packet is cut off.
	packetTarget = 64 << 10
	// loneBulk is up to where one call's chunks are put together in a packet of which no other call
	// wants a share: a message of 64 KiB leaves in one.
	loneBulk = packetTarget + 4<<10
	// maxYields bounds how often one who is about to write lets others go before.
	maxYields = 8
	// TableBudget is about how many bytes of a table go into one packet.
	TableBudget = 32 << 10

	minOutBuffer  = 4 << 10
	idleOutBuffer = 64 << 10      // longer ones are kept only while they are used
	maxOutBuffer  = 2 * laneLimit // longer ones are not kept
)

// outbox is what a session has to write. Its session's lock guards it.
//
// A round writes all frames in buf, with one chunk of bulk behind them. Order within a call holds because
// a call whose bulk is in the ring puts nothing into buf itself, other than the frames that overtake
// (cancel, window) or end it. Control goes before, in packets of its own, and is the writer's alone.
type outbox struct {
	buf     []byte // HeadRoom bytes, then the frames of the next packet
	spare   []byte // the buffer of the last packet
	late    []byte // HeadRoom bytes, then frames of the last packet that are yet to be sent
	packet  uint64 // the number that the packet of buf will have, from 1
	begun   uint64 // the last packet of which something may have been sent
	opens   uint64 // how many opens have been put into packets
	writing bool   // somebody is in a round
	longest int    // the longest buffer filled since the last beat
	broken  error  // the error of a Send, after which nothing more is written
	ring    ring
	grants  []grant

	sends uint64 // rounds, for the keeper
	table bool   // PullTable is to be asked
	owing bool   // a table is coming
	ping  bool
	pong  bool
	token uint64 // of the pong
}

// grant is window to be given back on another session.
type grant struct {
	to *relayHalf
	n  int
}

// room reports whether a frame of n bytes may go ahead of the bulk, and counts it. The session's lock
// is held.
func (s *Session) room(h *half, n int) bool {
	o := &s.out
	if h.lanePacket != o.packet {
		h.lanePacket, h.laneBytes = o.packet, 0
	}
	if h.laneBytes+n > laneShare || len(o.buf) > laneLimit {
		return false
	}
	h.laneBytes += n
	return true
}

// pending reports whether there is something to write. The session's lock is held.
func (s *Session) pending() bool {
	return len(s.out.buf) > HeadRoom || s.bulkReady() || s.controlDue() || s.mayPart()
}

// bulkReady reports whether there is bulk to write, and not too much under way. The session's lock is
// held.
func (s *Session) bulkReady() bool {
	return !s.out.ring.empty() && (s.pace == nil || !s.pace.Congested())
}

// forWriter reports whether there is something that only the session's writer writes. The session's lock
// is held.
func (s *Session) forWriter() bool { return s.controlDue() || s.closing != nil }

// controlDue reports whether there is control to write, or what a round has left. The session's lock is
// held.
func (s *Session) controlDue() bool {
	o := &s.out
	return o.late != nil || o.ping || o.pong || o.table
}

// mayPart reports whether it is time for the goodbye: all else has been sent, and each call that came in
// has its end here or its refusal sent. The session's lock is held.
func (s *Session) mayPart() bool {
	o := &s.out
	return s.closing != nil && len(o.buf) == HeadRoom && o.ring.empty() && !o.table && !o.owing && !s.taking.Load()
}

// mayWrite reports whether a round can be begun. The session's lock is held.
func (s *Session) mayWrite() bool {
	return !s.out.writing && !s.parted && s.out.broken == nil && s.cause == nil
}

// mayFlush reports whether others than the session's writer may begin a round. Its own work must not
// wait for a gap between theirs. The session's lock is held.
func (s *Session) mayFlush() bool { return s.mayWrite() && !s.forWriter() }

// flush writes what is ready, unless somebody is writing, who then takes it along. What cannot be sent without
// waiting is left to the writer: callers and handlers have deadlines. The session's lock is held, but not
// all the time.
func (s *Session) flush() {
	if !s.mayFlush() {
		s.wakeWriter()
		return
	}
	s.out.writing = true
	if s.own.live+s.theirs.live > 1 {
		s.gather()
	}
	if s.trier != nil {
		s.round(try)
	}
	s.out.writing = false
	s.wakeWriter()
}

// gather lets others say what they are about to say: what they say now costs no write of its own. It
// goes on while they do, since an idle processor may take this goroutine up before it comes to them. The
// session's lock is held, but not all the time.
func (s *Session) gather() {
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
	if s.trier != nil && s.mayFlush() && s.pending() {
		s.out.writing = true
		s.round(try)
		s.out.writing = false
	}
	s.wakeWriter()
}

// wakeWriter leaves what is ready to the session's writer. The session's lock is held.
func (s *Session) wakeWriter() {
	if s.mayWrite() && s.pending() {
		s.writer.Signal()
	}
}

// wake is wakeWriter for those who hold no lock.
func (s *Session) wake() {
	s.mu.Lock()
	s.wakeWriter()
	s.mu.Unlock()
}

// writeLoop is the session's writer.
func (s *Session) writeLoop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.cause == nil && (!s.mayWrite() || !s.pending()) {
			s.writer.Wait()
		}
		if s.cause != nil {
			return
		}
		s.out.writing = true
		s.sendLate()
		s.sendControl()
		s.round(send)
		s.out.writing = false
		s.sayGoodbye()
	}
}

// sendMode is how a round sends.
type sendMode uint8

const (
	send sendMode = iota // wait as long as it takes
	try                  // leave what would have to wait to the writer
)

// round writes a packet of frames. The session's lock is held, but not while writing.
func (s *Session) round(mode sendMode) {
	o := &s.out
	if o.broken != nil || s.cause != nil { // since the caller looked
		return
	}
	if s.bulkReady() {
		o.pullBulk(s.pace != nil)
	}
	frames := o.buf
	if len(frames) == HeadRoom {
		return
	}
	if o.buf, o.spare = o.spare, nil; o.buf == nil {
		o.buf = make([]byte, HeadRoom, minOutBuffer)
	}
	o.begun = o.packet
	o.packet++
	o.longest = max(o.longest, len(frames))
	grants := o.grants
	o.grants = nil
	s.mu.Unlock()

	for _, g := range grants {
		g.to.grant(g.n)
		g.to.s.wake()
	}
	rest, err := s.sendFrames(frames, mode)

	s.mu.Lock()
	o.sends++
	switch {
	case err != nil:
		s.breakOut(err)
	case len(rest) > HeadRoom:
		o.late = rest
	case cap(frames) <= maxOutBuffer:
		o.spare = frames[:HeadRoom]
	}
}

// sendLate sends what a round has left. The session's lock is held, but not while writing.
func (s *Session) sendLate() {
	o := &s.out
	if o.late == nil {
		return
	}
	late := o.late
	o.late = nil
	s.mu.Unlock()
	_, err := s.sendFrames(late, send)
	s.mu.Lock()
	switch {
	case err != nil:
		s.breakOut(err)
	case o.spare == nil && cap(late) <= maxOutBuffer:
		o.spare = late[:HeadRoom]
	}
}

// shrink lets go of a long buffer if none was needed since the last call. The session's lock is held.
func (o *outbox) shrink() {
	if cap(o.spare) > idleOutBuffer && o.longest <= idleOutBuffer {
		o.spare = nil
	}
	o.longest = 0
}

// breakOut stops the writing. The reader is left a moment to find out why: the other end may have said
// so before it closed. The session's lock is held.
func (s *Session) breakOut(err error) {
	s.out.broken = err
	s.wakeKeeper()
}

// pullBulk appends the next chunk of those that wait. Where there is nothing but bulk it is more, if only
// one call has any, or if what is under way is bounded elsewhere.
func (o *outbox) pullBulk(bounded bool) {
	start, budget := len(o.buf), maxData
	switch {
	case start > HeadRoom:
	case o.ring.single():
		budget = loneBulk
	case bounded:
		budget = packetTarget
	}
	for !o.ring.empty() && len(o.buf)-start < budget {
		o.ring.pop().pull()
	}
}

// pullControl returns the controls that are due.
func (o *outbox) pullControl() []*linkv1.Control {
	if !o.ping && !o.pong {
		return nil
	}
	var controls []*linkv1.Control
	if o.pong {
		controls = append(controls, &linkv1.Control{Body: &linkv1.Control_Pong{Pong: &linkv1.Pong{Token: o.token}}})
	}
	if o.ping {
		controls = append(controls, &linkv1.Control{Body: &linkv1.Control_Ping{Ping: &linkv1.Ping{Token: o.sends}}})
	}
	o.ping, o.pong = false, false
	return controls
}

// sendControl sends the controls that are due and, if asked to, a piece of the table. The session's lock
// is held, but not while writing.
func (s *Session) sendControl() {
	o := &s.out
	if controls := o.pullControl(); o.broken == nil && len(controls) > 0 {
		s.sendControls(controls...)
	}
	if o.broken != nil || !o.table {
		return
	}
	o.table, o.owing = false, true
	s.mu.Unlock()
	t, coming := s.handler.PullTable()
	s.mu.Lock()
	o.owing = o.owing && coming
	if t != nil {
		o.table = true
		s.sendControls(&linkv1.Control{Body: &linkv1.Control_Table{Table: t}})
	}
}

// sendControls sends controls. The session's lock is held, but not while writing.
func (s *Session) sendControls(controls ...*linkv1.Control) {
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
		s.breakOut(err)
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
		if n > HeadRoom+loneBulk {
			n = HeadRoom + cutFrames(p[HeadRoom:])
			packet = p[:n:n]
		}
		if mode == send {
			err = s.conn.Send(packet)
		} else if sent, failed := s.trier.TrySend(packet); !sent && failed == nil {
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

// sayGoodbye sends the goodbye when it is time for it. The session's lock is held, but not while writing.
func (s *Session) sayGoodbye() {
	o := &s.out
	if !s.mayWrite() || !s.mayPart() {
		return
	}
	bye := proto.CloneOf(s.closing)
	bye.Taken = new(s.taken)
	o.writing, s.parted = true, true
	s.mu.Unlock()
	p, err := packControls(&linkv1.Control{Body: &linkv1.Control_Goodbye{Goodbye: bye}})
	if err == nil {
		err = s.conn.Send(p)
	}
	s.mu.Lock()
	close(s.said)
	o.writing = false
	if err != nil {
		o.broken = err
	}
}

// NoTable says that no table is coming, as was said it might. It never blocks.
func (s *Session) NoTable() {
	s.mu.Lock()
	if s.out.owing {
		s.out.owing = false
		s.wakeWriter()
	}
	s.mu.Unlock()
}

// TableChanged makes the writer pull the table again. It never blocks.
func (s *Session) TableChanged() {
	s.mu.Lock()
	s.out.table = true
	s.wakeWriter()
	s.mu.Unlock()
}
