package link

import (
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// brokenGrace is how long the reader has to find out why the connection broke, once a Send has failed.
const brokenGrace = 500 * time.Millisecond

// keepaliveLoop is the session's keepalive goroutine: it looks for signs of life, and ends the calls whose time is up,
// also those that have not yet been told that the session has ended.
func (s *Session) keepaliveLoop() {
	// Half an interval, so that looking late costs little; and a little less, so that a busy machine finds out in time.
	interval := max(int64(duration.Times(s.cfg.KeepaliveInterval, 31)/64), 1)
	k := keepalive{maxSilent: int(int64(s.cfg.KeepaliveTimeout)/interval) - 1}
	tick := s.now() + interval
	trim := s.now() + int64(idleTime)
	var brokenUntil int64
	timer := time.NewTimer(time.Duration(interval))
	defer timer.Stop()
	for {
		select {
		case <-s.callsEnded:
			return
		case <-s.keepaliveWake:
		case <-timer.C:
		}
		if s.probeFailed.Load() {
			s.end(&Ended{Kind: EndSilent})
		}
		now := s.now()
		if now >= tick {
			tick = now + interval
			if now >= trim {
				trim = now + int64(idleTime)
				s.trimPools()
			}
			if !s.checkAlive(&k) {
				s.end(&Ended{Kind: EndSilent}) // unless it has ended
			}
		}
		brokenUntil = s.checkBroken(now, brokenUntil)
		if s.memory.hasWaiters.Load() {
			s.serveMemoryWaiters()
		}
		next := min(tick, s.expireCalls(now))
		if brokenUntil != 0 {
			next = min(next, brokenUntil)
		}
		timer.Reset(time.Duration(max(next-s.now(), 0)))
	}
}

// trimPools drops the endpoints that were not needed since it was last called.
func (s *Session) trimPools() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callerPool.trim()
	s.handlerPool.trim()
	s.relayPool.trim()
}

// keepalive is what the keepalive goroutine remembers of the last tick.
type keepalive struct {
	lastReceived, lastSends uint64
	silentIn, silentOut     int // ticks since something was received, and sent
	maxSilent               int
}

// receivedCount returns a number that changes with each sign of life.
func (s *Session) receivedCount() uint64 {
	if s.liveness != nil {
		return s.liveness.BytesReceived()
	}
	return s.received.Load()
}

// hasUnread reports whether something of the peer's has come in that the reader has yet to read.
func (s *Session) hasUnread() bool { return s.liveness != nil && s.liveness.Unread() }

// checkAlive pings the peer where the link has been silent for an interval in either direction: the peer may have its
// own idea of how long a silence may be. It reports false if the peer has been silent for too long. Ticks are counted,
// not time, so that a process that was stopped does not blame the peer; nor does one whose reader had no chance to read.
func (s *Session) checkAlive(k *keepalive) bool {
	if received := s.receivedCount(); received != k.lastReceived || s.reading.Load() {
		countUnchanged(&k.silentIn, &k.lastReceived, received)
	}
	switch {
	case k.silentIn < k.maxSilent:
	case s.hasUnread():
		k.silentIn = k.maxSilent - 1
	default:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.shrinkLocked()
	countUnchanged(&k.silentOut, &k.lastSends, s.out.sends)
	if k.silentIn >= 2 || k.silentOut >= 2 {
		s.out.due |= duePing
		s.wakeWriterLocked()
	}
	return true
}

// countUnchanged counts the ticks since a number last changed.
func countUnchanged(ticks *int, last *uint64, now uint64) {
	*ticks++
	if *last != now {
		*ticks, *last = 0, now
	}
}

// checkBroken ends a session whose Send has failed, if the reader has not done so by until. It returns until when the
// reader has time, 0 where nothing has failed.
func (s *Session) checkBroken(now, until int64) int64 {
	s.mu.Lock()
	err, ended := s.out.writeErr, s.cause != nil
	s.mu.Unlock()
	switch {
	case err == nil, ended:
		return 0
	case until == 0:
		return now + int64(brokenGrace)
	case now >= until:
		s.end(&Ended{Kind: EndBroken, Err: err})
	}
	return until
}

// armDeadlineLocked makes sure that the keepalive goroutine wakes for a deadline.
func (s *Session) armDeadlineLocked(deadline int64) {
	if s.nextDeadline == 0 || deadline < s.nextDeadline {
		s.nextDeadline = deadline
		s.wakeKeepalive()
	}
}

func (s *Session) wakeKeepalive() {
	select {
	case s.keepaliveWake <- struct{}{}:
	default:
	}
}

// scanCost is how many nanoseconds the keepalive goroutine rests for each call that it looks at, so that it does not
// look through many calls too often.
const scanCost = 200

// expireCalls ends the calls whose time is up, and returns when that of the next one is.
func (s *Session) expireCalls(now int64) int64 {
	const never = 1<<63 - 1
	s.mu.Lock()
	if s.nextDeadline == 0 || s.nextDeadline > now {
		next := s.nextDeadline
		s.mu.Unlock()
		if next == 0 {
			return never
		}
		return next
	}
	next := int64(never)
	var due []endpoint
	for _, t := range []*callTable{&s.localCalls, &s.peerCalls} {
		for i := range t.slots {
			end := t.slots[i].endpoint
			if end == nil {
				continue
			}
			d := end.state().deadline
			switch {
			case d == 0:
			case d <= now:
				due = append(due, end)
			default:
				next = min(next, d)
			}
		}
	}
	s.nextDeadline = 0
	if next != never {
		next = max(next, now+int64(scanCost*(len(s.localCalls.slots)+len(s.peerCalls.slots))))
		s.nextDeadline = next
	}
	s.mu.Unlock()
	for _, end := range due {
		end.expire(s, now)
	}
	return next
}
