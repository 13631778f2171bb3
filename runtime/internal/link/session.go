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
	// hangUpTimeout bounds how long it then waits for the peer to close the connection. To close it while there is
	// something unread would reset it, and the goodbye would be lost.
	hangUpTimeout = time.Second
)

// Peer is the node at the other end of a session, as it says itself.
type Peer struct {
	Node        NodeID
	Incarnation uint64
	// Key is the public key of this start of the peer, which has proven that it has the private one; nil where it told
	// none.
	Key ed25519.PublicKey
	// Join is what the peer said of itself and of the link. It is shared: don't change it.
	Join *linkv1.Join
	// Features are the names of what the peer can do beyond the wire's first version.
	Features []string
	// OldProofs says that the peer knows only the first order of proofs.
	OldProofs bool
}

// Session is a link that has been started. Its methods may be called concurrently.
type Session struct {
	conn        Conn
	nonblocking TrySender      // conn, if it can send without waiting
	readAhead   ReadAheadConn  // conn, if it knows what it has read ahead
	congestion  CongestionConn // conn, if it knows how much is in flight
	liveness    LivenessConn   // conn, if it knows of each sign of life
	cfg         Config
	dialler     bool
	peer        Peer
	epoch       time.Time // where the session's clock starts
	handler     Handler

	done          chan struct{} // closed with cause
	callsEnded    chan struct{} // closed when no call is left
	goodbyeSent   chan struct{} // closed when the goodbye has been sent
	keepaliveWake chan struct{}
	phase         atomic.Uint32 // a sessionPhase; set under mu
	received      atomic.Uint64 // packets
	reading       atomic.Bool   // the reader is in Receive of conn
	probeFailed   atomic.Bool
	opening       atomic.Bool // an open is being handled, and has neither an endpoint here nor its refusal yet

	mu            sync.Mutex
	cause         *Ended          // with phaseEnded
	closing       *linkv1.Goodbye // once Close was called
	running       bool            // Bind was called
	localCalls    callTable       // calls that this end opened
	peerCalls     callTable
	acceptedOpens uint64 // of the peer's, as the goodbye will tell
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

// sessionPhase is how far a session has come. It only moves on.
//
//	          Close              all is sent, each call that came in has its end here
//	phaseOpen ─────► phaseClosing ─────────────────────────────────────► phaseParting
//	    │                 │                                                   │
//	    │                 │ the connection breaks, Close waited for too long  │ the peer has hung up
//	    │                 ▼                                                   │
//	    └────────────► phaseEnded ◄───────────────────────────────────────────┘
//	      a goodbye, a break, silence, a violation
type sessionPhase uint32

const (
	phaseOpen sessionPhase = iota
	phaseClosing
	phaseParting // the goodbye is on its way: no more opens are accepted
	phaseEnded
)

func (s *Session) inPhase() sessionPhase { return sessionPhase(s.phase.Load()) }

// advanceLocked moves on to a phase, unless the session is there or further on.
func (s *Session) advanceLocked(to sessionPhase) {
	if s.inPhase() < to {
		s.phase.Store(uint32(to))
	}
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
	s.nonblocking, _ = c.(TrySender)
	s.readAhead, _ = c.(ReadAheadConn)
	s.liveness, _ = c.(LivenessConn)
	s.congestion, _ = c.(CongestionConn)
	if s.congestion != nil {
		s.congestion.OnUncongested(s.wakeWriter)
	}
	return s
}

// Peer returns the node at the other end.
func (s *Session) Peer() Peer { return s.peer }

// Done is closed when the session has ended or is about to.
func (s *Session) Done() <-chan struct{} { return s.done }

// Bind says that Run will be called soon, with the same h: from now on Close leaves the goodbye to Run's writer. Whoever
// makes the session known before running it calls Bind first.
func (s *Session) Bind(h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler, s.running = h, true
}

// Run reads until the session ends, then tells h, ends every call on it and waits for the session's goroutines (handlers
// belong to the Workers). It is called once, soon after Dial or Accept, and returns an *Ended.
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

// Close sends what is ready to be sent and a goodbye, then ends the session when the peer has closed the connection. It
// waits for either at most a second, and not for Run. It may be called before Bind and Run, too: the peer may have
// opened calls already.
func (s *Session) Close(bye *linkv1.Goodbye) {
	if bye == nil {
		bye = new(linkv1.Goodbye)
	}
	s.mu.Lock()
	first, running := s.beginCloseLocked(bye), s.running
	s.mu.Unlock()
	s.finishClose(bye, first, running)
}

// CloseIdle is Close for a session on which neither end has a call open. Otherwise it does nothing, and returns false.
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

// beginCloseLocked lets the writer send the goodbye, and reports whether this is the first call.
func (s *Session) beginCloseLocked(bye *linkv1.Goodbye) (first bool) {
	first = s.closing == nil
	if first {
		s.closing = bye
		s.advanceLocked(phaseClosing)
		if s.running {
			s.out.due |= dueTable // PullTable says whether one is coming
		}
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

// closeUnstarted sends the goodbye of a session that will not be run, and reads on until the peer has closed the
// connection.
func (s *Session) closeUnstarted(bye *linkv1.Goodbye) {
	var own sync.WaitGroup
	defer own.Wait()
	hungUp := make(chan struct{})
	own.Go(func() {
		defer close(hungUp)
		s.mu.Lock()
		s.sendGoodbyeLocked()
		s.mu.Unlock()
		var err error
		for err == nil {
			_, err = s.conn.Receive()
		}
	})
	s.waitClosed(hungUp, hangUpTimeout)
	s.end(endedByClose(bye))
}

// waitClosed waits until c is closed, which it reports, or the session has ended, but no longer than limit.
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

// FailViolation ends the session because the peer has broken the protocol, where that is found later than by
// [Handler.Table].
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
			// The peer has closed the connection upon the goodbye.
			cause = endedByClose(s.closing)
		}
		s.cause = cause
		s.advanceLocked(phaseEnded)
		close(s.done)
		s.writer.Broadcast()
	}
	s.mu.Unlock()
	if first {
		s.conn.Close(cause.closeError())
	}
}

// endCalls ends the calls that are still open, once the session is neither read nor written any more.
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

// NewCall prepares a call over the session. The call is opened by its first SendHeaders, Send, CloseSend or Receive. It
// fails with a *connect.Error if the session has ended: the call has certainly not started.
func (s *Session) NewCall(ctx context.Context, o Open) (*ClientCall, error) {
	c := new(ClientCall)
	if err := s.Open(ctx, o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// Open is NewCall for a caller that has the memory for the handle: c is a zero ClientCall, and stays so if it fails.
func (s *Session) Open(ctx context.Context, o Open, c *ClientCall) error {
	if s.inPhase() != phaseOpen {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.closedErrorLocked()
	}
	c.prepare(ctx, o, s)
	return nil
}

// closedErrorLocked is why no call can be opened.
func (s *Session) closedErrorLocked() *connect.Error {
	switch {
	case s.cause != nil:
		return s.errSessionEnded(s.cause)
	case s.closing != nil:
		return connect.NewError(connect.CodeUnavailable, "the link is closing")
	}
	return nil
}

// now is the time on the session's clock.
func (s *Session) now() int64 { return int64(time.Since(s.epoch)) }
