package rpcmesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// session is one link that is up, as its node sees it. It is the link.Handler of its engine.
type session struct {
	node         *Node
	id           mesh.LinkID
	link         *link.Session
	owner        *Link // nil where the other end dialled
	namespaces   []string
	carried      []string // by which calls over the link may name where they go, sorted
	addr         string
	since        time.Time
	proxyCaller  *link.Caller // of the calls of a proxy; nil where the other end is none
	callerChecks callerChecks
	routes       routeCache
	refused      atomic.Uint64 // calls that named another
	refusalLog   logLimiter
	queue        tableQueue
	ended        chan struct{} // closed once it is out of the table
}

// featureTableAck is what both ends have that say when the other one's table is in effect: see table.proto.
const featureTableAck = "table-ack"

// linkConn is what a node asks of the conn under a link.
type linkConn interface {
	link.Conn
	Addr() string
	TLS() *tls.ConnectionState
}

// acceptLink serves a stream that another node has opened.
func (n *Node) acceptLink(ctx context.Context, conn linkConn) {
	countAsLink(ctx)
	n.mu.Lock()
	if n.phase != running {
		n.mu.Unlock()
		conn.Close(connect.NewError(connect.CodeUnavailable, "the node is shutting down"))
		return
	}
	n.tasks.Add(1)
	n.mu.Unlock()
	defer n.tasks.Done()
	if err := n.checkAddress(conn.Addr()); err != nil {
		n.refuseLink(conn, connect.NewError(connect.CodeFailedPrecondition, "the link is refused").WithCause(err))
		return
	}
	var answer []*linkv1.LinkNamespace
	ls, err := link.Accept(ctx, conn, n.linkConfig(), func(peer link.Peer) (*linkv1.Join, error) {
		if err := n.authenticatePeer(ctx, peer, conn); err != nil {
			return nil, err
		}
		var err error
		answer, err = n.answerJoin(peer.Join)
		return n.newJoin(answer), err
	})
	if err != nil {
		n.refuseLink(conn, err)
		return
	}
	n.warnOfLink(conn, conn.Addr(), ls.Peer())
	s, err := n.startSession(ls, conn.Addr(), answer, nil)
	if err == nil {
		err = ls.Run(s)
	}
	n.quiet.Log(logLevel(err), "link down", hostOf(conn.Addr()), attrAddr(conn.Addr()), attrError(err))
}

// refuseLink closes a stream that another node has opened.
func (n *Node) refuseLink(conn linkConn, err error) {
	n.quiet.Log(logLevel(err), "link refused", hostOf(conn.Addr()), attrAddr(conn.Addr()), attrError(err))
	conn.Close(err)
}

// authenticatePeer decides on a peer that has proven the secret.
func (n *Node) authenticatePeer(ctx context.Context, peer link.Peer, conn linkConn) error {
	if err := n.checkPeerIdentity(peer); err != nil {
		return err
	}
	if n.cfg.Authenticate == nil {
		return nil
	}
	names := make([]string, len(peer.Join.GetNamespaces()))
	for i, ns := range peer.Join.GetNamespaces() {
		names[i] = ns.GetName()
	}
	err := guard.Call(n.log, "Config.Authenticate", func() error {
		return n.cfg.Authenticate(ctx, Peer{
			ID: NodeID(peer.Node), Name: peer.Join.GetInfo().GetName(), Addr: conn.Addr(),
			Namespaces: names, Proxy: peer.Join.GetProxy(), TLS: conn.TLS(),
		})
	})
	if err != nil {
		return connect.NewError(connect.CodeUnauthenticated, "the link is refused by Config.Authenticate: the log of the node that refuses says why").WithCause(err)
	}
	return nil
}

// checkPeerIdentity refuses a second living node of one name: the one that this node has a link with stays. The
// other one dials again, and is let in when that link is gone. A later start of the node takes its place at once
// where the earlier one does not answer any more.
func (n *Node) checkPeerIdentity(peer link.Peer) error {
	err := n.checkPeer(peer)
	if _, twin := errors.AsType[*mesh.DuplicateError](err); twin && n.evictEarlierStart(peer) {
		err = n.checkPeer(peer)
	}
	return asConnect(err)
}

func (n *Node) checkPeer(peer link.Peer) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.CheckPeer(time.Now(), meshPeer(peer, nil))
}

// probeShare is the share of the keepalive time within which an earlier start of a node has to answer a later one's
// coming.
const probeShare = 6

// evictEarlierStart asks the earlier starts of a peer that this node has links with for a sign of life, and ends the links of
// those that give none. It reports whether there are none left.
func (n *Node) evictEarlierStart(peer link.Peer) bool {
	var asking sync.WaitGroup
	var alive atomic.Bool
	for _, s := range n.upSessions() {
		old := s.link.Peer()
		if old.Node != peer.Node || old.Join.GetProxy() || old.Incarnation == peer.Incarnation {
			continue
		}
		if old.Incarnation > peer.Incarnation {
			return false
		}
		asking.Go(func() {
			if s.link.Probe(n.cfg.Keepalive / probeShare) {
				alive.Store(true)
				return
			}
			<-s.ended
		})
	}
	asking.Wait()
	return !alive.Load()
}

// meshPeer is a peer as the routing core sees it. local is what this end's Join said of the link.
func meshPeer(peer link.Peer, local []*linkv1.LinkNamespace) mesh.Peer {
	return mesh.Peer{
		ID: mesh.NodeID(peer.Node), Incarnation: peer.Incarnation, Key: peer.Key, Info: peer.Join.GetInfo(),
		Observer: peer.Join.GetProxy(), Local: local, Remote: peer.Join.GetNamespaces(),
		Acknowledges: slices.Contains(peer.Features, featureTableAck),
	}
}

// answerJoin says which of the namespaces that are asked for the link will carry.
func (n *Node) answerJoin(asked *linkv1.Join) ([]*linkv1.LinkNamespace, error) {
	if len(asked.GetNamespaces()) > maxNamespaces {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "a link carries %d namespaces at most", maxNamespaces)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	answer, unknown, err := n.core.Answer(asked.GetNamespaces())
	if err != nil {
		return nil, asConnect(err)
	}
	if len(unknown) > 0 {
		return nil, connect.Errorf(connect.CodeNotFound,
			"node %q has no namespace %q: give it that by Node.Namespace, Node.Group or Node.Link there, or link with another",
			n.name, strings.Join(unknown, ", "))
	}
	return answer, nil
}

func (n *Node) newJoin(namespaces []*linkv1.LinkNamespace) *linkv1.Join {
	return &linkv1.Join{Info: n.info(), Namespaces: namespaces, Proxy: n.proxy}
}

func (n *Node) linkConfig() link.Config {
	cfg := link.Config{
		Node: link.NodeID(n.id), Name: n.name, Incarnation: n.incarnation,
		AcceptAnyone: true, AcceptOldProofs: n.cfg.AcceptOldProofs, Key: n.key,
		Limits:            n.linkLimits(),
		Budget:            n.budget,
		KeepaliveInterval: n.cfg.Keepalive / 3,
		KeepaliveTimeout:  n.cfg.Keepalive,
		Workers:           n.workers,
		Features:          []string{featureTableAck},
	}
	if secrets := *n.secrets.Load(); len(secrets) > 0 {
		cfg.AcceptAnyone, cfg.Secret, cfg.OtherSecrets = false, secrets[0], secrets[1:]
	}
	return cfg
}

func (n *Node) linkLimits() link.Limits {
	l := n.cfg.Limits
	return link.Limits{Node: n.name, Window: l.Window, MaxMessage: l.MaxMessage, MaxCalls: l.MaxCalls, Memory: l.LinkMemory}
}

// linkDownCause says for the table why a session ended.
func linkDownCause(ended *link.Ended) mesh.Cause {
	return mesh.Cause{Text: ended.Error(), Goodbye: ended.Kind == link.EndGoodbye && ended.Leaving}
}

// startSession adds a link that has come up, which the caller then runs.
func (n *Node) startSession(ls *link.Session, addr string, local []*linkv1.LinkNamespace, owner *Link) (*session, error) {
	peer := ls.Peer()
	s := &session{
		node: n, link: ls, owner: owner, addr: addr, since: time.Now(), ended: make(chan struct{}),
		proxyCaller: n.proxyCaller(peer, addr),
	}
	s.queue.room.L = &n.exchange.mu
	for _, ns := range local {
		s.namespaces = append(s.namespaces, ns.GetName())
	}
	if err := n.addSession(s, peer, local); err != nil {
		ls.Close(&linkv1.Goodbye{Reason: err.Error()})
		return nil, err
	}
	n.quiet.Log(slog.LevelInfo, "link up", hostOf(addr), attrPeer(peer), attrAddr(addr))
	return s, nil
}

func (n *Node) addSession(s *session, peer link.Peer, local []*linkv1.LinkNamespace) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase == closed {
		return errClosed()
	}
	n.lastLink++
	s.id = n.lastLink
	if err := n.core.LinkUp(time.Now(), s.id, meshPeer(peer, local)); err != nil {
		return asConnect(err)
	}
	if !n.proxy { // to which nobody may make calls
		s.carried = n.core.Carried(s.id)
	}
	s.link.Bind(s)
	recycled := n.retireLocked(s)
	n.liveSessions[s.id] = s
	if s.owner == nil && !peer.Join.GetProxy() {
		n.callMu.Lock()
		n.syncing[s] = struct{}{}
		n.callMu.Unlock()
	}
	n.sessionsStale = true
	if s.owner != nil {
		s.owner.onUp(s)
	}
	n.exchange.scheduleLocked(afterHold)
	if recycled {
		n.exchange.scheduleLocked(immediately)
	}
	return nil
}

// Ended takes the link out of the table, and waits until no call is sent over it any more and the other links
// are told, ahead of what becomes of the calls on it.
func (s *session) Ended(cause *link.Ended) {
	n := s.node
	n.mu.Lock()
	for _, t := range n.exchange.closeQueue(s) {
		if n.core.Receive(time.Now(), s.id, t) != nil {
			break // it has ended anyway
		}
	}
	n.core.LinkDown(time.Now(), s.id, linkDownCause(cause))
	delete(n.liveSessions, s.id)
	n.sessionSynced(s)
	if s.owner != nil {
		s.owner.onEnded(s, cause)
	}
	n.sessionsStale = true
	close(s.ended)
	n.exchange.scheduleLocked(immediately)
	moved, told := n.coreChanged.wait(), n.exchange.allSent.wait()
	n.mu.Unlock()
	select {
	case <-moved:
	case <-n.ctx.Done():
	}
	grace := time.NewTimer(lossGrace)
	defer grace.Stop()
	select {
	case <-told:
	case <-grace.C:
	case <-n.ctx.Done():
	}
}

// session returns a link that is up, or was a moment ago. It takes no lock.
func (n *Node) session(id mesh.LinkID) *session { return (*n.sessions.Load())[id] }

// upSessions returns the links that are up.
func (n *Node) upSessions() []*session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Values(n.liveSessions))
}

// Route decides where a call goes that came in over this link: into what the link carries, and nowhere else.
// That is looked at before anything else of the call, so that no procedure of the nodes' own can forget it.
func (s *session) Route(in *link.Incoming) link.Route {
	if r, ok := s.routes.lookup(s.node, in.Callee); ok {
		in.Caller = s.checkCaller(in)
		return r
	}
	if _, ok := slices.BinarySearch(s.carried, in.Namespace); !ok {
		return s.refuseNotCarried(in.Namespace)
	}
	in.Caller = s.checkCaller(in)
	r, lasting := s.node.routeIncoming(in)
	if lasting {
		s.routes.store(in.Callee, r)
	}
	return r
}

// refuseNotCarried refuses a call into a namespace that the link does not carry, by the same words whatever is
// there.
func (s *session) refuseNotCarried(namespace string) link.Route {
	total := s.refused.Add(1)
	if s.refusalLog.allow() {
		peer := s.link.Peer()
		s.node.log.Warn("call refused: its link does not carry calls into its namespace",
			attrPeer(peer), attrAddr(s.addr), slog.String("namespace", truncate(namespace)), slog.Uint64("refused", total))
	}
	info := ErrorInfo{Reason: ReasonNotCarried, Metadata: map[string]string{"namespace": truncate(namespace), "node": s.node.name}}
	return refuseWith(info, connect.CodePermissionDenied, fmt.Sprintf("the link does not carry calls into the namespace %q", truncate(namespace)))
}

func (s *session) info() LinkInfo {
	peer := s.link.Peer()
	info := LinkInfo{
		Up: true, Peer: NodeID(peer.Node), PeerName: peer.Join.GetInfo().GetName(), Proxy: peer.Join.GetProxy(),
		Addr: s.addr, Namespaces: s.namespaces, Since: s.since, Refused: s.refused.Load(),
	}
	if s.owner != nil {
		info.URL = s.owner.url.String()
	}
	return info
}
