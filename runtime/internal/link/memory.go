package link

import (
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"
)

const (
	// servedCost is what a call that is served takes besides what it has received: its handler's goroutine
	// above all.
	servedCost = 8 << 10
	// relayedCost is the same for a call that is relayed.
	relayedCost = 1 << 10
	// smallInbox is how much of what has been received goes with the costs above.
	smallInbox = 1 << 10
	// starveLimit is how long a message may wait for memory.
	starveLimit = 10 * time.Second
	// longParts is of how many parts of the memory messages that are being put together have one. The rest is for
	// calls that begin.
	longParts = 2
	// maxFed bounds how many starved calls are looked at each time that memory becomes free.
	maxFed = 64
)

// memory is what a session holds for calls. Data comes in as the windows allow, fits or ends its call: a
// reader never waits. What the windows do not bound, messages that are being put together, waits for
// memory, and the window of a call is not given back until then.
//
// The session's lock guards all but the atomics.
type memory struct {
	used    atomic.Int64
	hungry  atomic.Bool // starved is not empty
	starved []*stream   // those whose message cannot go on, in the order in which they began to wait
	// favoured is the one call whose message may go on beyond the limit, so that there always is one.
	favoured *stream
}

// use counts n bytes, which may be negative, as held. It needs no lock.
func (s *Session) use(n int) {
	now := s.memory.used.Add(int64(n))
	if moved := shares(now) - shares(now-int64(n)); moved != 0 && s.cfg.Budget != nil {
		s.cfg.Budget.take(moved)
	}
	if n < 0 && s.memory.hungry.Load() {
		s.wakeKeeper()
	}
}

// fits reports whether a call that holds held bytes may hold n more. It may not hold more than is then left to
// the others: so small calls still find room where long ones find none. It needs no lock.
func (s *Session) fits(held, n int) bool { return s.fitsPart(1, held, n) }

// fitsPart is fits in one of so many parts of the memory.
func (s *Session) fitsPart(parts, held, n int) bool {
	used := s.memory.used.Load()
	if used > int64(held) && used+int64(held+n) > int64(s.cfg.Limits.Memory/parts) {
		return false
	}
	return s.cfg.Budget == nil || s.cfg.Budget.fits(int64(parts), used, int64(n))
}

// admits reports whether there is room for one more call that takes n bytes at its start, and a window
// where more is to come. Where nothing is held there always is.
func (s *Session) admits(n int, more bool) bool {
	if s.memory.used.Load() == 0 {
		return true
	}
	if more {
		n += min(s.cfg.Limits.Window, s.cfg.Limits.Memory/4)
	}
	return s.fits(0, n)
}

// admitsOpen is admits for a call that the other end opens.
func (s *Session) admitsOpen(f *frame, cost int) bool {
	return s.admits(cost+len(f.data), f.has&hasCloseSend == 0 || f.more)
}

// errMemory says which limit keeps the session from holding more.
func (s *Session) errMemory() *connect.Error {
	name, limit := "Limits.LinkMemory", int64(s.cfg.Limits.Memory)
	if b := s.cfg.Budget; b != nil && (b.limit-b.held.Load())/linkShare < limit {
		name, limit = "Limits.NodeMemory", b.limit
	}
	return connect.Errorf(connect.CodeResourceExhausted,
		"node %q holds as much for calls as its %s of %d bytes allows: try again later", s.cfg.Name, name, limit)
}

// mayTake reports whether n bytes of data may be added to the inbox. mu is held.
func (c *stream) mayTake(n int, more bool) bool {
	have := c.inbox.bytes() + n
	if c.other != nil || have <= smallInbox {
		return true
	}
	s := c.s
	grown := c.inbox.needs(n, more) - (c.charged - c.fixed)
	return grown <= 0 || s.fits(c.charged, grown) || s.memory.favoured == c || s.alone(c.charged, have)
}

// ampleLocked reports whether there is memory for several times what has come of a message with n bytes more, or for all
// that is said to come. The latter is taken at the other end's word, and counted before it has come: be the call alone
// or not, it is no more than messages may have that are being put together.
func (c *stream) ampleLocked(n int) bool {
	if c.other != nil {
		return true
	}
	s := c.s
	if whole := c.inbox.whole(n); whole > 0 {
		grown := bufferSize(whole) - (c.charged - c.fixed)
		return s.memory.used.Load()+int64(grown) <= int64(s.cfg.Limits.Memory/longParts) && s.fitsPart(longParts, c.charged, grown)
	}
	return s.fitsPart(4, c.charged, 8*(c.inbox.bytes()+maxData))
}

// alone reports whether a call that holds held bytes is the only one to hold anything and may have n bytes of
// data: whatever the limits are, one call has its window. It needs no lock.
func (s *Session) alone(held, n int) bool {
	return s.memory.used.Load() <= int64(held) && n <= s.cfg.Limits.Window+maxData+maxBlock
}

// count brings what is counted for the call up to date. mu is held.
func (c *stream) count() {
	if c.s == nil || c.uncounted {
		return
	}
	in := c.inbox.memory()
	if c.inbox.open == 0 {
		c.reserved = 0
	}
	if in = max(in, c.reserved); in <= smallInbox {
		in = 0
	}
	if total := c.fixed + in; total != c.charged {
		c.s.use(total - c.charged)
		c.charged = total
	}
	if c.s.memory.favoured == c && c.inbox.open == 0 && !c.inbox.lent && c.inbox.bytes() <= c.limits.Window+maxData {
		c.s.unfavour()
	}
}

// uncount ends the counting: the call is over, or out of the session's hands. mu is held.
func (c *stream) uncount() {
	if c.s == nil || c.uncounted {
		return
	}
	c.feed()
	if c.s.memory.favoured == c {
		c.s.unfavour()
	}
	if c.charged != 0 {
		c.s.use(-c.charged)
	}
	c.charged, c.reserved, c.uncounted = 0, 0, true
}

// mayGoOn reports whether n more may come of the message that is being put together, and reserves the memory
// for it; otherwise the call starves until there is some. Such messages get half of the memory: the other is
// for calls that begin. mu is held.
func (c *stream) mayGoOn(n int) bool {
	s, m := c.s, &c.s.memory
	if n += max(c.window, 0) + maxData; c.inbox.expected > c.inbox.open {
		n = min(n, c.inbox.expected-c.inbox.open) // which is all that is to come
	}
	reserved := c.inbox.needs(n, true)
	if c.inbox.whole(n) > 0 && c.ampleLocked(n) {
		reserved = max(reserved, bufferSize(c.inbox.expected)) // with less, what comes is moved again and again
	}
	grown := reserved - (c.charged - c.fixed)
	first := len(m.starved) == 0 || m.starved[0] == c
	switch {
	case grown <= 0 && m.favoured != c, s.fitsPart(longParts, c.charged, grown):
	case m.favoured == c, m.favoured == nil && first:
		if b := s.cfg.Budget; b != nil && !b.fits(longParts, m.used.Load(), int64(grown)) && !b.claim(s) {
			c.starve()
			return false
		}
		m.favoured, c.since = c, s.now()
	default:
		c.starve()
		return false
	}
	c.feed()
	c.reserved = reserved
	c.count()
	return true
}

// unfavour lets another call exceed the limit. The session's lock is held.
func (s *Session) unfavour() {
	s.memory.favoured = nil
	if s.cfg.Budget != nil {
		s.cfg.Budget.unclaim(s)
	}
	if s.memory.hungry.Load() {
		s.wakeKeeper()
	}
}

// starve lists the call among those that wait for memory. mu is held.
func (c *stream) starve() {
	if c.starving {
		return
	}
	c.starving, c.since = true, c.s.now()
	c.s.setStarved(append(c.s.memory.starved, c))
}

// feed takes the call off that list. mu is held.
func (c *stream) feed() {
	if !c.starving {
		return
	}
	c.starving = false
	m := &c.s.memory
	i := slices.Index(m.starved, c)
	c.s.setStarved(slices.Delete(m.starved, i, i+1))
}

// setStarved replaces the list of starved calls. The session's lock is held.
func (s *Session) setStarved(list []*stream) {
	s.memory.starved = list
	if hungry := len(list) > 0; hungry != s.memory.hungry.Load() {
		s.memory.hungry.Store(hungry)
		if s.cfg.Budget != nil {
			s.cfg.Budget.setWaiting(s, hungry)
		}
	}
}

// feedStarved gives memory that has become free to calls that wait for it, and ends those that have waited for
// too long, also for what is to come of the favoured one. The keeper calls it.
func (s *Session) feedStarved() {
	s.mu.Lock()
	m := &s.memory
	for _, c := range slices.Clone(m.starved[:min(len(m.starved), maxFed)]) {
		c.assemble()
	}
	late := s.now() - int64(starveLimit)
	var ended []*stream
	for _, c := range m.starved {
		if c.since <= late {
			ended = append(ended, c)
		}
	}
	if c := m.favoured; c != nil && m.hungry.Load() && c.inbox.open > 0 && c.since <= late {
		ended = append(ended, c)
	}
	s.wakeWriter()
	s.mu.Unlock()
	for _, c := range ended {
		c.owner.giveUp(s, late)
	}
}

// late reports whether the call has waited for memory since before then. mu is held.
func (c *stream) late(then int64) bool {
	return (c.starving || c.s != nil && c.s.memory.favoured == c && c.inbox.open > 0) && c.since <= then
}
