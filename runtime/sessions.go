package rpcmesh

import (
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

func (t *table) checkPeer(peer link.Peer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.core.CheckPeer(time.Now(), meshPeer(peer, nil))
}

// meshPeer describes a peer to the routing core. local is what this end's Join said about the link.
func meshPeer(peer link.Peer, local []*linkv1.LinkNamespace) mesh.Peer {
	return mesh.Peer{
		ID: peer.Node, Incarnation: peer.Incarnation, Key: peer.Key, Info: peer.Join.GetInfo(),
		Observer: peer.Join.GetProxy(), Local: local, Remote: peer.Join.GetNamespaces(),
		Acknowledges: slices.Contains(peer.Features, featureTableAck),
	}
}

// answerJoin says which of the requested namespaces the link will carry.
func (t *table) answerJoin(asked *linkv1.Join) ([]*linkv1.LinkNamespace, error) {
	if len(asked.GetNamespaces()) > maxNamespaces {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "a link carries %d namespaces at most", maxNamespaces)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	answer, unknown, err := t.core.Answer(asked.GetNamespaces())
	if err != nil {
		return nil, asConnect(err)
	}
	if len(unknown) > 0 {
		return nil, connect.Errorf(connect.CodeNotFound,
			"node %q has no namespace %q: give it that by Node.Namespace, Node.Group or Node.Link there, or link with another",
			t.identity.name, strings.Join(unknown, ", "))
	}
	return answer, nil
}

// linkDownCause is why a session ended, for the table.
func linkDownCause(ended *link.Ended) mesh.Cause {
	return mesh.Cause{Text: ended.Error(), Goodbye: ended.Kind == link.EndGoodbye && ended.Leaving}
}

func (t *table) addSession(s *session, peer link.Peer, local []*linkv1.LinkNamespace) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.phase == closed {
		return errClosed()
	}
	t.lastLink++
	s.id = t.lastLink
	if err := t.core.LinkUp(time.Now(), s.id, meshPeer(peer, local)); err != nil {
		return asConnect(err)
	}
	if !t.identity.proxy { // nobody may call a proxy
		s.carried = t.core.Carried(s.id)
	}
	s.link.Bind(s)
	recycled := t.retireLocked(s)
	t.liveSessions[s.id] = s
	if s.owner == nil && !peer.Join.GetProxy() {
		t.links.addSyncing(s)
	}
	t.sessionsStale = true
	if s.owner != nil {
		s.owner.onUp(s)
	}
	t.exchange.scheduleLocked(afterHold)
	if recycled {
		t.exchange.scheduleLocked(immediately)
	}
	return nil
}

// removeSession removes a link that has ended. The channels that it returns are closed when that is published, and
// when the other links have been told.
func (t *table) removeSession(s *session, cause *link.Ended) (published, sent <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, received := range t.exchange.closeQueue(s) {
		if t.core.Receive(time.Now(), s.id, received) != nil {
			break // the session has ended anyway
		}
	}
	t.core.LinkDown(time.Now(), s.id, linkDownCause(cause))
	delete(t.liveSessions, s.id)
	t.links.sessionSynced(s)
	if s.owner != nil {
		s.owner.onEnded(s, cause)
	}
	t.sessionsStale = true
	close(s.ended)
	t.exchange.scheduleLocked(immediately)
	return t.coreChanged.wait(), t.exchange.allSent.wait()
}

// session returns a link that is up, or was until a moment ago. It takes no lock.
func (t *table) session(id mesh.LinkID) *session { return (*t.sessions.Load())[id] }

// upSessions returns the links that are up.
func (t *table) upSessions() []*session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Values(t.liveSessions))
}

// replaces reports whether s belongs to the same link as o, an earlier session, and takes its place.
func (s *session) replaces(o *session) bool {
	if s.owner != nil || o.owner != nil {
		return s.owner == o.owner
	}
	mine, other := s.link.Peer(), o.link.Peer()
	return mine.Node == other.Node && mine.Incarnation == other.Incarnation &&
		mine.Join.GetLasting() != 0 && mine.Join.GetLasting() == other.Join.GetLasting()
}

// retireLocked directs calls to s instead of the sessions that it replaces, and reports whether there are any.
func (t *table) retireLocked(s *session) (found bool) {
	for id, o := range t.liveSessions {
		if s.replaces(o) {
			t.core.Retire(time.Now(), id)
			found = true
		}
	}
	return found
}
