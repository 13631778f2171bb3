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
	// partTimeout bounds how long it then waits for the other end to hang up. To close a connection over
	// what has not been read resets it, and the goodbye is lost with it.
	partTimeout = time.Second
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
	conn    Conn
	trier   trySender // conn, if it can try
	ahead   bufferer  // conn, if it knows what it has read ahead
	pace    pacer     // conn, if it knows how much is under way
	hears   hearer    // conn, if it knows of each sign of life
	cfg     Config
	dialler bool
	peer    Peer
	epoch   time.Time // where the session's clock starts
	handler Handler

	done     chan struct{} // closed with cause
	over     chan struct{} // closed when no call is left
	said     chan struct{} // closed when the goodbye has been sent
	rearm    chan struct{} // wakes the keeper
	received atomic.Uint64 // packets
	reading  atomic.Bool   // the reader is in the conn's Receive
	shut     atomic.Bool   // closed returns an error
	mute     atomic.Bool   // a probe was not answered
	taking   atomic.Bool   // an open is being handled, and has neither an end here nor its refusal yet

	mu       sync.Mutex
	cause    *Ended
	closing  *linkv1.Goodbye
	own      table // calls that this end opened
	theirs   table
	running  bool
	taken    uint64 // opens of the other end's, as the goodbye will tell
	parted   bool   // the goodbye is on its way: no more are taken
	handlers int    // running, also those whose call has ended
	alarm    int64
	out      outbox
	writer   sync.Cond
	memory   memory

	drained chan struct{} // see Drained

	spareCallers  spares[*callerEnd]
	spareHandlers spares[*handlerEnd]
	spareRelays   spares[*relay] // of calls that came in

	reader readerState
}

func newSession(c Conn, cfg Config, dialler bool, peer Peer) *Session {
	s := &Session{
		conn: c, cfg: cfg, dialler: dialler, peer: peer,
		epoch: time.Now(),
		done:  make(chan struct{}),
		over:  make(chan struct{}),
		said:  make(chan struct{}),
		rearm: make(chan struct{}, 1),
	}
	s.own.limit = min(int(peer.Join.GetMaxCalls()), maxMaxCalls)
	s.theirs.limit = cfg.Limits.MaxCalls
	s.out = outbox{buf: make([]byte, HeadRoom, minOutBuffer), packet: 1}
	s.writer.L = &s.mu
	s.trier, _ = c.(trySender)
	s.ahead, _ = c.(bufferer)
	s.hears, _ = c.(hearer)
	if s.pace, _ = c.(pacer); s.pace != nil {
		s.pace.OnUncongested(s.wake)
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
	own.Go(s.keep)
	s.TableChanged()
	ended := s.read()
	own.Go(func() { s.fail(ended) }) // closing may take a while, and others wait to know
	<-s.done
	h.Ended(s.cause)
	s.loseCalls()
	close(s.over)
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
	if s.own.live > 0 || s.theirs.live > 0 || s.taking.Load() {
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
		s.out.table = s.out.table || s.running // which says whether one is coming
	}
	s.writer.Signal()
	return first
}

func (s *Session) finishClose(bye *linkv1.Goodbye, first, running bool) {
	if first && !running {
		s.decline(bye)
		return
	}
	if s.await(s.said, closeTimeout) {
		s.await(s.done, partTimeout)
	}
	s.fail(closedBy(bye))
}

// decline says the goodbye of a session that is not to run, and reads on until the other end hangs up.
func (s *Session) decline(bye *linkv1.Goodbye) {
	var own sync.WaitGroup
	defer own.Wait()
	hungUp := make(chan struct{})
	own.Go(func() {
		defer close(hungUp)
		s.mu.Lock()
		s.sayGoodbye()
		s.mu.Unlock()
		for err := error(nil); err == nil; {
			_, err = s.conn.Receive()
		}
	})
	s.await(hungUp, partTimeout)
	s.fail(closedBy(bye))
}

// await waits until c is closed or the session has ended, for limit at most, and reports whether it is.
func (s *Session) await(c <-chan struct{}, limit time.Duration) bool {
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

// Violation ends the session for what the other end has said, as it is found out later than by the return
// of [Handler.Table].
func (s *Session) Violation(err error) { s.fail(violation(err)) }

func closedBy(bye *linkv1.Goodbye) *Ended {
	return &Ended{Kind: EndClosed, Leaving: bye.GetLeaving(), Reason: bye.GetReason()}
}

// fail ends the session; the first cause counts.
func (s *Session) fail(cause *Ended) {
	s.mu.Lock()
	first := s.cause == nil
	if first {
		if s.closing != nil && cause.Kind == EndBroken {
			// The other end has hung up on the goodbye.
			cause = closedBy(s.closing)
		}
		s.cause = cause
		s.shut.Store(true)
		close(s.done)
		s.writer.Broadcast()
	}
	s.mu.Unlock()
	if first {
		s.conn.Close(cause.tell())
	}
}

// loseCalls ends what is still open, once nobody reads any more or begins to write.
func (s *Session) loseCalls() {
	s.mu.Lock()
	var ends []callEnd
	for _, t := range []*table{&s.own, &s.theirs} {
		for i := range t.slots {
			if end := t.slots[i].end; end != nil {
				ends = append(ends, end)
			}
		}
	}
	s.mu.Unlock()
	for _, end := range ends {
		end.lose(s, s.cause)
	}
	s.mu.Lock()
	s.own, s.theirs = table{}, table{}
	s.noteDrained()
	s.out = outbox{packet: s.out.packet, begun: s.out.begun}
	s.mu.Unlock()
}

// lost is the error of a call that ends with its session.
func (s *Session) lost(cause *Ended) *connect.Error {
	return connect.NewError(connect.CodeUnavailable, cause.Error()).WithCause(cause)
}

// Open prepares a call over the session. The call is opened with its first SendHeaders, Send,
// CloseSend or Receive. It fails with a *connect.Error if the session has ended: the call has certainly not
// started.
func (s *Session) Open(ctx context.Context, o Open) (*ClientCall, error) {
	c := new(ClientCall)
	if err := s.OpenAs(ctx, o, c); err != nil {
		return nil, err
	}
	return c, nil
}

// OpenAs is Open for one who has the room for a call: c is a zero ClientCall, and stays so if it fails.
func (s *Session) OpenAs(ctx context.Context, o Open, c *ClientCall) error {
	if s.shut.Load() {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.closed()
	}
	c.open, c.ctx, c.s, c.limits, c.mu = o, ctx, s, &s.cfg.Limits, &s.mu
	return nil
}

// closed is why no call can be opened. The session's lock is held.
func (s *Session) closed() *connect.Error {
	switch {
	case s.cause != nil:
		return s.lost(s.cause)
	case s.closing != nil:
		return connect.NewError(connect.CodeUnavailable, "the link is closing")
	}
	return nil
}

// owns reports whether the call of that id is one that this end opened.
func (s *Session) owns(id uint32) bool {
	_, odd := idSlot(id)
	return odd == s.dialler
}

// openCall takes an id for a call of this end's. The session's lock is held.
func (s *Session) openCall(e callEnd) *connect.Error {
	if err := s.closed(); err != nil {
		return err
	}
	i, ok := s.own.take(e)
	if !ok {
		return connect.Errorf(connect.CodeResourceExhausted,
			"the link from node %q has as many calls open as the Limits.MaxCalls of %d at its other end allows: try again later", s.cfg.Name, s.own.limit)
	}
	h := e.core()
	h.s, h.id = s, slotID(i, s.dialler)
	h.credit = int(s.peer.Join.GetWindow())
	h.window = s.cfg.Limits.Window
	if h.deadline != 0 {
		s.arm(h.deadline)
	}
	return nil
}

// letGo cancels a call of this end's and keeps its id until the other end has answered. The session's
// lock is held.
func (s *Session) letGo(h *half, code connect.Code) {
	i, _ := idSlot(h.id)
	if h.opened == 0 {
		s.own.release(i)
		return
	}
	s.own.letGo(i)
	s.out.buf = appendCancel(s.out.buf, h.id, code)
}

// forgoneLocked frees the id of a call that this end let go of, now that the other end has answered.
func (s *Session) forgoneLocked(id uint32) {
	if i, _ := idSlot(id); s.own.at(i).zombie {
		s.own.release(i)
	}
}

// answered ends a call of the other end's with end, the body of an End. The session's lock is held.
func (s *Session) answer(h *half, end []byte) {
	f := outFrame{hasEnd: true, end: end}
	s.out.buf = f.appendTo(s.out.buf, h.id, nil)
	s.endTheirs(h.id)
}

// endTheirs frees the slot of a call of the other end's, whose end is in the packet being filled. The
// session's lock is held.
func (s *Session) endTheirs(id uint32) {
	i, _ := idSlot(id)
	s.theirs.end(i, s.out.packet)
	s.noteDrained()
}

// takeIn gives a call of the other end's, whose open is being handled, its end here. The session's lock is
// held.
func (s *Session) takeIn(id uint32, end callEnd) {
	i, _ := idSlot(id)
	s.theirs.put(i, end)
	s.taking.Store(false)
}

// Drained is closed once the other end has no call open here, served or relayed, or the session has ended.
func (s *Session) Drained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained == nil {
		s.drained = make(chan struct{})
	}
	drained := s.drained
	s.noteDrained()
	return drained
}

// noteDrained tells those who wait for Drained. The session's lock is held.
func (s *Session) noteDrained() {
	if s.drained != nil && s.theirs.live == 0 && !s.taking.Load() {
		close(s.drained)
		s.drained = nil
	}
}

// now is the time on the session's clock.
func (s *Session) now() int64 { return int64(time.Since(s.epoch)) }
