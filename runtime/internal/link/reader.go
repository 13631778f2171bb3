package link

import (
	"errors"
	"io"
	"slices"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

// readerState is what only the reader touches.
type readerState struct {
	frame   frame
	call    Incoming
	opens   openCache
	calls   []*ServerCall // whose handlers are to be started
	touched []flusher     // what has been given something to write
}

// maxHeld is how many packets are handled before what they gave rise to is written.
const maxHeld = 16

// read handles packets until there are no more, and says why.
func (s *Session) read() *Ended {
	defer s.flushTouched() // of what was held when Receive failed
	for held := 1; ; held++ {
		s.reading.Store(true)
		p, err := s.conn.Receive()
		s.reading.Store(false)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errHungUp
			}
			return &Ended{Kind: EndBroken, Err: err}
		}
		s.received.Add(1)
		ended := s.packet(p)
		s.touch(s)
		if ended != nil || held >= maxHeld || s.ahead == nil || !s.ahead.Buffered() {
			s.flushTouched()
			held = 0
		}
		if ended != nil {
			return ended
		}
	}
}

// flusher is a session, or the Output of a Waiter.
type flusher interface{ FlushNow() }

// touch notes that t has been given something to write, so that it is written when all packets that are
// at hand have been handled. Reader only.
func (s *Session) touch(t flusher) {
	if !slices.Contains(s.reader.touched, t) {
		s.reader.touched = append(s.reader.touched, t)
	}
}

// flushTouched sees to it that what is ready in what was touched is written.
func (s *Session) flushTouched() {
	for i, t := range s.reader.touched {
		t.FlushNow()
		s.reader.touched[i] = nil
	}
	s.reader.touched = s.reader.touched[:0]
}

// packet handles a packet.
func (s *Session) packet(p []byte) *Ended {
	ended := s.frames(p)
	s.runCalls()
	return ended
}

// frames handles what is in a packet, but for the handlers of the calls that it opens.
func (s *Session) frames(p []byte) *Ended {
	if len(p) > MaxPacket {
		return violation(connect.Errorf(connect.CodeResourceExhausted, "link: a packet of %d bytes", len(p)))
	}
	for len(p) > 0 {
		tag := p[0]
		if tag != tagControl && tag != tagFrame {
			_, _, n := protowire.ConsumeField(p)
			if n < 0 {
				return violation(errPacket)
			}
			p = p[n:]
			continue
		}
		body, n := protowire.ConsumeBytes(p[1:])
		if n < 0 {
			return violation(errPacket)
		}
		p = p[1+n:]
		if tag == tagControl {
			s.runCalls()
			if ended := s.control(body); ended != nil {
				return ended
			}
		} else if err := s.frame(body); err != nil {
			return violation(err)
		}
	}
	return nil
}

// errHungUp is no io.EOF, which callers take for the good end of a call.
var errHungUp = errors.New("the other end hung up without a goodbye")

var errPacket = connect.NewError(connect.CodeInvalidArgument, "link: malformed packet")

func violation(err error) *Ended {
	if _, ok := errors.AsType[*connect.Error](err); !ok {
		err = connect.NewError(connect.CodeInvalidArgument, err.Error()).WithCause(err)
	}
	return &Ended{Kind: EndViolation, Err: err}
}

// control handles a control.
func (s *Session) control(body []byte) *Ended {
	c := new(linkv1.Control)
	if err := proto.Unmarshal(body, c); err != nil {
		return violation(errPacket)
	}
	switch b := c.GetBody().(type) {
	case *linkv1.Control_Table:
		if err := s.handler.Table(b.Table); err != nil {
			return violation(err)
		}
	case *linkv1.Control_Ping:
		s.mu.Lock()
		s.out.pong, s.out.token = true, b.Ping.GetToken()
		s.mu.Unlock()
	case *linkv1.Control_Goodbye:
		return &Ended{
			Kind: EndGoodbye, Leaving: b.Goodbye.GetLeaving(), Reason: b.Goodbye.GetReason(), taken: b.Goodbye.Taken,
		}
	case *linkv1.Control_Hello, *linkv1.Control_Proof, *linkv1.Control_Join:
		return violation(connect.NewError(connect.CodeFailedPrecondition, "link: a second greeting"))
	}
	return nil
}

// frame handles a frame.
func (s *Session) frame(raw []byte) error {
	f := &s.reader.frame
	if err := f.parse(raw); err != nil {
		return err
	}
	if f.call == 0 {
		return errFrame("no call has the id 0")
	}
	i, odd := idSlot(f.call)
	if odd == s.dialler {
		return s.fromAnswerer(f, i)
	}
	return s.fromOpener(f, i)
}

// fromAnswerer handles a frame for a call that this end opened.
func (s *Session) fromAnswerer(f *frame, i int) error {
	if f.has&byOpener != 0 {
		return errFrame("open, close_send or cancel for a call of the receiver's")
	}
	s.mu.Lock()
	slot := s.own.at(i)
	switch {
	case slot.end != nil:
		slot.end.frame(f)
		return nil
	case slot.zombie && f.has&hasEnd != 0:
		s.own.release(i)
	}
	s.mu.Unlock()
	return nil
}

// fromOpener handles a frame for a call that the other end opened.
func (s *Session) fromOpener(f *frame, i int) error {
	if f.has&byAnswerer != 0 {
		return errFrame("headers or end for a call of the sender's")
	}
	if i >= s.theirs.limit {
		return connect.Errorf(connect.CodeResourceExhausted, "link: more than %d calls", s.theirs.limit)
	}
	if f.has&hasOpen != 0 {
		return s.incoming(f)
	}
	s.mu.Lock()
	if slot := s.theirs.at(i); slot.end != nil {
		slot.end.frame(f)
		return nil
	}
	s.mu.Unlock()
	return nil
}

// incoming handles a call that the other end opens.
func (s *Session) incoming(f *frame) error {
	s.taking.Store(true) // before Route looks whether the node is leaving: see Drained
	in := &s.reader.call
	*in = Incoming{Session: s, Hops: min(f.hops, MaxHops)}
	if err := in.parse(f.open, &s.reader.opens); err != nil {
		return s.refuse(f.call, connect.NewError(connect.CodeInvalidArgument, err.Error()))
	}
	said := in.Caller
	route := s.handler.Route(in)
	switch {
	case route.Next != nil:
		return s.relay(f, in, &route, said)
	case route.Serve != nil:
		return s.serve(f, in, &route)
	default:
		return s.refuse(f.call, route.Err)
	}
}

// takeOpenLocked counts an open, which is to get an end here or a refusal before the lock is released. It reports
// false where the goodbye has left the call out, and fails where the other end may not open it.
func (s *Session) takeOpenLocked(id uint32) (taken bool, err error) {
	i, _ := idSlot(id)
	if slot := s.theirs.at(i); slot.end != nil || slot.ended > s.out.begun {
		err = errFrame("open for a call that is open")
	}
	if err != nil || s.parted {
		s.taking.Store(false)
		s.noteDrained()
		return false, err
	}
	s.theirs.grow(i)
	s.taken++
	return true, nil
}

// refuse ends a call that has no end here, and so has not started.
func (s *Session) refuse(id uint32, err *connect.Error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken, violated := s.takeOpenLocked(id)
	if taken {
		s.refuseLocked(id, err)
	}
	return violated
}

// refuseLocked is refuse for a call that is taken.
func (s *Session) refuseLocked(id uint32, err *connect.Error) {
	if err == nil {
		err = connect.NewError(connect.CodeInternal, "")
	}
	f := outFrame{hasEnd: true, end: s.failed(err, notStarted).end(s.cfg.Limits.MaxHeader)}
	s.out.buf = f.appendTo(s.out.buf, id, nil)
	i, _ := idSlot(id)
	s.theirs.slots[i].ended = s.out.packet
	s.taking.Store(false)
	s.noteDrained()
}
