package rpcmesh

import (
	"runtime"
	"sync"
	"time"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// maxTables is how many tables of one link may wait to be taken in before its reader waits for one of them.
	maxTables = 16
	// exchangeSlice is about how long the exchange holds the node's lock for tables.
	exchangeSlice = time.Millisecond
	// While changes go on to come, routes are found anew after a rest of restFactor times what it took, which
	// doubles up to 1<<maxDoublings times that; or of as much times what it took to tell the links of the last
	// ones, or what the exchange's work has had to wait for its turn: a busy machine has better things to do. It
	// is maxRest at most.
	holdFactor   = 4
	maxDoublings = 7
	maxHoldTime  = time.Second
	// lossGrace is how long the calls of a link that was lost wait at most for the others to be told of it.
	lossGrace = 100 * time.Millisecond
	// readerGrace is how long a reader waits at most for what it has brought to be published and told, so that
	// calls' frames do not overtake the tables before them. An exchange that is once later than that is not waited for.
	readerGrace = 10 * time.Millisecond
)

// tableExchange is how a node takes in the tables that its links bring, and has its own told. One goroutine, of
// [Node.exchange], does both and finds routes anew for all that has changed by then. The links' readers and
// writers leave that to it, and wait neither for routes nor for the node's lock.
type tableExchange struct {
	wake chan struct{}

	// Under the node's lock: when routes are to be found anew.
	due       due
	tick      time.Time // when the core is to be told the time
	heldUntil time.Time // when the rest after the last time is over
	holdTime  time.Duration
	doubling  int
	maxLag    time.Duration // the longest lag since the last time
	sendTime  time.Duration // what telling took since then
	allSent   broadcast     // all that was to be told at one time is on its way

	mu           sync.Mutex
	received     sessionQueue // with tables to take in
	toSend       sessionQueue // with something to tell, perhaps
	waitingSince time.Time    // when the first of what waits in either came
	caughtUp     broadcast    // all that had come in is published, and what follows from it about to be told
	late         bool         // since it caught up last, a reader has waited in vain
	stopped      bool
}

// due says how soon something is to be done.
type due uint8

const (
	notDue    due = iota
	afterHold     // when the rest is over
	immediately
)

// tableQueue is what waits in the exchange for one link. The exchange's lock guards it.
type tableQueue struct {
	received   []*linkv1.Table
	room       sync.Cond     // of the link's reader
	inReceived bool          // the link is in exchange.in
	inToSend   bool          // or in exchange.out, or what it is to be told is being put together
	next       *linkv1.Table // to be told
	ended      bool
}

// sessionQueue is links, each of which has its turn.
type sessionQueue struct{ waiting []*session }

func (q *sessionQueue) push(s *session) { q.waiting = append(q.waiting, s) }

// pop returns the next one, or nil.
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

// scheduleLocked notes that routes are to be found anew.
func (x *tableExchange) scheduleLocked(when due) {
	x.due = max(x.due, when)
	x.wakeUp()
}

// Table leaves what the other end tells to the exchange. It waits for that only a moment, but where maxTables
// wait already.
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

// enqueue puts a table where it is taken in. It returns a channel that closes once that is published, or nil where
// it will not be soon.
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

// notifyLocked notes that there is something to do.
func (x *tableExchange) notifyLocked() {
	if x.waitingSince.IsZero() {
		x.waitingSince = time.Now()
	}
	x.wakeUp()
}

// lag returns how long the exchange's work had to wait for its turn.
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

// markSent reports whether there is nothing to tell. If all that was taken in is published too, readers need to
// wait no longer.
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

// nextReceived returns a link that brought tables, and these, or nil.
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

// drainLocked returns what has come in.
func (q *tableQueue) drainLocked() []*linkv1.Table {
	tables := q.received
	q.received = nil
	q.room.Broadcast()
	return tables
}

// closeQueue returns what a link has brought last. Nothing comes after it.
func (x *tableExchange) closeQueue(s *session) []*linkv1.Table {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.queue.ended, s.queue.next = true, nil
	return s.queue.drainLocked()
}

// PullTable returns what the other end is to be told next, if it is ready.
func (s *session) PullTable() (t *linkv1.Table, coming bool) {
	x, q := &s.table.exchange, &s.queue
	x.mu.Lock()
	defer x.mu.Unlock()
	if t, q.next = q.next, nil; t != nil {
		x.markDirtyLocked(s)
	}
	return t, q.inToSend && !x.stopped
}

// markDirty notes that there may be something to tell over a link.
func (x *tableExchange) markDirty(s *session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.queue.next == nil { // else it comes after that
		x.markDirtyLocked(s)
	}
}

// markDirtyLocked is tell for one who has the lock.
func (x *tableExchange) markDirtyLocked(s *session) {
	if !s.queue.inToSend && !s.queue.ended {
		s.queue.inToSend = true
		x.toSend.push(s)
		x.notifyLocked()
	}
}

// nextToSend returns a link that may have something to tell, or nil. Its turn lasts until offer: a link that closes
// meanwhile waits for what there is.
func (x *tableExchange) nextToSend() *session {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.toSend.pop()
}

// offer makes t, nil for nothing, what is told next over a link.
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

// waiting reports whether there is something to take in or to tell.
func (x *tableExchange) waiting() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.received.waiting) > 0 || len(x.toSend.waiting) > 0
}

// stop lets go of all who wait.
func (x *tableExchange) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	x.caughtUp.fire()
	for _, s := range x.received.waiting {
		s.queue.room.Broadcast()
	}
}

// runExchange takes in tables, finds routes and has tables told until the node is closed.
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

// processors bounds how many nodes of the process do this at a time, so that a storm of tables leaves no queue of
// long work before what is short and cannot wait, such as signs of life.
var processors = make(chan struct{}, runtime.GOMAXPROCS(0))

// exchangeOnce does what is due, for about as long as the node's lock should be held, and returns when it is to
// be called again at the latest.
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
	if now = time.Now(); x.due == immediately || x.due == afterHold && !x.heldUntil.After(now) {
		x.tick = t.core.Tick(now) // what has come in may make it want the time sooner
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

// setHold says how long the rest is after routes were found from begin to end.
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

// receiveTablesLocked gives the core what links have brought.
func (t *table) receiveTablesLocked(begin time.Time) {
	for time.Since(begin) < exchangeSlice {
		s, tables := t.exchange.nextReceived()
		if s == nil {
			return
		}
		for _, received := range tables {
			if err := t.core.Receive(time.Now(), s.id, received); err != nil {
				t.life.tasks.Go(func() { s.link.FailViolation(err) }) // which may take a while
				break
			}
		}
		t.exchange.due = max(t.exchange.due, afterHold)
	}
}

// sendTablesLocked gives links what they are to tell.
func (t *table) sendTablesLocked(begin time.Time) {
	for time.Since(begin) < exchangeSlice {
		s := t.exchange.nextToSend()
		if s == nil {
			return
		}
		t.exchange.offer(s, t.core.Pull(begin, s.id, link.TableBudget))
	}
}
