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
	restFactor   = 4
	maxDoublings = 7
	maxRest      = time.Second
	// lossGrace is how long the calls of a link that was lost wait at most for the others to be told of it.
	lossGrace = 100 * time.Millisecond
	// readerGrace is how long a reader waits at most for what it has brought to be published and told, so that
	// calls' frames do not overtake the tables before them. An exchange that is once later than that is not waited for.
	readerGrace = 10 * time.Millisecond
)

// exchange is how a node takes in the tables that its links bring, and has its own told. One goroutine, of
// [Node.exchange], does both and finds routes anew for all that has changed by then. The links' readers and
// writers leave that to it, and wait neither for routes nor for the node's lock.
type exchange struct {
	wake chan struct{}

	// Under the node's lock: when routes are to be found anew.
	due      due
	tick     time.Time // when the core is to be told the time
	rested   time.Time // when the rest after the last time is over
	rest     time.Duration
	doubling int
	lagging  time.Duration // the longest lag since the last time
	telling  time.Duration // what telling took since then
	told     signal        // all that was to be told at one time is on its way

	mu       sync.Mutex
	in       sessionQueue // with tables to take in
	out      sessionQueue // with something to tell, perhaps
	since    time.Time    // when the first of what waits in either came
	caughtUp signal       // all that had come in is published, and what follows from it about to be told
	late     bool         // since it caught up last, a reader has waited in vain
	over     bool
}

// due says how soon something is to be done.
type due uint8

const (
	notDue    due = iota
	afterRest     // when the rest is over
	atOnce
)

// tableQueue is what waits in the exchange for one link. The exchange's lock guards it.
type tableQueue struct {
	in    []*linkv1.Table
	room  sync.Cond     // of the link's reader
	inIn  bool          // the link is in exchange.in
	inOut bool          // or in exchange.out, or what it is to be told is being put together
	ready *linkv1.Table // to be told
	ended bool
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

func (x *exchange) signal() {
	select {
	case x.wake <- struct{}{}:
	default:
	}
}

// changedLocked notes that routes are to be found anew.
func (x *exchange) changedLocked(when due) {
	x.due = max(x.due, when)
	x.signal()
}

// Table leaves what the other end tells to the exchange. It waits for that only a moment, but where maxTables
// wait already.
func (s *session) Table(t *linkv1.Table) error {
	x := &s.node.tables
	published := x.bring(s, t)
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

// bring puts a table where it is taken in. It returns a channel that closes once that is published, or nil where
// it will not be soon.
func (x *exchange) bring(s *session, t *linkv1.Table) <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	q := &s.tables
	for len(q.in) >= maxTables && !q.ended && !x.over {
		q.room.Wait()
	}
	if q.ended || x.over {
		return nil
	}
	q.in = append(q.in, t)
	if !q.inIn {
		q.inIn = true
		x.in.push(s)
		x.await()
	}
	if x.late {
		return nil
	}
	return x.caughtUp.wait()
}

// await notes that there is something to do. The exchange's lock is held.
func (x *exchange) await() {
	if x.since.IsZero() {
		x.since = time.Now()
	}
	x.signal()
}

// lag returns how long the exchange's work had to wait for its turn.
func (x *exchange) lag(now time.Time) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	since := x.since
	x.since = time.Time{}
	if since.IsZero() {
		return 0
	}
	return now.Sub(since)
}

// noteTold reports whether there is nothing to tell. If all that was taken in is published too, readers need to
// wait no longer.
func (x *exchange) noteTold(published bool) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.out.waiting) > 0 {
		return false
	}
	if published && len(x.in.waiting) == 0 {
		x.late = false
		x.caughtUp.fire()
	}
	return true
}

// take returns a link that brought tables, and these, or nil.
func (x *exchange) take() (*session, []*linkv1.Table) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.in.pop()
	if s == nil {
		return nil, nil
	}
	s.tables.inIn = false
	return s, s.tables.empty()
}

// empty returns what has come in.
func (q *tableQueue) empty() []*linkv1.Table {
	tables := q.in
	q.in = nil
	q.room.Broadcast()
	return tables
}

// end returns what a link has brought last. Nothing comes after it.
func (x *exchange) end(s *session) []*linkv1.Table {
	x.mu.Lock()
	defer x.mu.Unlock()
	s.tables.ended, s.tables.ready = true, nil
	return s.tables.empty()
}

// PullTable returns what the other end is to be told next, if it is ready.
func (s *session) PullTable() (t *linkv1.Table, coming bool) {
	x, q := &s.node.tables, &s.tables
	x.mu.Lock()
	defer x.mu.Unlock()
	if t, q.ready = q.ready, nil; t != nil {
		x.queue(s)
	}
	return t, q.inOut && !x.over
}

// tell notes that there may be something to tell over a link.
func (x *exchange) tell(s *session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.tables.ready == nil { // else it comes after that
		x.queue(s)
	}
}

// queue is tell for one who has the lock.
func (x *exchange) queue(s *session) {
	if !s.tables.inOut && !s.tables.ended {
		s.tables.inOut = true
		x.out.push(s)
		x.await()
	}
}

// next returns a link that may have something to tell, or nil. Its turn lasts until offer: a link that closes
// meanwhile waits for what there is.
func (x *exchange) next() *session {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.out.pop()
}

// offer makes t, nil for nothing, what is told next over a link.
func (x *exchange) offer(s *session, t *linkv1.Table) {
	x.mu.Lock()
	s.tables.inOut = false
	if !s.tables.ended {
		s.tables.ready = t
	}
	x.mu.Unlock()
	if t != nil {
		s.link.TableChanged()
	} else {
		s.link.TableUnchanged()
	}
}

// waiting reports whether there is something to take in or to tell.
func (x *exchange) waiting() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.in.waiting) > 0 || len(x.out.waiting) > 0
}

// stop lets go of all who wait.
func (x *exchange) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.over = true
	x.caughtUp.fire()
	for _, s := range x.in.waiting {
		s.tables.room.Broadcast()
	}
}

// exchange takes in tables, finds routes and has tables told until the node is closed.
func (n *Node) exchange() {
	x := &n.tables
	defer x.stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-x.wake:
		case <-timer.C:
		}
		next := n.exchangeSome()
		for x.waiting() && n.ctx.Err() == nil {
			next = n.exchangeSome()
		}
		timer.Reset(time.Until(next))
	}
}

// processors bounds how many nodes of the process do this at a time, so that a storm of tables leaves no queue of
// long work before what is short and cannot wait, such as signs of life.
var processors = make(chan struct{}, runtime.GOMAXPROCS(0))

// exchangeSome does what is due, for about as long as the node's lock should be held, and returns when it is to
// be called again at the latest.
func (n *Node) exchangeSome() time.Time {
	processors <- struct{}{}
	defer func() { <-processors }()
	n.mu.Lock()
	defer n.mu.Unlock()
	x := &n.tables
	now := time.Now()
	if !x.tick.After(now) {
		x.due = max(x.due, afterRest)
		x.tick = n.core.Tick(now)
	}
	x.lagging = max(x.lagging, x.lag(now))
	n.takeTables(now)
	if now = time.Now(); x.due == atOnce || x.due == afterRest && !x.rested.After(now) {
		x.tick = n.core.Tick(now) // what has come in may make it want the time sooner
		n.publish()
		x.restAfter(now, time.Now())
	}
	now = time.Now()
	n.tellTables(now)
	x.telling += time.Since(now) // short: a slice at a time
	if x.due != atOnce && x.noteTold(x.due == notDue) {
		x.told.fire()
	}
	if x.due == afterRest && x.rested.Before(x.tick) {
		return x.rested
	}
	return x.tick
}

// restAfter says how long the rest is after routes were found from begin to end.
func (x *exchange) restAfter(begin, end time.Time) {
	if begin.Sub(x.rested) < x.rest {
		x.doubling = min(x.doubling+1, maxDoublings)
	} else {
		x.doubling = 0
	}
	x.rest = min(max(end.Sub(begin)<<x.doubling, x.telling, x.lagging)*restFactor, maxRest) // short: what was measured, and a few doublings
	x.rested = end.Add(x.rest)
	x.lagging, x.telling = 0, 0
}

// takeTables gives the core what links have brought.
func (n *Node) takeTables(begin time.Time) {
	for time.Since(begin) < exchangeSlice {
		s, tables := n.tables.take()
		if s == nil {
			return
		}
		for _, t := range tables {
			if err := n.core.Receive(time.Now(), s.id, t); err != nil {
				n.tasks.Go(func() { s.link.FailViolation(err) }) // which may take a while
				break
			}
		}
		n.tables.due = max(n.tables.due, afterRest)
	}
}

// tellTables gives links what they are to tell.
func (n *Node) tellTables(begin time.Time) {
	for time.Since(begin) < exchangeSlice {
		s := n.tables.next()
		if s == nil {
			return
		}
		n.tables.offer(s, n.core.Pull(begin, s.id, link.TableBudget))
	}
}
