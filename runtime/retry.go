package rpcmesh

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	rpcmeshv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

const (
	// maxReplay bounds what a stream keeps for being called again elsewhere: in bytes, and a little more
	// for each message.
	maxReplay     = 64 << 10
	replayMessage = 16
	// maxAttempts bounds how often one call is tried.
	maxAttempts = 10
	// retryPause is what the second try waits for a change of the table at most; it doubles to
	// maxRetryPause.
	retryPause    = 5 * time.Millisecond
	maxRetryPause = 250 * time.Millisecond
)

// find picks the origin for the next attempt, whatever has been tried.
func (s *outgoing) find() error {
	r, err := s.ns.find(s.spec)
	s.route = r
	return err
}

// keep holds b for another attempt if there may be one, and reports whether it does. The caller holds
// s.mu.
func (s *outgoing) keep(b *link.Buffer) bool {
	if s.answered || s.tooLong || s.finished {
		return false
	}
	if s.sentCost == 0 {
		s.sent = s.one[:0]
	}
	if s.sentCost += len(b.B) + replayMessage; s.sentCost > maxReplay && !s.single() {
		s.forget()
		s.tooLong = true
		return false
	}
	s.sent = append(s.sent, b)
	return true
}

// forget lets go of what was kept. It leaves to the collector what may still be read: by a Send that is
// under way, or for another attempt. The caller holds s.mu.
func (s *outgoing) forget() {
	if s.sends == 0 && s.attempts <= 1 {
		for _, b := range s.sent {
			b.Free()
		}
	}
	s.sent = nil
}

// unkeep takes back the last keep, which was of b if it was one.
func (s *outgoing) unkeep(b *link.Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.sent) - 1; last >= 0 && s.sent[last] == b {
		s.sent = s.sent[:last]
		s.sentCost -= len(b.B) + replayMessage
	}
}

// current returns the attempt that is under way, and opens the first. The caller holds s.mu.
func (s *outgoing) current() (*link.ClientCall, error) {
	if s.call != nil {
		return s.call, nil
	}
	if s.finished && s.ctx.Err() == nil {
		return nil, s.ns.node.failed(connect.CodeCanceled, notStarted, "the caller closed the call before it began: use it before Close")
	}
	for {
		call, err := s.open()
		if err == nil {
			s.call = call
			return call, nil
		}
		if !isUnavailable(err) || !s.reroute(refused) {
			return nil, err
		}
		if s.call != nil {
			return s.call, nil // another goroutine has opened it meanwhile
		}
	}
}

// currentReplayed is current once it has been sent all that its predecessors were. The caller holds s.mu,
// which is let go of meanwhile.
func (s *outgoing) currentReplayed() (*link.ClientCall, error) {
	for {
		call, err := s.current()
		if err != nil || s.replayed == nil {
			return call, err
		}
		replayed := s.replayed
		s.mu.Unlock()
		<-replayed
		s.mu.Lock()
		if s.replayed == replayed {
			s.replayed = nil
		}
	}
}

// open starts an attempt on the current route. The caller holds s.mu.
func (s *outgoing) open() (*link.ClientCall, error) {
	s.attempts++
	n, t := s.ns.node, s.route.target
	if s.caller == nil {
		s.caller = n.callerFor(s.ctx)
	}
	o := s.wire(&t)
	s.info.PeerAddr = t.Name
	call := &s.first
	if s.attempts > 1 {
		call = new(link.ClientCall)
	}
	if t.Local {
		m := n.origins.find(t.Namespace, s.spec.Procedure)
		if m == nil {
			return nil, n.notStarted(n.withdrawnInfo(t.Namespace, s.spec.Procedure), "the function was withdrawn")
		}
		if limit := n.cfg.Limits.MaxCalls; n.origins.own.Load() >= int64(limit) {
			return nil, n.failed(connect.CodeResourceExhausted, notStarted, fmt.Sprintf(
				"node %q runs as many handlers for its own calls as its Limits.MaxCalls of %d allows: try again later", n.name, limit))
		}
		if !n.locals.add(s) {
			return nil, n.closedCall()
		}
		s.countPending(s.route.pending)
		o.Namespace = t.Namespace
		link.OpenLocal(s.ctx, o, call, n.linkLimits(), n.workers, m.handle)
		return call, nil
	}
	session := n.session(t.Link)
	if session == nil {
		return nil, n.linkLost()
	}
	if err := session.link.Open(s.ctx, o, call); err != nil {
		return nil, n.failedBy(err, notStarted)
	}
	s.countPending(s.route.pending)
	return call, nil
}

// wire is what an attempt is opened with over a link. The caller holds s.mu, or is alone with s.
func (s *outgoing) wire(t *mesh.Target) link.Open {
	return link.Open{
		Namespace: t.LinkNamespace, Procedure: s.spec.Procedure,
		Origin: link.NodeID(t.Node), OriginNamespace: t.Namespace,
		Hops: link.MaxHops, StreamType: s.spec.StreamType, Deadline: s.deadline, CallerBlocks: s.prompt, Completion: s.waiter, Caller: s.caller,
		Header: s.info.RequestHeader(), ResponseHeader: s.info.ResponseHeader(), ResponseTrailer: s.info.ResponseTrailer(),
	}
}

// countPending moves the call from one count of calls under way to another. The caller holds s.mu.
func (s *outgoing) countPending(count *atomic.Int64) {
	if s.pending != nil {
		s.pending.Add(-1)
	}
	if s.finished {
		count = nil
	}
	if s.pending = count; count != nil {
		count.Add(1)
	}
}

// again replaces a failed attempt by another where that is safe, and reports whether there is one. Both
// the sending and the receiving goroutine may come here with the same attempt.
func (s *outgoing) again(failed *link.ClientCall) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call != failed {
		return true
	}
	why := s.retryOf(failed)
	if why == never {
		return false
	}
	s.unsure = s.unsure || why == uncertain
	for s.reroute(why) {
		if s.call != failed {
			return true // another goroutine has gone on meanwhile
		}
		call, err := s.open()
		if isUnavailable(err) {
			why = refused
			continue
		}
		if err != nil {
			return false
		}
		if !s.replay(call) {
			_ = call.Close() // always nil
			return false
		}
		_ = failed.Close() // always nil
		s.call = call
		return true
	}
	return false
}

// retry says why a call may be repeated.
type retry uint8

const (
	never retry = iota
	// refused: the mesh lost it before it began.
	refused
	// declined: its handler says that it has done nothing.
	declined
	// uncertain: it may have begun, and its method's idempotency level allows to repeat it.
	uncertain
)

// retryOf says whether a failed attempt may be repeated, and why. What the mesh ends by another code than
// unavailable fails the next time, too, or adds to a load that is too high already, which a handler may say as
// well. The caller holds s.mu.
func (s *outgoing) retryOf(failed *link.ClientCall) retry {
	failure, code := failed.Failure(), connect.CodeOf(failed.Err())
	worthwhile := code == connect.CodeUnavailable || failure.GetByHandler() && code != connect.CodeResourceExhausted
	if failure == nil || !worthwhile || s.answered || s.tooLong || s.finished || s.expired() {
		return never
	}
	switch failure.GetCertainty() {
	case notStarted:
		if failure.GetByHandler() {
			return declined
		}
		return refused
	case unknown:
		whole := s.single() || s.closed
		if whole && s.spec.IdempotencyLevel != connect.IdempotencyUnknown {
			return uncertain
		}
	case started, rpcmeshv1.CallFailure_CERTAINTY_UNSPECIFIED:
	}
	return never
}

func isUnavailable(err error) bool {
	return err != nil && connect.CodeOf(err) == connect.CodeUnavailable
}

// told is what an attempt failed with as the caller gets it: with how far the call has come, over all its attempts.
func (s *outgoing) told(last *link.ClientCall, err error) error {
	s.mu.Lock()
	unsure := s.unsure
	s.mu.Unlock()
	return s.ns.node.told(last, s.timedOut(err), unsure)
}

func (s *outgoing) expired() bool {
	return s.ctx.Err() != nil || (!s.deadline.IsZero() && !time.Now().Before(s.deadline))
}

// replay has call sent what the failed attempt was sent. It does so on a goroutine of its own, since
// sending may have to wait until the handler's answers are received. What fails there shows at the next
// Receive. The caller holds s.mu. It reports false once the node is closed.
func (s *outgoing) replay(call *link.ClientCall) bool {
	sent, closed, done := slices.Clone(s.sent), s.closed && !s.single(), make(chan struct{})
	s.replayed = done
	return s.ns.node.spawn(func() {
		defer close(done)
		for _, b := range sent {
			_ = call.Send(b.B) // fails as the next Receive does
		}
		if closed {
			_ = call.CloseSend() // likewise
		}
	})
}

// reroute looks for another attempt's way, and reports whether there is one: at once to an origin that has not
// been tried yet; otherwise to any, at once where the table has changed since, else after a pause. The caller
// holds s.mu, which may be let go of meanwhile.
func (s *outgoing) reroute(why retry) bool {
	if s.attempts >= maxAttempts || s.expired() {
		return false
	}
	budget := &s.ns.node.retries
	s.tried = append(s.tried, s.route.target.Node)
	if r, err := s.ns.find(s.spec, s.tried...); err == nil {
		s.route = r
		return why == refused || budget.take()
	}
	if why == declined {
		return false
	}
	s.tried = s.tried[:0]
	table := s.route.table
	if !s.ns.node.awaitTable(s.ctx, table, s.pause()) || s.expired() || !s.rerouteLaterLocked() {
		return false
	}
	return why == refused && s.route.table != table || budget.take()
}

// pause is how long to wait for a change of the table before the next attempt.
func (s *outgoing) pause() time.Duration {
	pause := min(duration.Times(retryPause, 1<<(s.attempts-1)), maxRetryPause)
	if !s.deadline.IsZero() {
		pause = min(pause, time.Until(s.deadline))
	}
	return pause
}
