package rpcmesh

import (
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// sessionOwner is told how its sessions come and go: a [Link]. It must not use the table.
type sessionOwner interface {
	onUp(s *session)
	onSynced(s *session)
	onPeerSynced(s *session)
	onEnded(s *session, cause *link.Ended)
	dialledURL() string
}

// session is one link that is up. It is the [link.Handler] of its session in package link.
type session struct {
	table        *table
	router       *router
	log          *logger
	id           mesh.LinkID
	link         *link.Session
	owner        sessionOwner // nil where the other end dialled
	namespaces   []string
	carried      []string // the namespaces that calls over the link may name, sorted
	addr         string
	since        time.Time
	proxyCaller  *link.Caller // of the calls of a proxy; nil where the other end is none
	callerChecks callerChecks
	routes       routeCache
	refused      atomic.Uint64 // calls that named another namespace
	refusalLog   logLimiter
	queue        tableQueue
	ended        chan struct{} // closed when the table has removed it
}

// Ended implements [link.Handler]: it removes the link from the table, and waits until calls no longer use it and the
// other links have been told, so that they learn of it before they learn how calls on it ended.
func (s *session) Ended(cause *link.Ended) {
	t := s.table
	published, sent := t.removeSession(s, cause)
	select {
	case <-published:
	case <-t.life.ctx.Done():
	}
	grace := time.NewTimer(lossGrace)
	defer grace.Stop()
	select {
	case <-sent:
	case <-grace.C:
	case <-t.life.ctx.Done():
	}
}

// Route implements [link.Handler]: it decides where a call goes that came in over this link: only into namespaces
// that the link carries. That is checked first, so that no procedure of the nodes' own can bypass it.
func (s *session) Route(in *link.Incoming) link.Route {
	if r, ok := s.routes.lookup(s.router, in.Callee); ok {
		in.Caller = s.checkCaller(in)
		return r
	}
	if _, ok := slices.BinarySearch(s.carried, in.Namespace); !ok {
		return s.refuseNotCarried(in.Namespace)
	}
	in.Caller = s.checkCaller(in)
	r, lasting := s.router.routeIncoming(in)
	if lasting {
		s.routes.store(in.Callee, r)
	}
	return r
}

// refuseNotCarried refuses a call into a namespace that the link does not carry, in the same words whether or not the
// namespace exists.
func (s *session) refuseNotCarried(namespace string) link.Route {
	total := s.refused.Add(1)
	if s.refusalLog.allow() {
		peer := s.link.Peer()
		s.log.Warn("call refused: its link does not carry calls into its namespace",
			attrPeer(peer), attrAddr(s.addr), slog.String("namespace", truncate(namespace)), slog.Uint64("refused", total))
	}
	info := ErrorInfo{Reason: ReasonNotCarried, Metadata: map[string]string{"namespace": truncate(namespace), "node": s.router.identity.name}}
	return refuseWith(info, connect.CodePermissionDenied, fmt.Sprintf("the link does not carry calls into the namespace %q", truncate(namespace)))
}

func (s *session) info() LinkInfo {
	peer := s.link.Peer()
	info := LinkInfo{
		Up: true, Peer: peer.Node, PeerName: peer.Join.GetInfo().GetName(), Proxy: peer.Join.GetProxy(),
		Addr: s.addr, Namespaces: s.namespaces, Since: s.since, Refused: s.refused.Load(),
	}
	if s.owner != nil {
		info.URL = s.owner.dialledURL()
	}
	return info
}
