package rpcmesh

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"
)

// maxEvents bounds how many events wait for one watcher.
const maxEvents = 4096

// EventKind says what an [Event] tells.
type EventKind uint8

// The kinds of events.
const (
	// MemberJoined: a node can be reached that could not be before.
	MemberJoined EventKind = iota + 1
	// MemberChanged: a member's links or what it tells of itself are not what they were.
	MemberChanged
	// MemberLeft: a member has said goodbye.
	MemberLeft
	// MemberLost: a member can no longer be reached.
	MemberLost
	// FunctionAdded: an origin of a function can be called that could not be before.
	FunctionAdded
	// FunctionRemoved: an origin of a function can no longer be called.
	FunctionRemoved
	// FunctionShadowed: an origin stands back behind an earlier one of the same function. At its own node Cause
	// says for how long each has been registered, and how far the nodes' clocks are apart.
	FunctionShadowed
	// FunctionIncompatible: an origin of a replicated function is kept out since its schema does not fit
	// that of the first one. Its own node says why; to others it may just not be known to fit yet.
	FunctionIncompatible
	// EventsMissed: the watcher was too slow and events were dropped; Functions and Members tell how
	// things stand.
	EventsMissed
)

// String returns the kind's name.
func (k EventKind) String() string {
	names := [...]string{
		"", "member joined", "member changed", "member left", "member lost",
		"function added", "function removed", "function shadowed", "function incompatible", "events missed",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Event is a change in a namespace, as one node sees it.
type Event struct {
	Kind EventKind
	Time time.Time
	// Namespace is where it happened: for a group, one of the members.
	Namespace string
	// Node and NodeName are the member's, or the function's origin's.
	Node     NodeID
	NodeName string
	// Procedure is the function's, for events of functions.
	Procedure string
	// Cause says why, where it is known: which link fell, say.
	Cause string
}

// Watch yields what is (each member and function as if it had just come) and then each change, until
// ctx ends, the node is closed or the loop is left. A watcher that lags by more than 4,096 events
// misses some, and is told so.
func (ns *Namespace) Watch(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		w := &watcher{ns: ns, wake: make(chan struct{}, 1), done: make(chan struct{})}
		if ns.err != nil || !ns.node.table.addWatcher(w) {
			return
		}
		defer ns.node.table.removeWatcher(w)
		for {
			for _, e := range w.popAll() {
				if !yield(e) {
					return
				}
			}
			select {
			case <-w.wake:
			case <-w.done:
				return
			case <-ctx.Done():
				return
			}
		}
	}
}

// watcher is one loop over a namespace's events.
type watcher struct {
	ns   *Namespace
	wake chan struct{}
	done chan struct{}

	mu     sync.Mutex
	queue  []Event
	missed bool
	once   sync.Once
}

func (w *watcher) stop() { w.once.Do(func() { close(w.done) }) }

func (w *watcher) push(event Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) >= maxEvents {
		w.missed = true
		return
	}
	w.queue = append(w.queue, event)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *watcher) popAll() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	events := w.queue
	w.queue = nil
	if w.missed {
		w.missed = false
		events = append(events, Event{Kind: EventsMissed, Time: time.Now(), Namespace: w.ns.name})
	}
	return events
}

// addWatcher adds w; its first events are the current members and functions. It reports false once the node is
// closed.
func (t *table) addWatcher(w *watcher) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == closed {
		return false
	}
	t.core.WatchFunctions(w.ns.name, true)
	t.publishLocked()
	now, table := time.Now(), t.snapshot.Load()
	for m := range table.Members() {
		for _, ns := range m.Namespaces {
			if w.matches(ns.Namespace) {
				w.queue = append(w.queue, Event{
					Kind: MemberJoined, Time: now, Namespace: ns.Namespace, Node: m.ID, NodeName: m.Info.GetName(),
				})
			}
		}
	}
	for f := range table.Functions(w.ns.name) {
		w.queue = append(w.queue, Event{
			Kind: FunctionAdded, Time: now, Namespace: w.ns.name, Node: f.Node, NodeName: f.Name, Procedure: f.Function.Procedure,
		})
	}
	t.watchers[w] = struct{}{}
	return true
}

func (t *table) removeWatcher(w *watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.watchers, w)
	t.core.WatchFunctions(w.ns.name, false)
}

// matches reports whether events of namespace concern w.
func (w *watcher) matches(namespace string) bool {
	return namespace == w.ns.name || slices.Contains(w.ns.members, namespace)
}
