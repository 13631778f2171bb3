package rpcmesh

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/guard"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
	"github.com/rpcmesh/rpcmesh/runtime/internal/mesh"
)

// linker brings links up: it does the handshake, authenticates the other end and starts the session.
type linker struct {
	identity *identity
	life     *lifetime
	log      *logger
	cfg      *Config
	table    *table
	links    *linkSet
	router   *router

	secrets    atomic.Pointer[secretList]
	leavesHost atomic.Bool // the node can be reached from beyond the host, or links to there
	warnings   onceWarnings
	workers    *link.Workers
	budget     *link.Budget
}

func newLinker(
	i *identity, life *lifetime, log *logger, cfg *Config, t *table, links *linkSet, rt *router, secrets secretList,
) *linker {
	l := &linker{
		identity: i, life: life, log: log, cfg: cfg, table: t, links: links, router: rt,
		workers: link.NewWorkers(), budget: link.NewBudget(cfg.Limits.NodeMemory),
	}
	l.secrets.Store(&secrets)
	return l
}

// featureTableAck is the feature of nodes that acknowledge tables: see table.proto.
const featureTableAck = "table-ack"

// linkConn is what the linker needs of the connection under a link.
type linkConn interface {
	link.Conn
	Addr() string
	TLS() *tls.ConnectionState
}

// acceptLink serves a link that another node has dialled.
func (l *linker) acceptLink(ctx context.Context, conn linkConn) {
	countAsLink(ctx)
	if !l.table.addTask(running) {
		conn.Close(connect.NewError(connect.CodeUnavailable, "the node is shutting down"))
		return
	}
	defer l.life.tasks.Done()
	if err := l.checkAddress(conn.Addr()); err != nil {
		l.refuseLink(conn, connect.NewError(connect.CodeFailedPrecondition, "the link is refused").WithCause(err))
		return
	}
	var answer []*linkv1.LinkNamespace
	ls, err := link.Accept(ctx, conn, l.linkConfig(), func(peer link.Peer) (*linkv1.Join, error) {
		if err := l.authenticatePeer(ctx, peer, conn); err != nil {
			return nil, err
		}
		var err error
		answer, err = l.table.answerJoin(peer.Join)
		return l.identity.newJoin(answer), err
	})
	if err != nil {
		l.refuseLink(conn, err)
		return
	}
	l.warnOfLink(conn, conn.Addr(), ls.Peer())
	s, err := l.startSession(ls, conn.Addr(), answer, nil)
	if err == nil {
		err = ls.Run(s)
	}
	l.log.limited.Log(logLevel(err), "link down", hostOf(conn.Addr()), attrAddr(conn.Addr()), attrError(err))
}

// refuseLink closes a link that another node has dialled.
func (l *linker) refuseLink(conn linkConn, err error) {
	l.log.limited.Log(logLevel(err), "link refused", hostOf(conn.Addr()), attrAddr(conn.Addr()), attrError(err))
	conn.Close(err)
}

// authenticatePeer decides on a peer that has proven the secret.
func (l *linker) authenticatePeer(ctx context.Context, peer link.Peer, conn linkConn) error {
	if err := l.checkPeerIdentity(peer); err != nil {
		return err
	}
	if l.cfg.Authenticate == nil {
		return nil
	}
	names := make([]string, len(peer.Join.GetNamespaces()))
	for i, ns := range peer.Join.GetNamespaces() {
		names[i] = ns.GetName()
	}
	err := guard.Call(l.log.Logger, "Config.Authenticate", func() error {
		return l.cfg.Authenticate(ctx, Peer{
			ID: peer.Node, Name: peer.Join.GetInfo().GetName(), Addr: conn.Addr(),
			Namespaces: names, Proxy: peer.Join.GetProxy(), TLS: conn.TLS(),
		})
	})
	if err != nil {
		return connect.NewError(connect.CodeUnauthenticated, "the link is refused by Config.Authenticate: the log of the node that refuses says why").WithCause(err)
	}
	return nil
}

// checkPeerIdentity refuses a second living node of one name. The one that already has a link with this node stays;
// the other redials, and is accepted once that link is gone. A later start of the same node replaces an earlier one
// that does not answer any more.
func (l *linker) checkPeerIdentity(peer link.Peer) error {
	err := l.table.checkPeer(peer)
	if _, twin := errors.AsType[*mesh.DuplicateError](err); twin && l.evictEarlierStart(peer) {
		err = l.table.checkPeer(peer)
	}
	return asConnect(err)
}

// probeShare is the fraction of the keepalive time in which an earlier start of a node must answer when a later one
// appears.
const probeShare = 6

// evictEarlierStart probes the links with earlier starts of a peer, and ends those that do not answer. It reports
// whether none is left.
func (l *linker) evictEarlierStart(peer link.Peer) bool {
	var asking sync.WaitGroup
	var alive atomic.Bool
	for _, s := range l.table.upSessions() {
		old := s.link.Peer()
		if old.Node != peer.Node || old.Join.GetProxy() || old.Incarnation == peer.Incarnation {
			continue
		}
		if old.Incarnation > peer.Incarnation {
			return false
		}
		asking.Go(func() {
			if s.link.Probe(l.cfg.Keepalive / probeShare) {
				alive.Store(true)
				return
			}
			<-s.ended
		})
	}
	asking.Wait()
	return !alive.Load()
}

func (l *linker) linkConfig() link.Config {
	cfg := link.Config{
		Node: l.identity.id, Name: l.identity.name, Incarnation: l.identity.incarnation,
		AcceptAnyone: true, AcceptOldProofs: l.cfg.AcceptOldProofs, Key: l.identity.key,
		Limits:            l.linkLimits(),
		Budget:            l.budget,
		KeepaliveInterval: l.cfg.Keepalive / 3,
		KeepaliveTimeout:  l.cfg.Keepalive,
		Workers:           l.workers,
		Features:          []string{featureTableAck},
	}
	if secrets := *l.secrets.Load(); len(secrets) > 0 {
		cfg.AcceptAnyone = false
		cfg.Secret = secrets[0]
		cfg.OtherSecrets = secrets[1:]
	}
	return cfg
}

func (l *linker) linkLimits() link.Limits {
	limits := &l.cfg.Limits
	return link.Limits{
		Node: l.identity.name, Window: limits.Window, MaxMessage: limits.MaxMessage, MaxCalls: limits.MaxCalls, Memory: limits.LinkMemory,
	}
}

// startSession adds a link that is up. The caller must run it.
func (l *linker) startSession(ls *link.Session, addr string, local []*linkv1.LinkNamespace, owner sessionOwner) (*session, error) {
	peer := ls.Peer()
	s := &session{
		table: l.table, router: l.router, log: l.log, link: ls, owner: owner, addr: addr, since: time.Now(), ended: make(chan struct{}),
		proxyCaller: l.identity.proxyCaller(peer, addr),
	}
	s.queue.room.L = &l.table.exchange.mu
	for _, ns := range local {
		s.namespaces = append(s.namespaces, ns.GetName())
	}
	if err := l.table.addSession(s, peer, local); err != nil {
		ls.Close(&linkv1.Goodbye{Reason: err.Error()})
		return nil, err
	}
	l.log.limited.Log(slog.LevelInfo, "link up", hostOf(addr), attrPeer(peer), attrAddr(addr))
	return s, nil
}
