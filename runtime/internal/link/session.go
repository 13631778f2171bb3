package link

import (
	"context"
	"crypto/ed25519"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
)

const (
	// closeTimeout bounds how long Close waits for the goodbye to be sent.
	closeTimeout = time.Second
	// hangUpTimeout bounds how long it then waits for the other end to hang up. To close a connection over
	// what has not been read resets it, and the goodbye is lost with it.
	hangUpTimeout = time.Second
)

// Peer is the other end of a session, as it says itself.
type Peer struct {
	Node        NodeID
	Incarnation uint64
	// Key is the public half of the key of this start of the other end, which has proven that it has the
	// private one; nil where it told none.
	Key ed25519.PublicKey
	// Join is what the other end said of itself and of the link. It is shared: don't change it.
	Join *linkv1.Join
	// Features are the names of what the other end can do beyond the wire's first version.
	Features []string
	// OldProofs tells that the other end knows only the first order of proofs.
	OldProofs bool
}

// Session is a link that has been started. Its methods may be called concurrently.
type Session struct {
	conn        Conn
	nonblocking trySender      // conn, if it can try
	readAhead   readAheadConn  // conn, if it knows what it has read ahead
	congestion  congestionConn // conn, if it knows how much is under way
	liveness    livenessConn   // conn, if it knows of each sign of life
	cfg         Config
	dialler     bool
	peer        Peer
	epoch       time.Time // where the session's clock starts
	handler     Handler

	done          chan struct{} // closed with cause
	callsEnded    chan struct{} // closed when no call is left
	goodbyeSent   chan struct{} // closed when the goodbye has been sent
	keepaliveWake chan struct{} // wakes the keeper
	received      atomic.Uint64 // packets
	reading       atomic.Bool   // the reader is in the conn's Receive
	shut          atomic.Bool   // closed returns an error
	probeFailed   atomic.Bool   // a probe was not answered
	opening       atomic.Bool   // an open is being handled, and has neither an end here nor its refusal yet

	mu            sync.Mutex
	cause         *Ended
	closing       *linkv1.Goodbye
	localCalls    callTable // calls that this end opened
	peerCalls     callTable
	running       bool
	acceptedOpens uint64 // opens of the other end's, as the goodbye will tell
	parted        bool   // the goodbye is on its way: no more are taken
	handlers      int    // running, also those whose call has ended
	nextDeadline  int64
	out           outbox
	writer        sync.Cond
	memory        memory

	drained chan struct{} // see Drained

	callerPool  freeList[*callerEndpoint]
	handlerPool freeList[*handlerEndpoint]
	relayPool   freeList[*relay] // of calls that came in

	reader readerState
}

func newSession(c Conn, cfg Config, dialler bool, peer Peer) *Session {
	s := &Session{
		conn: c, cfg: cfg, dialler: dialler, peer: peer,
		epoch:         time.Now(),
		done:          make(chan struct{}),
		callsEnded:    make(chan struct{}),
		goodbyeSent:   make(chan struct{}),
		keepaliveWake: make(chan struct{}, 1),
	}
	s.localCalls.limit = min(int(peer.Join.GetMaxCalls()), maxMaxCalls)
	s.peerCalls.limit = cfg.Limits.MaxCalls
	s.out = outbox{buf: make([]byte, HeadRoom, minOutBuffer), packet: 1}
	s.writer.L = &s.mu
	s.nonblocking, _ = c.(trySender)
	s.readAhead, _ = c.(readAheadConn)
	s.liveness, _ = c.(livenessConn)
	if s.congestion, _ = c.(congestionConn); s.congestion != nil {
		s.congestion.OnUncongested(s.wakeWriter)
	}
	return s
}

// Peer returns the other end.
func (s *Session) Peer() Peer { return s.peer }

// Done is closed when the session has ended or is about to.
func (s *Session) Done() <-chan struct{} { return s.done }

// Bind says that Run follows at once, with the same h: from now on Close says goodbye. Those who make the
// session known before they run it call it first.
func (s *Session) Bind(h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler, s.running = h, true
}

// Run reads until the session ends, then tells h, ends every call on it and waits for the session's
// goroutines (handlers belong to the Workers). It is called once, soon after Dial or Accept, and returns
// an *Ended.
func (s *Session) Run(h Handler) error {
	s.Bind(h)
	var own sync.WaitGroup
	own.Go(s.writeLoop)
	own.Go(s.keepaliveLoop)
	s.TableChanged()
	ended := s.readLoop()
	own.Go(func() { s.end(ended) }) // closing may take a while, and others wait to know
	<-s.done
	h.Ended(s.cause)
	s.endCalls()
	close(s.callsEnded)
	own.Wait()
	return s.cause
}

// Close sends what is ready to be sent and a goodbye, then ends the session when the other end has hung
// up. It waits for either at most a second, and not for Run. Before Bind and Run it does so, too: the other
// end may have opened calls already.
func (s *Session) Close(bye *linkv1.Goodbye) {
	if bye == nil {
		bye = new(linkv1.Goodbye)
	}
	s.mu.Lock()
	first, running := s.beginCloseLocked(bye), s.running
	s.mu.Unlock()
	s.finishClose(bye, first, running)
}

// CloseIdle is Close for a session that has no calls, of either end's. Otherwise it does nothing, and reports false.
func (s *Session) CloseIdle(bye *linkv1.Goodbye) bool {
	s.mu.Lock()
	if s.localCalls.live > 0 || s.peerCalls.live > 0 || s.opening.Load() {
		s.mu.Unlock()
		return false
	}
	first, running := s.beginCloseLocked(bye), s.running
	s.mu.Unlock()
	s.finishClose(bye, first, running)
	return true
}

// beginCloseLocked has the writer say goodbye, and reports whether nobody has done so before.
func (s *Session) beginCloseLocked(bye *linkv1.Goodbye) (first bool) {
	if first = s.closing == nil; first {
		s.closing = bye
		s.shut.Store(true)
		s.out.tableDue = s.out.tableDue || s.running // which says whether one is coming
	}
	s.writer.Signal()
	return first
}

func (s *Session) finishClose(bye *linkv1.Goodbye, first, running bool) {
	if first && !running {
		s.closeUnstarted(bye)
		return
	}
	if s.waitClosed(s.goodbyeSent, closeTimeout) {
		s.waitClosed(s.done, hangUpTimeout)
	}
	s.end(endedByClose(bye))
}

// closeUnstarted says the goodbye of a session that is not to run, and reads on until the other end hangs up.
func (s *Session) closeUnstarted(bye *linkv1.Goodbye) {
	var own sync.WaitGroup
	defer own.Wait()
	hungUp := make(chan struct{})
	own.Go(func() {
		defer close(hungUp)
		s.mu.Lock()
		s.sendGoodbyeLocked()
		s.mu.Unlock()
		for err := error(nil); err == nil; {
			_, err = s.conn.Receive()
		}
	})
	s.waitClosed(hungUp, hangUpTimeout)
	s.end(endedByClose(bye))
}

// waitClosed waits until c is closed or the session has ended, for limit at most, and reports whether it is.
func (s *Session) waitClosed(c <-chan struct{}, limit time.Duration) bool {
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case <-c:
		return true
	case <-s.done:
	case <-timeout.C:
	}
	return false
}

// FailViolation ends the session for what the other end has said, as it is found out later than by the return
// of [Handler.Table].
func (s *Session) FailViolation(err error) { s.end(violation(err)) }

func endedByClose(bye *linkv1.Goodbye) *Ended {
	return &Ended{Kind: EndClosed, Leaving: bye.GetLeaving(), Reason: bye.GetReason()}
}

// end ends the session; the first cause counts.
func (s *Session) end(cause *Ended) {
	s.mu.Lock()
	first := s.cause == nil
	if first {
		if s.closing != nil && cause.Kind == EndBroken {
			// The other end has hung up on the goodbye.
			cause = endedByClose(s.closing)
		}
		s.cause = cause
		s.shut.Store(true)
		close(s.done)
		s.writer.Broadcast()
	}
	s.mu.Unlock()
	if first {
		s.conn.Close(cause.closeError())
	}
}

// endCalls ends what is still open, once nobody reads any more or begins to write.
func (s *Session) endCalls() {
	s.mu.Lock()
	var ends []endpoint
	for _, t := range []*callTable{&s.localCalls, &s.peerCalls} {
		for i := range t.slots {
			if end := t.slots[i].endpoint; end != nil {
				ends = append(ends, end)
			}
		}
	}
	s.mu.Unlock()
	for _, end := range ends {
		end.sessionEnded(s, s.cause)
	}
	s.mu.Lock()
	s.localCalls, s.peerCalls = callTable{}, callTable{}
	s.signalDrainedLocked()
	s.out = outbox{packet: s.out.packet, lastBegun: s.out.lastBegun}
	s.mu.Unlock()
}

// errSessionEnded is the error of a call that ends with its session.
func (s *Session) errSessionEnded(cause *Ended) *connect.Error {
	return connect.NewError(connect.CodeUnavailable, cause.Error()).WithCause(cause)
}

// NewCall prepares a call over the session. The call is opened with its first SendHeaders, Send,
// CloseSend or Receive. It fails with a *connect.Error if the session has ended: the call has certainly not
// started.
func (s *Session) NewCall(ctx context.Context, o Open) (*ClientCall, error) {
	c := new(ClientCall)
	if err := s.Open(ctx, o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// Open is Open for one who has the room for a call: c is a zero ClientCall, and stays so if it fails.
func (s *Session) Open(ctx context.Context, o Open, c *ClientCall) error {
	if s.shut.Load() {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.closedErrorLocked()
	}
	c.open, c.ctx, c.s, c.limits, c.mu = o, ctx, s, &s.cfg.Limits, &s.mu
	return nil
}

// closedErrorLocked is why no call can be opened. The session's lock is held.
func (s *Session) closedErrorLocked() *connect.Error {
	switch {
	case s.cause != nil:
		return s.errSessionEnded(s.cause)
	case s.closing != nil:
		return connect.NewError(connect.CodeUnavailable, "the link is closing")
	}
	return nil
}

// isLocal reports whether the call of that id is one that this end opened.
func (s *Session) isLocal(id uint32) bool {
	_, odd := idSlot(id)
	return odd == s.dialler
}

// registerLocked takes an id for a call of this end's. The session's lock is held.
func (s *Session) registerLocked(e endpoint) *connect.Error {
	if err := s.closedErrorLocked(); err != nil {
		return err
	}
	i, ok := s.localCalls.reserve(e)
	if !ok {
		return connect.Errorf(connect.CodeResourceExhausted,
			"the link from node %q has as many calls open as the Limits.MaxCalls of %d at its other end allows: try again later", s.cfg.Name, s.localCalls.limit)
	}
	h := e.state()
	h.s, h.id = s, slotID(i, s.dialler)
	h.sendWindow = int(s.peer.Join.GetWindow())
	h.recvWindow = s.cfg.Limits.Window
	if h.deadline != 0 {
		s.armDeadlineLocked(h.deadline)
	}
	return nil
}

// cancelLocked cancels a call of this end's and keeps its id until the other end has answered. The session's
// lock is held.
func (s *Session) cancelLocked(h *callState, code connect.Code) {
	i, _ := idSlot(h.id)
	if h.openPacket == 0 {
		s.localCalls.release(i)
		return
	}
	s.localCalls.markCanceled(i)
	s.out.buf = appendCancel(s.out.buf, h.id, code)
}

// releaseCanceledLocked frees the id of a call that this end let go of, now that the other end has answered.
func (s *Session) releaseCanceledLocked(id uint32) {
	if i, _ := idSlot(id); s.localCalls.at(i).canceled {
		s.localCalls.release(i)
	}
}

// answered ends a call of the other end's with end, the body of an End. The session's lock is held.
func (s *Session) sendEndLocked(h *callState, end []byte) {
	f := outFrame{hasEnd: true, end: end}
	s.out.buf = f.appendTo(s.out.buf, h.id, nil)
	s.endPeerCallLocked(h.id)
}

// endPeerCallLocked frees the slot of a call of the other end's, whose end is in the packet being filled. The
// session's lock is held.
func (s *Session) endPeerCallLocked(id uint32) {
	i, _ := idSlot(id)
	s.peerCalls.endSlot(i, s.out.packet)
	s.signalDrainedLocked()
}

// acceptCallLocked gives a call of the other end's, whose open is being handled, its end here. The session's lock is
// held.
func (s *Session) acceptCallLocked(id uint32, end endpoint) {
	i, _ := idSlot(id)
	s.peerCalls.set(i, end)
	s.opening.Store(false)
}

// Drained is closed once the other end has no call open here, served or relayed, or the session has ended.
func (s *Session) Drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained == nil {
		s.drained = make(chan struct{})
	}
	drained := s.drained
	s.signalDrainedLocked()
	return drained
}

// signalDrainedLocked tells those who wait for Drained. The session's lock is held.
func (s *Session) signalDrainedLocked() {
	if s.drained != nil && s.peerCalls.live == 0 && !s.opening.Load() {
		close(s.drained)
		s.drained = nil
	}
}

// now is the time on the session's clock.
func (s *Session) now() int64 { return int64(time.Since(s.epoch)) }
