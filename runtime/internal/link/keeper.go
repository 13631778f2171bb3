package link

import (
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
)

// brokenGrace is how long the reader has to find out why the connection broke when a Send fails.
const brokenGrace = 500 * time.Millisecond

// keep is the session's keeper: it looks for signs of life, and ends the calls whose time is up, also those
// that have not yet been told that the session has ended.
func (s *Session) keep() {
	// Half an interval, so that what is found late for not being looked at counts for little; and a little
	// less, so that a busy machine finds out in time too.
	interval := max(int64(duration.Times(s.cfg.KeepaliveInterval, 31)/64), 1)
	beat := heartbeat{allowed: int(int64(s.cfg.KeepaliveTimeout)/interval) - 1}
	tick := s.now() + interval
	trim := s.now() + int64(idleTime)
	var giveUp int64
	timer := time.NewTimer(time.Duration(interval))
	defer timer.Stop()
	for {
		select {
		case <-s.over:
			return
		case <-s.rearm:
		case <-timer.C:
		}
		if s.mute.Load() {
			s.fail(&Ended{Kind: EndSilent})
		}
		now := s.now()
		if now >= tick {
			tick = now + interval
			if now >= trim {
				trim = now + int64(idleTime)
				s.trimSpares()
			}
			if !s.beat(&beat) {
				s.fail(&Ended{Kind: EndSilent}) // unless it has ended
			}
		}
		giveUp = s.checkBroken(now, giveUp)
		if s.memory.hungry.Load() {
			s.feedStarved()
		}
		next := min(tick, s.expireCalls(now))
		if giveUp != 0 {
			next = min(next, giveUp)
		}
		timer.Reset(time.Duration(max(next-s.now(), 0)))
	}
}

// trimSpares lets go of the ends of calls that were not needed since it was last called.
func (s *Session) trimSpares() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spareCallers.trim()
	s.spareHandlers.trim()
	s.spareRelays.trim()
}

// heartbeat is what the keeper remembers of the last beat.
type heartbeat struct {
	heard, sends  uint64
	quiet, unsaid int // beats since something was heard, and sent
	allowed       int
}

// heard returns a number that changes with each sign of life.
func (s *Session) heard() uint64 {
	if s.hears != nil {
		return s.hears.BytesReceived()
	}
	return s.received.Load()
}

// deaf reports whether something of the other end's is at hand that the reader has yet to read.
func (s *Session) deaf() bool { return s.hears != nil && s.hears.Unread() }

// beat asks for a sign of life where the link has been silent for an interval, in either direction: the
// other end may have its own idea of how long a silence may be. It reports false if the other end has
// been silent for too long. Beats are counted, not time, so that a process that was stopped does not
// blame the other end; nor does one whose reader had no chance to hear it.
func (s *Session) beat(b *heartbeat) bool {
	if heard := s.heard(); heard != b.heard || s.reading.Load() {
		count(&b.quiet, &b.heard, heard)
	}
	switch {
	case b.quiet < b.allowed:
	case s.deaf():
		b.quiet = b.allowed - 1
	default:
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out.shrink()
	count(&b.unsaid, &b.sends, s.out.sends)
	if b.quiet >= 2 || b.unsaid >= 2 {
		s.out.ping = true
		s.wakeWriter()
	}
	return true
}

// count counts the beats since a number last changed.
func count(beats *int, last *uint64, now uint64) {
	*beats++
	if *last != now {
		*beats, *last = 0, now
	}
}

// checkBroken ends a session whose Send has failed, if the reader has not done so in time.
func (s *Session) checkBroken(now, giveUp int64) int64 {
	s.mu.Lock()
	err, ended := s.out.broken, s.cause != nil
	s.mu.Unlock()
	switch {
	case err == nil, ended:
		return 0
	case giveUp == 0:
		return now + int64(brokenGrace)
	case now >= giveUp:
		s.fail(&Ended{Kind: EndBroken, Err: err})
	}
	return giveUp
}

// arm makes sure that the keeper wakes for a deadline. The session's lock is held.
func (s *Session) arm(deadline int64) {
	if s.alarm == 0 || deadline < s.alarm {
		s.alarm = deadline
		s.wakeKeeper()
	}
}

func (s *Session) wakeKeeper() {
	select {
	case s.rearm <- struct{}{}:
	default:
	}
}

// scanShare keeps the keeper from looking through many calls more often than is fair: for each call
// that it looks at, it rests as many nanoseconds.
const scanShare = 200

// expireCalls ends the calls whose time is up and returns when the next one's is.
func (s *Session) expireCalls(now int64) int64 {
	const never = 1<<63 - 1
	s.mu.Lock()
	if s.alarm == 0 || s.alarm > now {
		next := s.alarm
		s.mu.Unlock()
		if next == 0 {
			return never
		}
		return next
	}
	next := int64(never)
	var due []callEnd
	for _, t := range []*table{&s.own, &s.theirs} {
		for i := range t.slots {
			end := t.slots[i].end
			if end == nil {
				continue
			}
			switch d := end.core().deadline; {
			case d == 0:
			case d <= now:
				due = append(due, end)
			default:
				next = min(next, d)
			}
		}
	}
	if s.alarm = 0; next != never {
		next = max(next, now+int64(scanShare*(len(s.own.slots)+len(s.theirs.slots))))
		s.alarm = next
	}
	s.mu.Unlock()
	for _, end := range due {
		end.expire(s, now)
	}
	return next
}
