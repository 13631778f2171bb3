package rpcmesh

import (
	"fmt"
	"time"

	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// handleEventLocked handles an event of the core.
func (t *table) handleEventLocked(e mesh.Event) {
	switch e.Kind {
	case mesh.LinkSynced:
		if s := t.liveSessions[e.Link]; s != nil && s.owner != nil {
			s.owner.onSynced(s)
		} else if s != nil {
			t.links.sessionSynced(s)
		}
		return
	case mesh.LinkKnown:
		if s := t.liveSessions[e.Link]; s != nil && s.owner != nil {
			s.owner.onPeerSynced(s)
		}
		return
	case mesh.NodeDisputed:
		t.log.Error("records in this node's name go round that are not its own", "cause", e.Cause, "records", e.Count)
		return
	case mesh.RecordsDropped:
		t.log.Warn("what a peer tells of other nodes was not taken in", "peer", e.Name, "cause", e.Cause, "records", e.Count)
		return
	case mesh.MemberJoined, mesh.MemberLeft, mesh.MemberLost:
		t.log.Info("membership", "event", eventKinds[e.Kind].String(), "namespace", e.Namespace, "member", e.Name, "cause", e.Cause)
	case mesh.FunctionShadowed:
		t.log.Warn("function shadowed", "namespace", e.Namespace, "procedure", e.Procedure,
			"origin", e.Name, "serving", e.OwnerName, "reason", e.Cause)
	case mesh.FunctionCrowded:
		t.log.Warn("function has too many origins", "namespace", e.Namespace, "procedure", e.Procedure, "reason", e.Cause)
		return
	case mesh.FunctionDiffers:
		if t.phase != closed {
			t.onDifference(e)
		}
		return
	case mesh.FunctionIncompatible:
		e.Cause = fmt.Sprintf("its schema is not known to fit that of %q", e.OwnerName)
	case mesh.MemberChanged, mesh.FunctionAdded, mesh.FunctionWithdrawn:
	}
	t.notifyWatchersLocked(Event{
		Kind: eventKinds[e.Kind], Time: time.Now(), Namespace: e.Namespace, Node: e.Node, NodeName: e.Name,
		Procedure: e.Procedure, Cause: e.Cause,
	})
}

// notifyWatchers passes an event to its watchers.
func (t *table) notifyWatchers(event Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.notifyWatchersLocked(event)
}

// notifyWatchersLocked is notifyWatchers.
func (t *table) notifyWatchersLocked(event Event) {
	for w := range t.watchers {
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
