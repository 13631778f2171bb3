package rpcmesh

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// maxHops is how many links a call may cross.
	maxHops = 64
	// maxReplay bounds the request bytes that a stream keeps for being called again elsewhere.
	maxReplay = 64 << 10
	// maxAttempts bounds how often one call is tried.
	maxAttempts = 10
	// retryPause is what the second try waits for a change of the table at most; it doubles.
	retryPause = 5 * time.Millisecond
)

// NewClientStream makes the namespace a [connect.Transport] for generated clients: it opens a call of
// spec's function at the origin that the table names. A function that cannot be called from here fails
// with unimplemented, which says what is known of it. A unary call without a deadline gets
// [Config.CallTimeout]. A call that fails in the mesh carries a [rpcmeshv1.CallFailure], see
// [FailureOf]; one that certainly did not start, or that its method allows to repeat, is tried again
// within its deadline. The stream's Send returns io.EOF where the call has ended; Receive says how.
func (ns *Namespace) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	if ns.err != nil {
		return nil, ns.err
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
		s.deadline = time.Now().Add(ns.node.cfg.CallTimeout)
	}
	if err := s.find(); err != nil {
		return nil, err
	}
	return s, nil
}

// outgoing is one call as its caller sees it: a sequence of attempts, mostly of one.
type outgoing struct {
	ns       *Namespace
	ctx      context.Context //nolint:containedctx // a stream's operations run on the context it was opened with
	deadline time.Time       // zero: none
	spec     connect.Spec
	info     *connect.CallInfo
	ended    bool // Receive has reported the end; Receive's goroutine only

	mu       sync.Mutex
	route    route
	call     *link.ClientCall // the current attempt, nil before the first
	attempts int
	answered bool     // something of the response has arrived
	sent     [][]byte // what was sent, for another attempt; nil where that is out of question
	sentSize int
	tooLong  bool // sent is not complete
	closed   bool // the send side is closed
}

func (s *outgoing) find() error {
	r, err := s.ns.find(s.spec)
	s.route = r
	return err
}

// single tells that the request is one message.
func (s *outgoing) single() bool { return s.spec.StreamType&connect.StreamTypeClient == 0 }

func (s *outgoing) SendHeaders() error {
	call, err := s.current()
	if err != nil {
		return err
	}
	return call.SendHeaders()
}

func (s *outgoing) Send(msg any) error {
	b, err := marshal(msg)
	if err != nil {
		return err
	}
	s.info.SendStats = connect.MessageStats{Size: len(b)}
	for {
		call, err := s.current()
		if err != nil {
			return err
		}
		err = call.Send(b)
		switch {
		case err == nil:
			s.keep(call, b)
			return nil
		case !errors.Is(err, io.EOF):
			return err
		case s.single():
			s.keep(call, b)
			return nil // Receive reports why, and tries again where that is safe
		case !s.again(call):
			return io.EOF
		}
	}
}

// keep holds b for another attempt.
func (s *outgoing) keep(call *link.ClientCall, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answered || s.tooLong || call != s.call {
		return
	}
	if s.sentSize += len(b); s.sentSize > maxReplay && !s.single() {
		s.sent, s.tooLong = nil, true
		return
	}
	s.sent = append(s.sent, b)
}

func (s *outgoing) CloseSend() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	if s.single() {
		return nil // went with the message
	}
	call, err := s.current()
	if err != nil {
		return err
	}
	if err := call.CloseSend(); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (s *outgoing) Receive(msg any) error {
	if s.ended {
		return io.EOF
	}
	b, err := s.receive()
	if err != nil {
		s.ended = true
		return err
	}
	if err := unmarshal(b, msg); err != nil {
		_ = s.Close()
		return connect.NewError(connect.CodeInternal, "rpcmesh: the response is not a valid message of its type").WithCause(err)
	}
	if s.spec.StreamType&connect.StreamTypeServer == 0 {
		return s.receiveEnd()
	}
	return nil
}

// receive returns the next message, of another attempt where the current one failed and may be
// repeated.
func (s *outgoing) receive() ([]byte, error) {
	for {
		call, err := s.current()
		if err != nil {
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
	s.ended = true
	call, _ := s.current()
	_, err := call.Receive()
	switch {
	case err == nil:
		_ = s.Close()
		return connect.NewError(connect.CodeInternal, "rpcmesh: the handler sent more than the one response of its method")
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
	s.answered, s.sent = true, nil
}

// end frees the call and says of a failure in the mesh how far it had come.
func (s *outgoing) end(call *link.ClientCall, err error) error {
	if failure := call.Failure(); failure != nil {
		if e, ok := errors.AsType[*connect.Error](err); ok {
			err = withFailure(e, failure)
		}
	}
	_ = call.Close() // the call is over: what matters is how
	return err
}

func (s *outgoing) Close() error {
	s.mu.Lock()
	call := s.call
	s.mu.Unlock()
	if call == nil {
		return nil
	}
	return call.Close()
}

// current returns the attempt that is under way, and opens the first.
func (s *outgoing) current() (*link.ClientCall, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call != nil {
		return s.call, nil
	}
	for {
		call, err := s.open()
		if err == nil {
			s.call = call
			return call, nil
		}
		if !s.reroute() {
			return nil, err
		}
	}
}

// open starts an attempt on the current route. The caller holds s.mu.
func (s *outgoing) open() (*link.ClientCall, error) {
	s.attempts++
	n, t := s.ns.node, s.route.target
	o := link.Open{
		Namespace: t.LinkNamespace, Procedure: s.spec.Procedure,
		Origin: link.NodeID(t.Node), OriginNamespace: t.Namespace,
		Hops: maxHops, StreamType: s.spec.StreamType, Deadline: s.deadline,
		Header: s.info.RequestHeader(), ResponseHeader: s.info.ResponseHeader(), ResponseTrailer: s.info.ResponseTrailer(),
	}
	s.info.PeerAddr = t.Name
	if t.Local {
		m := n.origins.find(t.Namespace, s.spec.Procedure)
		if m == nil {
			return nil, n.notStarted("the function was withdrawn")
		}
		o.Namespace = t.Namespace
		return link.Local(s.ctx, o, n.linkLimits(), n.workers, m.serve), nil
	}
	session := n.session(t.Link)
	if session == nil {
		return nil, n.notStarted("the link was lost")
	}
	return session.link.Open(s.ctx, o)
}

// again replaces a failed attempt by another where that is safe, and reports whether there is one. Both
// the sending and the receiving goroutine may come here with the same attempt.
func (s *outgoing) again(failed *link.ClientCall) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call != failed {
		return true
	}
	if !s.repeatable(failed.Failure()) {
		return false
	}
	for s.reroute() {
		call, err := s.open()
		if err != nil {
			continue
		}
		_ = failed.Close()
		s.call = call
		s.replay(call)
		return true
	}
	return false
}

// repeatable decides by the failure's certainty. The caller holds s.mu.
func (s *outgoing) repeatable(failure *rpcmeshv1.CallFailure) bool {
	if failure == nil || s.answered || s.tooLong || s.expired() {
		return false
	}
	switch failure.GetCertainty() {
	case rpcmeshv1.CallFailure_CERTAINTY_NOT_STARTED:
		return true
	case rpcmeshv1.CallFailure_CERTAINTY_UNKNOWN:
		whole := s.single() || s.closed
		return whole && s.spec.IdempotencyLevel != connect.IdempotencyUnknown
	default:
		return false
	}
}

func (s *outgoing) expired() bool {
	return s.ctx.Err() != nil || (!s.deadline.IsZero() && !time.Now().Before(s.deadline))
}

// replay sends what the failed attempt was sent. What fails here shows at the next Receive. The
// caller holds s.mu.
func (s *outgoing) replay(call *link.ClientCall) {
	for _, b := range s.sent {
		_ = call.Send(b)
	}
	if s.closed && !s.single() {
		_ = call.CloseSend()
	}
}

// reroute looks for a way after a failure: at once where the table has changed since, else after a
// pause. It reports false where there is none, or the call has had its share. The caller holds s.mu.
func (s *outgoing) reroute() bool {
	if s.attempts >= maxAttempts || s.expired() {
		return false
	}
	if table, changed := s.ns.node.await(); table == s.route.table {
		pause := time.NewTimer(retryPause << (s.attempts - 1))
		defer pause.Stop()
		select {
		case <-changed:
		case <-pause.C:
		case <-s.ctx.Done():
			return false
		}
	}
	return s.find() == nil
}
