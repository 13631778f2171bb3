package link

import (
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// brokenGrace is how long the reader has to find out why the connection broke when a Send fails.
const brokenGrace = 500 * time.Millisecond

// keepaliveLoop is the session's keeper: it looks for signs of life, and ends the calls whose time is up, also those
// that have not yet been told that the session has ended.
func (s *Session) keepaliveLoop() {
	// Half an interval, so that what is found late for not being looked at counts for little; and a little
	// less, so that a busy machine finds out in time too.
	interval := max(int64(duration.Times(s.cfg.KeepaliveInterval, 31)/64), 1)
	beat := keepalive{maxSilent: int(int64(s.cfg.KeepaliveTimeout)/interval) - 1}
	tick := s.now() + interval
	trim := s.now() + int64(idleTime)
	var giveUp int64
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
			if !s.checkAliveAt(&beat) {
				s.end(&Ended{Kind: EndSilent}) // unless it has ended
			}
		}
		giveUp = s.checkBroken(now, giveUp)
		if s.memory.hasWaiters.Load() {
			s.serveMemoryWaiters()
		}
		next := min(tick, s.expireCalls(now))
		if giveUp != 0 {
			next = min(next, giveUp)
		}
		timer.Reset(time.Duration(max(next-s.now(), 0)))
	}
}

// trimPools lets go of the ends of calls that were not needed since it was last called.
func (s *Session) trimPools() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callerPool.trim()
	s.handlerPool.trim()
	s.relayPool.trim()
}

// keepalive is what the keeper remembers of the last beat.
type keepalive struct {
	lastReceived, lastSends uint64
	silentIn, silentOut     int // beats since something was heard, and sent
	maxSilent               int
}

// receivedCount returns a number that changes with each sign of life.
func (s *Session) receivedCount() uint64 {
	if s.liveness != nil {
		return s.liveness.BytesReceived()
	}
	return s.received.Load()
}

// hasUnread reports whether something of the other end's is at hand that the reader has yet to read.
func (s *Session) hasUnread() bool { return s.liveness != nil && s.liveness.Unread() }

// checkAliveAt asks for a sign of life where the link has been silent for an interval, in either direction: the
// other end may have its own idea of how long a silence may be. It reports false if the other end has
// been silent for too long. Beats are counted, not time, so that a process that was stopped does not
// blame the other end; nor does one whose reader had no chance to hear it.
func (s *Session) checkAliveAt(b *keepalive) bool {
	if heard := s.receivedCount(); heard != b.lastReceived || s.reading.Load() {
		countUnchanged(&b.silentIn, &b.lastReceived, heard)
	}
	switch {
	case b.silentIn < b.maxSilent:
	case s.hasUnread():
		b.silentIn = b.maxSilent - 1
	default:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.shrinkLocked()
	countUnchanged(&b.silentOut, &b.lastSends, s.out.sends)
	if b.silentIn >= 2 || b.silentOut >= 2 {
		s.out.pingDue = true
		s.wakeWriterLocked()
	}
	return true
}

// countUnchanged counts the beats since a number last changed.
func countUnchanged(beats *int, last *uint64, now uint64) {
	*beats++
	if *last != now {
		*beats, *last = 0, now
	}
}

// checkBroken ends a session whose Send has failed, if the reader has not done so in time.
func (s *Session) checkBroken(now, giveUp int64) int64 {
	s.mu.Lock()
	err, ended := s.out.writeErr, s.cause != nil
	s.mu.Unlock()
	switch {
	case err == nil, ended:
		return 0
	case giveUp == 0:
		return now + int64(brokenGrace)
	case now >= giveUp:
		s.end(&Ended{Kind: EndBroken, Err: err})
	}
	return giveUp
}

// armDeadlineLocked makes sure that the keeper wakes for a deadline. The session's lock is held.
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

// scanCost keeps the keeper from looking through many calls more often than is fair: for each call
// that it looks at, it rests as many nanoseconds.
const scanCost = 200

// expireCalls ends the calls whose time is up and returns when the next one's is.
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
			switch d := end.state().deadline; {
			case d == 0:
			case d <= now:
				due = append(due, end)
			default:
				next = min(next, d)
			}
		}
	}
	if s.nextDeadline = 0; next != never {
		next = max(next, now+int64(scanCost*(len(s.localCalls.slots)+len(s.peerCalls.slots))))
		s.nextDeadline = next
	}
	s.mu.Unlock()
	for _, end := range due {
		end.expire(s, now)
	}
	return next
}
