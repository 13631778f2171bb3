package link

import (
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link/frame"
)

const (
	// servedCost is how many bytes a served call takes besides what it has received: its handler's goroutine above all.
	servedCost = 8 << 10
	// relayedCost is the same for a call that is relayed.
	relayedCost = 1 << 10
	// smallInbox is how much of what has been received is covered by the costs above.
	smallInbox = 1 << 10
	// memoryWaitLimit is how long a message may wait for memory.
	memoryWaitLimit = 10 * time.Second
	// messageShare: messages that are being put together have one in so many parts of the memory. The rest is for calls
	// that begin.
	messageShare = 2
	// maxServedWaiters bounds how many calls that wait for memory are looked at each time that memory becomes free.
	maxServedWaiters = 64
)

// memory is what a session holds for calls. Data that comes in, as the windows allow, finds room or ends its call: a
// reader never waits. What the windows do not bound, messages that are being put together, waits for memory, and the
// window of a call is not granted again until there is some.
//
// The session's lock guards all but the atomics.
type memory struct {
	used       atomic.Int64
	hasWaiters atomic.Bool // waiters is not empty
	waiters    []*stream   // those whose message cannot go on, in the order in which they began to wait
	// exceeder is the one call whose message may go on beyond the limit, so that there always is one.
	exceeder *stream
}

// addMemory counts n bytes more as held; n may be negative. It needs no lock.
func (s *Session) addMemory(n int) {
	now := s.memory.used.Add(int64(n))
	if moved := wholeShares(now) - wholeShares(now-int64(n)); moved != 0 && s.cfg.Budget != nil {
		s.cfg.Budget.add(moved)
	}
	if n < 0 && s.memory.hasWaiters.Load() {
		s.wakeKeepalive()
	}
}

// fitsMemory reports whether a call that holds held bytes may hold n more. It may not hold more than is then left to the
// others: so small calls still find room where long ones find none. It needs no lock.
func (s *Session) fitsMemory(held, n int) bool { return s.fitsMemoryShare(1, held, n) }

// fitsMemoryShare is fitsMemory in one of so many parts of the memory.
func (s *Session) fitsMemoryShare(parts, held, n int) bool {
	used := s.memory.used.Load()
	if used > int64(held) && used+int64(held+n) > int64(s.cfg.Limits.Memory/parts) {
		return false
	}
	return s.cfg.Budget == nil || s.cfg.Budget.fits(int64(parts), used, int64(n))
}

// admitsCall reports whether there is room for one more call that takes n bytes at its start, and a window
// where more is to come. Where nothing is held there always is.
func (s *Session) admitsCall(n int, more bool) bool {
	if s.memory.used.Load() == 0 {
		return true
	}
	if more {
		n += min(s.cfg.Limits.Window, s.cfg.Limits.Memory/4)
	}
	return s.fitsMemory(0, n)
}

// admitsOpen is admitsCall for a call that the peer opens.
func (s *Session) admitsOpen(f *frame.Frame, cost int) bool {
	return s.admitsCall(cost+len(f.Data), !f.Has(frame.FieldCloseSend) || f.Has(frame.FieldMore))
}

// errMemory is the error of a call for which there is no memory: it names the limit.
func (s *Session) errMemory() *connect.Error {
	name, limit := "Limits.LinkMemory", int64(s.cfg.Limits.Memory)
	if b := s.cfg.Budget; b != nil && (b.limit-b.held.Load())/sessionShare < limit {
		name, limit = "Limits.NodeMemory", b.limit
	}
	return connect.Errorf(connect.CodeResourceExhausted,
		"node %q holds as much for calls as its %s of %d bytes allows: try again later", s.cfg.Name, name, limit)
}

// canBufferLocked reports whether n bytes of data may be added to the inbox.
func (c *stream) canBufferLocked(n int, more bool) bool {
	have := c.inbox.bytes() + n
	if c.localPeer != nil || have <= smallInbox {
		return true
	}
	s := c.s
	grown := c.inbox.memoryWith(n, more) - (c.charged - c.overhead)
	return grown <= 0 || s.fitsMemory(c.charged, grown) || s.memory.exceeder == c || s.onlyUser(c.charged, have)
}

// memoryAmpleLocked reports whether there is memory for several times what has come of a message with n bytes more, or
// for all that the peer has announced. Memory for the latter is counted before it is needed, on the peer's word alone:
// so even a call that is alone gets no more than messages may have that are being put together.
func (c *stream) memoryAmpleLocked(n int) bool {
	if c.localPeer != nil {
		return true
	}
	s := c.s
	if whole := c.inbox.announcedSize(n); whole > 0 {
		grown := bufferSize(whole) - (c.charged - c.overhead)
		return s.memory.used.Load()+int64(grown) <= int64(s.cfg.Limits.Memory/messageShare) && s.fitsMemoryShare(messageShare, c.charged, grown)
	}
	return s.fitsMemoryShare(4, c.charged, 8*(c.inbox.bytes()+frame.MaxData))
}

// onlyUser reports whether a call that holds held bytes is the only one to hold any, and may have n bytes of data:
// whatever the limits are, one call has its window. It needs no lock.
func (s *Session) onlyUser(held, n int) bool {
	return s.memory.used.Load() <= int64(held) && n <= s.cfg.Limits.Window+frame.MaxData+frame.MaxBlocks
}

// updateChargeLocked brings what is counted for the call up to date.
func (c *stream) updateChargeLocked() {
	if c.s == nil || c.mem == memReleased {
		return
	}
	in := c.inbox.memory()
	if c.inbox.partial == 0 {
		c.reserved = 0
	}
	in = max(in, c.reserved)
	if in <= smallInbox {
		in = 0
	}
	if total := c.overhead + in; total != c.charged {
		c.s.addMemory(total - c.charged)
		c.charged = total
	}
	if c.s.memory.exceeder == c && c.inbox.partial == 0 && !c.inbox.borrowed && c.inbox.bytes() <= c.limits.Window+frame.MaxData {
		c.s.clearExceederLocked()
	}
}

// releaseMemoryLocked ends the counting: the call is over, or no longer the session's to count.
func (c *stream) releaseMemoryLocked() {
	if c.s == nil || c.mem == memReleased {
		return
	}
	c.stopWaitingForMemoryLocked()
	if c.s.memory.exceeder == c {
		c.s.clearExceederLocked()
	}
	if c.charged != 0 {
		c.s.addMemory(-c.charged)
	}
	c.charged, c.reserved = 0, 0
	c.mem = memReleased
}

// reserveForMessageLocked reports whether n bytes more may come of the message that is being put together, and reserves
// the memory for them; otherwise the call waits until there is some. Such messages get half of the memory: the other
// half is for calls that begin.
func (c *stream) reserveForMessageLocked(n int) bool {
	s, m := c.s, &c.s.memory
	n += max(c.recvWindow, 0) + frame.MaxData
	if c.inbox.announced > c.inbox.partial {
		n = min(n, c.inbox.announced-c.inbox.partial) // no more is to come
	}
	reserved := c.inbox.memoryWith(n, true)
	if c.inbox.announcedSize(n) > 0 && c.memoryAmpleLocked(n) {
		reserved = max(reserved, bufferSize(c.inbox.announced)) // with less it would be moved again and again
	}
	grown := reserved - (c.charged - c.overhead)
	first := len(m.waiters) == 0 || m.waiters[0] == c
	switch {
	case grown <= 0 && m.exceeder != c, s.fitsMemoryShare(messageShare, c.charged, grown):
	case m.exceeder == c, m.exceeder == nil && first:
		if b := s.cfg.Budget; b != nil && !b.fits(messageShare, m.used.Load(), int64(grown)) && !b.claimExcess(s) {
			c.waitForMemoryLocked()
			return false
		}
		m.exceeder, c.waitingSince = c, s.now()
	default:
		c.waitForMemoryLocked()
		return false
	}
	c.stopWaitingForMemoryLocked()
	c.reserved = reserved
	c.updateChargeLocked()
	return true
}

// clearExceederLocked lets another call exceed the limit.
func (s *Session) clearExceederLocked() {
	s.memory.exceeder = nil
	if s.cfg.Budget != nil {
		s.cfg.Budget.releaseExcess(s)
	}
	if s.memory.hasWaiters.Load() {
		s.wakeKeepalive()
	}
}

// waitForMemoryLocked puts the call at the end of the list of those that wait for memory.
func (c *stream) waitForMemoryLocked() {
	if c.mem == memWaiting {
		return
	}
	c.mem, c.waitingSince = memWaiting, c.s.now()
	c.s.setMemoryWaitersLocked(append(c.s.memory.waiters, c))
}

// stopWaitingForMemoryLocked takes the call off that list, if it is there.
func (c *stream) stopWaitingForMemoryLocked() {
	if c.mem != memWaiting {
		return
	}
	c.mem = memCounted
	m := &c.s.memory
	i := slices.Index(m.waiters, c)
	c.s.setMemoryWaitersLocked(slices.Delete(m.waiters, i, i+1))
}

// exhaustMemoryLocked notes that the call ends because there is no memory for it.
func (c *stream) exhaustMemoryLocked() {
	c.stopWaitingForMemoryLocked()
	c.mem = memExhausted
}

// setMemoryWaitersLocked replaces the list of calls that wait for memory.
func (s *Session) setMemoryWaitersLocked(list []*stream) {
	s.memory.waiters = list
	if hungry := len(list) > 0; hungry != s.memory.hasWaiters.Load() {
		s.memory.hasWaiters.Store(hungry)
		if s.cfg.Budget != nil {
			s.cfg.Budget.setWaiting(s, hungry)
		}
	}
}

// serveMemoryWaiters gives memory that has become free to calls that wait for it, and ends those that have waited for
// too long, or whose data has: the exceeder's, while others wait. The keepalive goroutine calls it.
func (s *Session) serveMemoryWaiters() {
	s.mu.Lock()
	m := &s.memory
	for _, c := range slices.Clone(m.waiters[:min(len(m.waiters), maxServedWaiters)]) {
		c.grantPartialLocked()
	}
	late := s.now() - int64(memoryWaitLimit)
	var ended []*stream
	for _, c := range m.waiters {
		if c.waitingSince <= late {
			ended = append(ended, c)
		}
	}
	if c := m.exceeder; c != nil && m.hasWaiters.Load() && c.inbox.partial > 0 && c.waitingSince <= late {
		ended = append(ended, c)
	}
	s.wakeWriterLocked()
	s.mu.Unlock()
	for _, c := range ended {
		c.owner.memoryWaitExpired(s, late)
	}
}

// waitedTooLongLocked reports whether the call has waited for memory, or as the exceeder for data, since before then.
func (c *stream) waitedTooLongLocked(then int64) bool {
	waits := c.mem == memWaiting || c.s != nil && c.s.memory.exceeder == c && c.inbox.partial > 0
	return waits && c.waitingSince <= then
}
