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
	// controlBudget bounds the table in one packet.
	controlBudget = 32 << 10

	minOutBuffer = 4 << 10
	maxOutBuffer = 256 << 10 // longer ones are not kept
)

// outbox is what a session has to write. Its session's lock guards it.
//
// Each round writes one packet of control, if there is any; then all frames in buf, with one chunk of
// bulk behind them. Order within a call holds because a call whose bulk is in the ring puts nothing
// into buf itself, other than the frames that overtake (cancel, window) or end it.
type outbox struct {
	buf     []byte // HeadRoom bytes, then the frames of the next packet
	spare   []byte // the buffer of the last packet
	packet  uint64 // the number that the packet of buf will have, from 1
	writing bool   // somebody is in a round
	broken  error  // the error of a Send, after which nothing more is written
	ring    ring
	grants  []grant

	sends uint64 // packets sent, for the keeper
	table bool   // PullTable is to be asked
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
	o := &s.out
	return len(o.buf) > HeadRoom || !o.ring.empty() || o.ping || o.pong || o.table || s.closing != nil
}

// mayWrite reports whether a round can be begun. The session's lock is held.
func (s *Session) mayWrite() bool {
	return !s.out.writing && s.out.broken == nil && s.cause == nil
}

// mayFlush reports whether others than the session's writer can begin a round: there is none, and no
// work that is the writer's alone and must not wait for a gap between their rounds. The session's lock is
// held.
func (s *Session) mayFlush() bool { return s.mayWrite() && !s.out.table && s.closing == nil }

// flush writes what is ready, unless somebody is writing, who then takes it along. It may block in the
// connection, so only callers and handlers call it. The session's lock is held, but not all the time.
func (s *Session) flush() {
	if !s.mayFlush() {
		s.wakeWriter()
		return
	}
	s.out.writing = true
	if s.own.live+s.theirs.live > 1 {
		// Others are about to say something as well: what they say now costs no write of its own.
		s.mu.Unlock()
		runtime.Gosched()
		s.mu.Lock()
	}
	s.round(false)
	s.out.writing = false
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
		s.round(true)
		s.out.writing = false
		s.sayGoodbye()
	}
}

// round writes a packet of control and one of frames. The session's lock is held, but not while writing.
func (s *Session) round(tables bool) {
	o := &s.out
	control := o.pullControl()
	o.pullBulk()
	frames := o.buf
	if len(frames) > HeadRoom {
		o.buf, o.spare = o.spare, nil
		if o.buf == nil {
			o.buf = make([]byte, HeadRoom, minOutBuffer)
		}
		o.packet++
	}
	tables = tables && o.table
	if tables {
		o.table = false
	}
	grants := o.grants
	o.grants = nil
	s.mu.Unlock()

	for _, g := range grants {
		g.to.grant(g.n)
		g.to.s.wake()
	}
	more, err := s.sendControl(control, tables)
	if err == nil {
		err = s.sendFrames(frames)
	}

	s.mu.Lock()
	o.sends++
	o.table = o.table || more
	if len(frames) > HeadRoom && cap(frames) <= maxOutBuffer {
		o.spare = frames[:HeadRoom]
	}
	if err != nil {
		s.breakOut(err)
	}
}

// breakOut stops the writing. The reader is left a moment to find out why: the other end may have said
// so before it closed. The session's lock is held.
func (s *Session) breakOut(err error) {
	s.out.broken = err
	s.wakeKeeper()
}

// pullBulk appends the next chunk of those that wait, and no more.
func (o *outbox) pullBulk() {
	for start := len(o.buf); !o.ring.empty() && len(o.buf)-start < maxData; {
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

// sendControl sends controls and, if asked to, a piece of the table. It reports whether there may be
// more of the table.
func (s *Session) sendControl(controls []*linkv1.Control, tables bool) (more bool, err error) {
	if tables {
		if t := s.handler.PullTable(controlBudget); t != nil {
			more = true
			controls = append(controls, &linkv1.Control{Body: &linkv1.Control_Table{Table: t}})
		}
	}
	if len(controls) == 0 {
		return more, nil
	}
	p, err := packControls(controls...)
	if err == nil && len(p) > HeadRoom+MaxPacket {
		err = connect.Errorf(connect.CodeInternal, "link: a piece of the table takes %d bytes", len(p))
	}
	if err != nil {
		return more, err
	}
	return more, s.conn.Send(p)
}

// packControls returns a packet of controls, with head room.
func packControls(controls ...*linkv1.Control) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend(make([]byte, HeadRoom, 128), &linkv1.Packet{Controls: controls})
}

// sendFrames sends p, HeadRoom bytes and frames, in packets that are not too long.
func (s *Session) sendFrames(p []byte) error {
	for len(p) > HeadRoom {
		n := len(p)
		if n > HeadRoom+packetTarget {
			n = HeadRoom + cutFrames(p[HeadRoom:])
		}
		if err := s.conn.Send(p[:n]); err != nil {
			return err
		}
		p = p[n-HeadRoom:]
	}
	return nil
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

// sayGoodbye sends the goodbye once all else has been sent. The session's lock is held, but not while
// writing.
func (s *Session) sayGoodbye() {
	bye := s.closing
	o := &s.out
	if bye == nil || o.broken != nil || s.cause != nil || len(o.buf) > HeadRoom || !o.ring.empty() {
		return
	}
	o.writing = true
	s.mu.Unlock()
	p, err := packControls(&linkv1.Control{Body: &linkv1.Control_Goodbye{Goodbye: bye}})
	if err == nil {
		err = s.conn.Send(p)
	}
	close(s.said)
	<-s.done
	s.mu.Lock()
	o.writing = false
	if err != nil {
		o.broken = err
	}
}

// TableChanged makes the writer pull the table again. It never blocks.
func (s *Session) TableChanged() {
	s.mu.Lock()
	s.out.table = true
	s.wakeWriter()
	s.mu.Unlock()
}
