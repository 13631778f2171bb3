package link

import (
	"errors"
	"io"
	"slices"

	"connectrpc.com/connect/v2"
	"google.golang.org/protobuf/proto"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

// readerState is what only the reader touches.
type readerState struct {
	frame    frame.Frame
	incoming Incoming
	opens    frame.OpenCache
	toServe  []*ServerCall // calls whose handlers are to be started
	toFlush  []flusher     // what has been given something to write
}

// maxBatchedPackets is how many packets are handled before what they gave rise to is written.
const maxBatchedPackets = 16

// readLoop handles packets until there are no more, and returns why.
func (s *Session) readLoop() *Ended {
	defer s.flushScheduled() // what was not written when Receive failed
	for batched := 1; ; batched++ {
		s.reading.Store(true)
		p, err := s.conn.Receive()
		s.reading.Store(false)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = errPeerClosed
			}
			return &Ended{Kind: EndBroken, Err: err}
		}
		s.received.Add(1)
		ended := s.handlePacket(p)
		s.scheduleFlush(s)
		if ended != nil || batched >= maxBatchedPackets || s.readAhead == nil || !s.readAhead.Buffered() {
			s.flushScheduled()
			batched = 0
		}
		if ended != nil {
			return ended
		}
	}
}

// flusher is a session, or the Output of a Completion.
type flusher interface{ FlushNow() }

// scheduleFlush notes that t has been given something to write, so that it is flushed when all packets that have been
// read have been handled. Reader only.
func (s *Session) scheduleFlush(t flusher) {
	if !slices.Contains(s.reader.toFlush, t) {
		s.reader.toFlush = append(s.reader.toFlush, t)
	}
}

// flushScheduled flushes what scheduleFlush has noted.
func (s *Session) flushScheduled() {
	for i, t := range s.reader.toFlush {
		t.FlushNow()
		s.reader.toFlush[i] = nil
	}
	s.reader.toFlush = s.reader.toFlush[:0]
}

// handlePacket handles a packet.
func (s *Session) handlePacket(p []byte) *Ended {
	ended := s.dispatch(p)
	s.startHandlers()
	return ended
}

// dispatch handles what is in a packet, except that it leaves the handlers of the calls in it to be started.
func (s *Session) dispatch(p []byte) *Ended {
	if len(p) > MaxPacket {
		return violation(connect.Errorf(connect.CodeResourceExhausted, "link: a packet of %d bytes", len(p)))
	}
	for len(p) > 0 {
		part, body, n := frame.NextPart(p)
		if n < 0 {
			return violation(errPacket)
		}
		p = p[n:]
		switch part {
		case frame.PartControl:
			s.startHandlers()
			if ended := s.handleControl(body); ended != nil {
				return ended
			}
		case frame.PartFrame:
			if err := s.handleFrame(body); err != nil {
				return violation(err)
			}
		case frame.PartUnknown:
		}
	}
	return nil
}

// errPeerClosed is not io.EOF, which callers take for the good end of a call.
var errPeerClosed = errors.New("the other end hung up without a goodbye")

var errPacket = connect.NewError(connect.CodeInvalidArgument, "link: malformed packet")

func violation(err error) *Ended {
	if _, ok := errors.AsType[*connect.Error](err); !ok {
		err = connect.NewError(connect.CodeInvalidArgument, err.Error()).WithCause(err)
	}
	return &Ended{Kind: EndViolation, Err: err}
}

// handleControl handles a control.
func (s *Session) handleControl(body []byte) *Ended {
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
		s.out.due |= duePong
		s.out.pongToken = b.Ping.GetToken()
		s.mu.Unlock()
	case *linkv1.Control_Goodbye:
		return &Ended{
			Kind: EndGoodbye, Leaving: b.Goodbye.GetLeaving(), Reason: b.Goodbye.GetReason(), accepted: b.Goodbye.Taken,
		}
	case *linkv1.Control_Hello, *linkv1.Control_Proof, *linkv1.Control_Join:
		return violation(connect.NewError(connect.CodeFailedPrecondition, "link: a second greeting"))
	}
	return nil
}

// handleFrame handles a frame.
func (s *Session) handleFrame(raw []byte) error {
	f := &s.reader.frame
	if err := f.Parse(raw); err != nil {
		return err
	}
	if f.Call == 0 {
		return frame.Malformed("no call has the id 0")
	}
	i, odd := idSlot(f.Call)
	if odd == s.dialler {
		return s.handleAnswer(f, i)
	}
	return s.handleRequest(f, i)
}

// handleAnswer handles a frame for a call that this end opened.
func (s *Session) handleAnswer(f *frame.Frame, i int) error {
	if f.Has(frame.OpenerFields) {
		return frame.Malformed("open, close_send or cancel for a call of the receiver's")
	}
	var after afterUnlock
	s.mu.Lock()
	slot := s.localCalls.at(i)
	switch {
	case slot.endpoint != nil:
		after = slot.endpoint.handleFrameLocked(f)
	case slot.canceled && f.Has(frame.FieldEnd):
		s.localCalls.release(i)
	}
	s.mu.Unlock()
	after.run(s, f)
	return nil
}

// handleRequest handles a frame for a call that the peer opened.
func (s *Session) handleRequest(f *frame.Frame, i int) error {
	if f.Has(frame.AnswererFields) {
		return frame.Malformed("headers or end for a call of the sender's")
	}
	if i >= s.peerCalls.limit {
		return connect.Errorf(connect.CodeResourceExhausted, "link: more than %d calls", s.peerCalls.limit)
	}
	if f.Has(frame.FieldOpen) {
		return s.handleOpen(f)
	}
	var after afterUnlock
	s.mu.Lock()
	if e := s.peerCalls.at(i).endpoint; e != nil {
		after = e.handleFrameLocked(f)
	}
	s.mu.Unlock()
	after.run(s, f)
	return nil
}

// handleOpen handles a call that the peer opens.
func (s *Session) handleOpen(f *frame.Frame) error {
	s.opening.Store(true) // before Route looks whether the node is leaving: see Drained
	in := &s.reader.incoming
	*in = Incoming{Session: s, Hops: min(f.Hops, MaxHops)}
	if err := in.Open.Parse(f.Open, &s.reader.opens); err != nil {
		return s.refuseOpen(f.Call, connect.NewError(connect.CodeInvalidArgument, err.Error()))
	}
	caller := in.Caller
	route := s.handler.Route(in)
	switch {
	case route.Next != nil:
		return s.relayCall(f, in, &route, caller)
	case route.Serve != nil:
		return s.serveCall(f, in, &route)
	default:
		return s.refuseOpen(f.Call, route.Err)
	}
}

// acceptOpenLocked counts an open, which is to get an endpoint here, or a refusal, before the lock is released. It
// reports false where the goodbye has left the call out, and fails where the peer may not open it.
func (s *Session) acceptOpenLocked(id uint32) (accepted bool, err error) {
	i, _ := idSlot(id)
	if slot := s.peerCalls.at(i); slot.endpoint != nil || slot.endPacket > s.out.lastBegun {
		err = frame.Malformed("open for a call that is open")
	}
	if err != nil || s.inPhase() >= phaseParting {
		s.opening.Store(false)
		s.signalDrainedLocked()
		return false, err
	}
	s.peerCalls.extend(i)
	s.acceptedOpens++
	return true, nil
}

// refuseOpen ends a call that has no endpoint here, and so has not started.
func (s *Session) refuseOpen(id uint32, err *connect.Error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	accepted, violated := s.acceptOpenLocked(id)
	if accepted {
		s.refuseOpenLocked(id, err)
	}
	return violated
}

// refuseOpenLocked is refuseOpen for an open that acceptOpenLocked has counted.
func (s *Session) refuseOpenLocked(id uint32, err *connect.Error) {
	if err == nil {
		err = connect.NewError(connect.CodeInternal, "")
	}
	f := frame.Outgoing{Fields: frame.FieldEnd, End: s.failure(err, notStarted).encode(s.cfg.Limits.MaxHeader)}
	s.out.buf = f.AppendTo(s.out.buf, id, nil)
	i, _ := idSlot(id)
	s.peerCalls.slots[i].endPacket = s.out.packet
	s.opening.Store(false)
	s.signalDrainedLocked()
}
