package rpcmesh

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
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
		if ns.err != nil || !ns.node.addWatcher(w) {
			return
		}
		defer ns.node.removeWatcher(w)
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

// watcher is one loop over events.
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

// addWatcher adds w, with what is as its first events. It reports false once the node is closed.
func (n *Node) addWatcher(w *watcher) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase == closed {
		return false
	}
	n.core.WatchFunctions(w.ns.name, true)
	n.publishLocked()
	now, table := time.Now(), n.table.Load()
	for m := range table.Members() {
		for _, ns := range m.Namespaces {
			if w.matches(ns.Namespace) {
				w.queue = append(w.queue, Event{
					Kind: MemberJoined, Time: now, Namespace: ns.Namespace, Node: NodeID(m.ID), NodeName: m.Info.GetName(),
				})
			}
		}
	}
	for f := range table.Functions(w.ns.name) {
		w.queue = append(w.queue, Event{
			Kind: FunctionAdded, Time: now, Namespace: w.ns.name, Node: NodeID(f.Node), NodeName: f.Name, Procedure: f.Function.Procedure,
		})
	}
	n.watchers[w] = struct{}{}
	return true
}

func (n *Node) removeWatcher(w *watcher) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.watchers, w)
	n.core.WatchFunctions(w.ns.name, false)
}

// matches reports whether events of namespace are w's.
func (w *watcher) matches(namespace string) bool {
	return namespace == w.ns.name || slices.Contains(w.ns.members, namespace)
}

// handleEventLocked passes on an event of the core. The caller holds n.mu.
func (n *Node) handleEventLocked(e mesh.Event) {
	switch e.Kind {
	case mesh.LinkSynced:
		if s := n.liveSessions[e.Link]; s != nil && s.owner != nil {
			s.owner.onSynced(s)
		} else if s != nil {
			n.sessionSynced(s)
		}
		return
	case mesh.LinkKnown:
		if s := n.liveSessions[e.Link]; s != nil && s.owner != nil {
			s.owner.onPeerSynced(s)
		}
		return
	case mesh.NodeDisputed:
		n.log.Error("records in this node's name go round that are not its own", "cause", e.Cause, "records", e.Count)
		return
	case mesh.RecordsDropped:
		n.log.Warn("what a peer tells of other nodes was not taken in", "peer", e.Name, "cause", e.Cause, "records", e.Count)
		return
	case mesh.MemberJoined, mesh.MemberLeft, mesh.MemberLost:
		n.log.Info("membership", "event", eventKinds[e.Kind].String(), "namespace", e.Namespace, "member", e.Name, "cause", e.Cause)
	case mesh.FunctionShadowed:
		n.log.Warn("function shadowed", "namespace", e.Namespace, "procedure", e.Procedure,
			"origin", e.Name, "serving", e.OwnerName, "reason", e.Cause)
	case mesh.FunctionCrowded:
		n.log.Warn("function has too many origins", "namespace", e.Namespace, "procedure", e.Procedure, "reason", e.Cause)
		return
	case mesh.FunctionDiffers:
		n.compareLaterLocked(e)
		return
	case mesh.FunctionIncompatible:
		e.Cause = fmt.Sprintf("its schema is not known to fit that of %q", e.OwnerName)
	case mesh.MemberChanged, mesh.FunctionAdded, mesh.FunctionWithdrawn:
	}
	n.notifyWatchersLocked(Event{
		Kind: eventKinds[e.Kind], Time: time.Now(), Namespace: e.Namespace, Node: NodeID(e.Node), NodeName: e.Name,
		Procedure: e.Procedure, Cause: e.Cause,
	})
}

// notifyWatchersLocked hands an event to those who watch. The caller holds n.mu.
func (n *Node) notifyWatchersLocked(event Event) {
	for w := range n.watchers {
		if w.matches(event.Namespace) {
			w.push(event)
		}
	}
}

var eventKinds = map[mesh.EventKind]EventKind{
	mesh.MemberJoined: MemberJoined, mesh.MemberChanged: MemberChanged, mesh.MemberLeft: MemberLeft,
	mesh.MemberLost: MemberLost, mesh.FunctionAdded: FunctionAdded, mesh.FunctionWithdrawn: FunctionRemoved,
	mesh.FunctionShadowed: FunctionShadowed, mesh.FunctionIncompatible: FunctionIncompatible,
}
