package rpcmesh

import (
	"runtime"
	"sync"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// maxTables is how many received tables of one link may be queued before its reader waits.
	maxTables = 16
	// exchangeSlice is about how long the table's lock is held for received tables at a time.
	exchangeSlice = time.Millisecond
	// While changes continue, the computations of routes are separated by a hold time (RFC 8405): holdFactor times
	// the longest of how long the last computation took, doubled for each one in a row up to maxDoublings times, how
	// long it took to send its results to the links, and how late the exchange was scheduled. It is at most
	// maxHoldTime. So a busy machine computes less often.
	holdFactor   = 4
	maxDoublings = 7
	maxHoldTime  = time.Second
	// lossGrace bounds how long the calls of a lost link wait until the other links have been told of the loss.
	lossGrace = 100 * time.Millisecond
	// readerGrace bounds how long a reader waits until the tables that it received are published and sent on, so that
	// call frames do not overtake them. Once the exchange has exceeded it, readers do not wait until it has caught
	// up.
	readerGrace = 10 * time.Millisecond
)

// tableExchange receives the tables of a node's links and sends the node's own. One goroutine, [table.runExchange],
// does both, and computes routes for all that has changed meanwhile. The readers and writers of links neither compute
// routes nor wait for the table's lock.
type tableExchange struct {
	wake chan struct{}

	// Under the table's lock: when routes are to be computed.
	due       due
	tick      time.Time // when the core's timers are due
	heldUntil time.Time // the end of the hold time
	holdTime  time.Duration
	doubling  int
	maxLag    time.Duration // the longest scheduling delay since the last computation
	sendTime  time.Duration // time spent sending since then
	allSent   broadcast     // all queues of tables to send were empty

	mu           sync.Mutex
	received     sessionQueue // with received tables
	toSend       sessionQueue // that may have something to send
	waitingSince time.Time    // when the oldest entry of either queue was added
	caughtUp     broadcast    // all received tables are published, and what follows from them is ready to be sent
	late         bool         // a reader has waited in vain since it last caught up
	stopped      bool
}

// due says how soon routes are to be computed.
type due uint8

const (
	notDue    due = iota
	afterHold     // at the end of the hold time
	immediately
)

// tableQueue is the tables of one link that the exchange has queued. The exchange's lock guards it.
type tableQueue struct {
	received   []*linkv1.Table
	room       sync.Cond     // the link's reader waits here
	inReceived bool          // the link is in exchange.received
	inToSend   bool          // the link is in exchange.toSend, or its next table is being made
	next       *linkv1.Table // to send
	ended      bool
}

// sessionQueue is a queue of links.
type sessionQueue struct{ waiting []*session }

func (q *sessionQueue) push(s *session) { q.waiting = append(q.waiting, s) }

// pop removes and returns the first link, or nil.
func (q *sessionQueue) pop() *session {
	if len(q.waiting) == 0 {
		q.waiting = nil
		return nil
	}
	s := q.waiting[0]
	q.waiting[0] = nil
	q.waiting = q.waiting[1:]
	return s
}

func (x *tableExchange) wakeUp() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// scheduleLocked schedules the computation of routes.
func (x *tableExchange) scheduleLocked(when due) {
	x.due = max(x.due, when)
	x.wakeUp()
}

// Table implements [link.Handler]: it queues a table that the other end has sent. It waits for a moment until that is
// published, and longer only where maxTables are queued already.
func (s *session) Table(t *linkv1.Table) error {
	x := &s.table.exchange
	published := x.enqueue(s, t)
	if published == nil {
		return nil
	}
	grace := time.NewTimer(readerGrace)
	defer grace.Stop()
	select {
	case <-published:
	case <-grace.C:
		x.mu.Lock()
		x.late = true
		x.mu.Unlock()
	}
	return nil
}

// enqueue queues a received table. It returns a channel that is closed once that is published, or nil where that may
// take long.
func (x *tableExchange) enqueue(s *session, t *linkv1.Table) <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	q := &s.queue
	for len(q.received) >= maxTables && !q.ended && !x.stopped {
		q.room.Wait()
	}
	if q.ended || x.stopped {
		return nil
	}
	q.received = append(q.received, t)
	if !q.inReceived {
		q.inReceived = true
		x.received.push(s)
		x.notifyLocked()
	}
	if x.late {
		return nil
	}
	return x.caughtUp.wait()
}

// notifyLocked wakes the exchange.
func (x *tableExchange) notifyLocked() {
	if x.waitingSince.IsZero() {
		x.waitingSince = time.Now()
	}
	x.wakeUp()
}

// lag returns how late the exchange is: the age of the oldest queued entry.
func (x *tableExchange) lag(now time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	since := x.waitingSince
	x.waitingSince = time.Time{}
	if since.IsZero() {
		return 0
	}
	return now.Sub(since)
}

// markSent reports whether nothing is left to send. If all that was received is published too, it lets readers go on.
func (x *tableExchange) markSent(published bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.toSend.waiting) > 0 {
		return false
	}
	if published && len(x.received.waiting) == 0 {
		x.late = false
		x.caughtUp.fire()
	}
	return true
}

// nextReceived returns a link and the tables received over it, or nil.
func (x *tableExchange) nextReceived() (*session, []*linkv1.Table) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.received.pop()
	if s == nil {
		return nil, nil
	}
	s.queue.inReceived = false
	return s, s.queue.drainLocked()
}

// drainLocked removes and returns the received tables.
func (q *tableQueue) drainLocked() []*linkv1.Table {
	tables := q.received
	q.received = nil
	q.room.Broadcast()
	return tables
}

// closeQueue returns the last tables received over a link. Nothing is queued for the link after it.
func (x *tableExchange) closeQueue(s *session) []*linkv1.Table {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.queue.ended, s.queue.next = true, nil
	return s.queue.drainLocked()
}

// PullTable implements [link.Handler]: it returns the next table to send, if it is ready.
func (s *session) PullTable() (t *linkv1.Table, coming bool) {
	x, q := &s.table.exchange, &s.queue
	x.mu.Lock()
	defer x.mu.Unlock()
	t = q.next
	q.next = nil
	if t != nil {
		x.markDirtyLocked(s)
	}
	return t, q.inToSend && !x.stopped
}

// markDirty notes that there may be something to send over a link.
func (x *tableExchange) markDirty(s *session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.queue.next == nil { // otherwise PullTable does it
		x.markDirtyLocked(s)
	}
}

// markDirtyLocked is markDirty.
func (x *tableExchange) markDirtyLocked(s *session) {
	if !s.queue.inToSend && !s.queue.ended {
		s.queue.inToSend = true
		x.toSend.push(s)
		x.notifyLocked()
	}
}

// nextToSend returns a link that may have something to send, or nil. The link keeps its turn until offer, for which a
// closing link waits.
func (x *tableExchange) nextToSend() *session {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.toSend.pop()
}

// offer makes t the next table to send over a link; nil means that there is none.
func (x *tableExchange) offer(s *session, t *linkv1.Table) {
	x.mu.Lock()
	s.queue.inToSend = false
	if !s.queue.ended {
		s.queue.next = t
	}
	x.mu.Unlock()
	if t != nil {
		s.link.TableChanged()
	} else {
		s.link.TableUnchanged()
	}
}

// waiting reports whether anything is queued.
func (x *tableExchange) waiting() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.received.waiting) > 0 || len(x.toSend.waiting) > 0
}

// stop releases all who wait for the exchange.
func (x *tableExchange) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	x.caughtUp.fire()
	for _, s := range x.received.waiting {
		s.queue.room.Broadcast()
	}
}

// runExchange receives tables, computes routes and sends tables until the node is closed.
func (t *table) runExchange() {
	x := &t.exchange
	defer x.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-t.life.ctx.Done():
			return
		case <-x.wake:
		case <-timer.C:
		}
		next := t.exchangeOnce()
		for x.waiting() && t.life.ctx.Err() == nil {
			next = t.exchangeOnce()
		}
		timer.Reset(time.Until(next))
	}
}

// processors bounds how many nodes of the process do so at once: otherwise many tables at a time would delay short
// and urgent work, such as keepalives.
var processors = make(chan struct{}, runtime.GOMAXPROCS(0))

// exchangeOnce does what is due, for about as long as the table's lock may be held, and returns when it must be
// called again at the latest.
func (t *table) exchangeOnce() time.Time {
	processors <- struct{}{}
	defer func() { <-processors }()
	t.mu.Lock()
	defer t.mu.Unlock()
	x := &t.exchange
	now := time.Now()
	if !x.tick.After(now) {
		x.due = max(x.due, afterHold)
		x.tick = t.core.Tick(now)
	}
	x.maxLag = max(x.maxLag, x.lag(now))
	t.receiveTablesLocked(now)
	now = time.Now()
	if x.due == immediately || x.due == afterHold && !x.heldUntil.After(now) {
		x.tick = t.core.Tick(now) // what was received may have set an earlier timer
		t.publishLocked()
		x.setHold(now, time.Now())
	}
	now = time.Now()
	t.sendTablesLocked(now)
	x.sendTime += time.Since(now) // short: a slice at a time
	if x.due != immediately && x.markSent(x.due == notDue) {
		x.allSent.fire()
	}
	if x.due == afterHold && x.heldUntil.Before(x.tick) {
		return x.heldUntil
	}
	return x.tick
}

// setHold sets the hold time after a computation of routes that took from begin to end.
func (x *tableExchange) setHold(begin, end time.Time) {
	if begin.Sub(x.heldUntil) < x.holdTime {
		x.doubling = min(x.doubling+1, maxDoublings)
	} else {
		x.doubling = 0
	}
	x.holdTime = min(max(end.Sub(begin)<<x.doubling, x.sendTime, x.maxLag)*holdFactor, maxHoldTime) // short: what was measured, and a few doublings
	x.heldUntil = end.Add(x.holdTime)
	x.maxLag, x.sendTime = 0, 0
}

// receiveTablesLocked passes received tables to the core.
func (t *table) receiveTablesLocked(begin time.Time) {
	for time.Since(begin) < exchangeSlice {
		s, tables := t.exchange.nextReceived()
		if s == nil {
			return
		}
		for _, received := range tables {
			if err := t.core.Receive(time.Now(), s.id, received); err != nil {
				t.life.tasks.Go(func() { s.link.FailViolation(err) }) // which may block
				break
			}
		}
		t.exchange.due = max(t.exchange.due, afterHold)
	}
}

// sendTablesLocked makes the tables that links are to send.
func (t *table) sendTablesLocked(begin time.Time) {
	for time.Since(begin) < exchangeSlice {
		s := t.exchange.nextToSend()
		if s == nil {
			return
		}
		t.exchange.offer(s, t.core.Pull(begin, s.id, link.TableBudget))
	}
}
