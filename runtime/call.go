package rpcmesh

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// NewClientStream makes the namespace a [connect.Transport] for generated clients: it opens a call of
// spec's function at the origin that the table names. Where there is none, the call waits as long as a link
// of this node is in its first dial or exchange of tables, or is dialled again at once after it broke. Then it
// fails: with unimplemented where nobody within reach has or lately had the function, which says what may have
// been meant; with unavailable where it may yet come, or the node is closed. [ErrorInfoOf] tells more, and
// [WaitForReady] has calls wait for what may come. A unary
// call without a deadline gets [Config.CallTimeout]. A call that fails in the mesh carries a
// [rpcmeshv1.CallFailure], see [FailureOf]; one that certainly did not start, or that its method allows
// to repeat, is tried again within its deadline: see Retries in the package's documentation. The stream's
// Send returns io.EOF where the call has ended; Receive says how.
func (ns *Namespace) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	if ns.err != nil {
		return nil, ns.node.failedBy(ns.err, notStarted)
	}
	if ns.node.ctx.Err() != nil {
		return nil, ns.node.closedCall()
	}
	info, ok := connect.CallInfoForClientContext(ctx)
	if !ok {
		ctx, info = connect.NewClientContext(ctx)
	}
	info.Spec = spec
	info.Protocol, info.Codec = protocolName, connect.CodecNameProto
	info.RequestEncoding, info.ResponseEncoding = connect.CompressionNameIdentity, connect.CompressionNameIdentity
	s := &outgoing{ns: ns, ctx: ctx, spec: spec, info: info}
	if deadline, limited := ctx.Deadline(); limited {
		s.deadline = deadline
	} else if spec.StreamType == connect.StreamTypeUnary && ns.node.cfg.CallTimeout > 0 {
		s.limit()
	}
	if err := s.find(); err != nil {
		if err := s.awaitRoute(err); err != nil {
			return nil, err
		}
	}
	s.begin()
	return s, nil
}

// outgoing is one call as its caller sees it: a sequence of attempts, mostly of one.
type outgoing struct {
	ns       *Namespace
	ctx      context.Context //nolint:containedctx // a stream's operations run on the context it was opened with
	deadline time.Time       // zero: none
	limited  bool            // the deadline is of [Config.CallTimeout]
	spec     connect.Spec
	info     *connect.CallInfo
	over     error           // how the call has ended, once Receive has reported it; Receive's goroutine only
	prompt   bool            // the caller is in Send or Receive until the call ends
	waiter   link.Completion // of the first attempt, where nobody waits
	caller   *link.Caller    // nil before the first attempt, and for a proxy

	mu       sync.Mutex
	route    route
	call     *link.ClientCall // the current attempt, nil before the first
	first    link.ClientCall  // room for the first
	pending  *atomic.Int64    // counts the current attempt where the policy wants to know, else nil
	attempts int
	tried    []mesh.NodeID   // where, since all were
	unsure   bool            // the outcome of an earlier attempt is unknown
	answered bool            // something of the response has arrived
	sent     []*link.Buffer  // what was sent, for another attempt
	one      [1]*link.Buffer // room for sent
	sentCost int             // of sent
	sends    int             // how many are under way
	tooLong  bool            // sent is not complete
	closed   bool            // the send side is closed, or has had its one message
	replayed chan struct{}   // closed when the current attempt has been sent all that was sent before it; nil: it has
	finished bool
	unwatch  func() bool   // ends the watch on ctx
	letGo    chan struct{} // nil, or closed when finished: another attempt waits for its route

	local localCall
}

// begin counts the call among the node's own.
func (s *outgoing) begin() {
	s.ns.node.origins.begin()
	s.ns.node.retries.call()
	if s.spec.StreamType != connect.StreamTypeUnary && s.ctx.Done() != nil {
		// A stream may be abandoned by ending its context.
		s.mu.Lock()
		defer s.mu.Unlock()
		s.unwatch = context.AfterFunc(s.ctx, s.finish)
	}
}

// finish takes the call off the node's counts. It may be called again.
func (s *outgoing) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.finished {
		return
	}
	s.finished = true
	if s.letGo != nil {
		close(s.letGo)
	}
	if s.unwatch != nil {
		s.unwatch()
	}
	s.countPending(nil)
	s.forget()
	s.ns.node.locals.remove(s)
	s.ns.node.origins.end()
}

// single tells that the request is one message.
func (s *outgoing) single() bool { return s.spec.StreamType&connect.StreamTypeClient == 0 }

func (s *outgoing) SendHeaders() error {
	for {
		s.mu.Lock()
		call, err := s.current()
		s.mu.Unlock()
		if err != nil {
			return err
		}
		if err = call.SendHeaders(); err == nil || call.Failure() == nil {
			return s.told(call, err)
		}
		if !s.again(call) {
			return s.end(call, err)
		}
	}
}

func (s *outgoing) Send(msg any) error {
	b, err := marshal(msg)
	if err != nil {
		return s.cannotSend(err)
	}
	s.info.SendStats = connect.MessageStats{Size: len(b.B)}
	call, kept, err := s.sending(b)
	if errors.Is(err, errSentAll) {
		b.Free()
		return s.cannotSend(err)
	}
	if err != nil {
		return err
	}
	err = call.Send(b.B)
	s.hasSent(err)
	if !kept {
		b.Free()
	}
	switch ended := errors.Is(err, io.EOF); {
	case err == nil:
		return nil
	case !ended && call.Failure() == nil:
		s.unkeep(b) // too long, say: the call goes on
		return s.told(call, err)
	case ended && s.single():
		return nil // Receive reports why, and tries again where that is safe
	case s.againAfterSend(call):
		return nil // b went with the rest
	case ended:
		return err
	}
	return s.end(call, err) // it could not be opened
}

// againAfterSend is again for one who may be the first to find that the attempt has failed.
func (s *outgoing) againAfterSend(call *link.ClientCall) bool {
	call.EndIfDrained()
	return s.again(call)
}

// cannotSend is the error of a Send that does not reach the call, which goes on.
func (s *outgoing) cannotSend(err error) error {
	s.mu.Lock()
	call := s.call
	s.mu.Unlock()
	if call == nil {
		return s.ns.node.failedBy(err, notStarted)
	}
	return s.told(call, err)
}

// sending returns the attempt to send b on, and whether b is kept for another one. hasSent is its end.
func (s *outgoing) sending(b *link.Buffer) (call *link.ClientCall, kept bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, false, errSentAll
	}
	call, err = s.currentReplayed()
	if err == nil {
		kept = s.keep(b)
		s.sends++
	}
	return call, kept, err
}

// hasSent notes how sending ended: what was a single request's is all there is to send.
func (s *outgoing) hasSent(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sends--
	s.closed = s.closed || err == nil && s.single()
}

func (s *outgoing) CloseSend() error {
	if s.single() {
		return nil // went with the message
	}
	s.mu.Lock()
	s.closed = true
	call, err := s.currentReplayed()
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if err = call.CloseSend(); err == nil || call.Failure() == nil {
		return s.told(call, err)
	}
	if s.again(call) {
		return nil // the end of sending went with the rest
	}
	return s.end(call, err)
}

// ReceiveHeaders makes the outgoing a [HeaderReceiver].
func (s *outgoing) ReceiveHeaders() bool {
	s.mu.Lock()
	call, err := s.current()
	s.mu.Unlock()
	if err != nil || !call.ReceiveHeaders() {
		return false // Receive finds out why, and tries again where that is safe
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call != call {
		return false // it was lost with its headers, and another attempt is under way
	}
	s.answered = true
	s.forget()
	return true
}

func (s *outgoing) Receive(msg any) error {
	if s.over != nil {
		return s.over
	}
	b, err := s.receive()
	if err != nil {
		s.over = err
		return err
	}
	if err := unmarshal(b, msg); err != nil {
		_ = s.Close() // always nil
		s.over = s.ns.node.invalidResponse(b, msg, err)
		return s.over
	}
	if s.spec.StreamType&connect.StreamTypeServer == 0 {
		err := s.receiveEnd()
		s.over = cmp.Or(err, io.EOF)
		return err
	}
	return nil
}

// receive returns the next message, of another attempt where the current one failed and may be
// repeated.
func (s *outgoing) receive() ([]byte, error) {
	for {
		s.mu.Lock()
		call, err := s.current()
		s.mu.Unlock()
		if err != nil {
			s.finish()
			return nil, err
		}
		b, err := call.Receive()
		if err == nil {
			s.answer()
			s.info.ReceiveStats = connect.MessageStats{Size: len(b)}
			return b, nil
		}
		if !errors.Is(err, io.EOF) && s.again(call) {
			continue
		}
		return nil, s.end(call, err)
	}
}

// receiveEnd takes the end of a call that has one response, after it.
func (s *outgoing) receiveEnd() error {
	s.mu.Lock()
	call := s.call
	s.mu.Unlock()
	_, err := call.Receive()
	switch {
	case err == nil:
		_ = s.Close() // always nil
		return s.ns.node.failed(connect.CodeInternal, started, "the handler sent more than the one response of its method")
	case errors.Is(err, io.EOF):
		_ = s.end(call, err)
		return nil
	}
	return s.end(call, err)
}

// answer notes that the response has begun.
func (s *outgoing) answer() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answered = true
	s.forget()
}

// end frees the call and says of a failure in the mesh how far it had come.
func (s *outgoing) end(call *link.ClientCall, err error) error {
	if s.local.cut.Load() {
		err = s.closedOver()
	} else {
		err = s.told(call, err)
	}
	_ = call.Close() // the call is over: what matters is how
	s.finish()
	return err
}

func (s *outgoing) Close() error {
	s.mu.Lock()
	call := s.call
	s.mu.Unlock()
	s.finish()
	if call == nil {
		return nil
	}
	return call.Close()
}
