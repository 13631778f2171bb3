package rpcmesh

import (
	"context"
	"crypto/ed25519"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// table is what a node knows of its namespaces: the routing core under a lock, which may be held for long where tables
// are large, and its snapshots, which calls read without.
type table struct {
	identity *identity
	life     *lifetime
	log      *logger
	links    *linkSet

	snapshot atomic.Pointer[mesh.Snapshot]
	sessions atomic.Pointer[map[mesh.LinkID]*session] // those of snapshot; immutable, replaced under mu
	exchange tableExchange

	changed safeBroadcast // snapshot has changed

	mu            sync.Mutex
	phase         phase
	core          *mesh.Core
	lastLink      mesh.LinkID
	liveSessions  map[mesh.LinkID]*session
	sessionsStale bool // sessions differs from liveSessions
	namespaces    map[string]*Namespace
	watchers      map[*watcher]struct{}
	coreChanged   broadcast          // the core's state has changed
	onDifference  func(e mesh.Event) // a replica's schema differs from the first one's
}

type phase int

const (
	running phase = iota
	draining
	closed
)

func newTable(i *identity, life *lifetime, log *logger, links *linkSet) *table {
	t := &table{
		identity: i, life: life, log: log, links: links,
		exchange:     tableExchange{wake: make(chan struct{}, 1)},
		liveSessions: map[mesh.LinkID]*session{},
		namespaces:   map[string]*Namespace{},
		watchers:     map[*watcher]struct{}{},
		core: mesh.New(mesh.Config{
			ID: i.id, Incarnation: i.incarnation, Key: i.key[ed25519.PrivateKeySize-ed25519.PublicKeySize:],
			Info: i.info(), Observer: i.proxy,
		}),
	}
	t.sessions.Store(&map[mesh.LinkID]*session{})
	t.snapshot.Store(t.core.Snapshot())
	return t
}

func (t *table) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.phase == closed
}

// publishLocked computes routes and publishes what has changed. It is for changes that must be visible at once; all
// others are left to the exchange.
func (t *table) publishLocked() {
	t.exchange.due = notDue
	snapshot := t.core.Snapshot()
	if t.sessionsStale { // before the snapshot that refers to them
		sessions := maps.Clone(t.liveSessions)
		t.sessions.Store(&sessions)
		t.sessionsStale = false
		t.forgetFastPathsLocked()
	}
	if t.snapshot.Swap(snapshot) != snapshot {
		t.forgetFastPathsLocked()
		t.changed.fire()
	}
	t.coreChanged.fire()
	for _, id := range t.core.Pending() {
		if s := t.liveSessions[id]; s != nil {
			t.exchange.markDirty(s)
		}
	}
	for _, e := range t.core.Events() {
		t.handleEventLocked(e)
	}
}

// snapshotAndChange returns the current snapshot and a channel that closes when there is another one. It does not wait
// for the table's lock.
func (t *table) snapshotAndChange() (*mesh.Snapshot, <-chan struct{}) {
	changed := t.changed.wait() // before the snapshot, so that no change is missed
	return t.snapshot.Load(), changed
}

// ifRunning calls f while the node neither drains nor closes, and reports whether it has.
func (t *table) ifRunning(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase != running {
		return false
	}
	f()
	return true
}

// addTask counts one more of the node's goroutines, which must call its tasks' Done, unless the node is past the phase
// latest.
func (t *table) addTask(latest phase) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase > latest {
		return false
	}
	t.life.tasks.Add(1)
	return true
}

// close is the table's part of closing the node: it returns the links that are up and those who watch.
func (t *table) close() ([]*session, []*watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == running && !t.identity.proxy {
		t.core.Leave(time.Now()) // so that nodes beyond the neighbours learn of it
		t.publishLocked()
	}
	t.phase = closed
	t.life.leaving.Store(true)
	return slices.Collect(maps.Values(t.liveSessions)), slices.Collect(maps.Keys(t.watchers))
}

// awaitChange waits for another snapshot than table, for at most pause. It reports false when ctx ends first.
func (t *table) awaitChange(ctx context.Context, table *mesh.Snapshot, pause time.Duration) bool {
	now, changed := t.snapshotAndChange()
	if now != table {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}
