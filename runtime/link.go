package rpcmesh

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// maxNamespaces bounds how many namespaces one link carries.
	maxNamespaces = 256
	// dialTimeout bounds how long it may take to connect.
	dialTimeout = 10 * time.Second
)

// Link maintains a connection to another node: it dials, and dials again whenever the connection is lost. Its node
// owns it. All methods may be called concurrently.
type Link struct {
	linker     *linker
	url        *url.URL
	namespaces []string
	cancel     context.CancelFunc
	done       chan struct{}
	redialNow  chan struct{} // asks for an early redial
	limiter    *redialLimiter
	lastingID  uint64 // it identifies the link across its sessions: see Join.lasting
	recycling  recycling

	mu         sync.Mutex
	session    *session // nil in linkDown
	phase      linkPhase
	outcome    sessionOutcome // of the last attempt, once its session has ended
	lastFailed bool           // the last attempt failed, or the other end closed the link
	err        error          // why the last attempt or session ended
	refused    bool           // err is a refusal, which trying again does not change
	conn       *carrier.Conn  // of the current attempt; nil: none
	changed    broadcast
}

// linkPhase is how far a link's session has come:
//
//	linkDown --> linkSyncing --> linkSynced --> linkReady
//	   ^              |              |              |
//	   +--------------+--------------+--------------+ the session has ended
type linkPhase uint8

const (
	linkDown    linkPhase = iota
	linkSyncing           // the session is up
	linkSynced            // the other end's first table has come
	linkReady             // and the other end has acknowledged this end's
)

// sessionOutcome is what an attempt to link has come to.
type sessionOutcome uint8

const (
	noSession     sessionOutcome = iota
	endedUnsynced                // a session, but no table
	endedSynced
)

// Link dials the node at rawURL, an http or https URL with the path under which that node is mounted or
// unix:///PATH for a node that serves a Unix domain socket, and keeps the link up until it or the node is
// closed. The link carries namespaces, of which this node becomes a member; none stands for
// [DefaultNamespace]. It returns before the link is up: see [Link.Ready]. A malformed URL or namespace is
// invalid_argument.
func (n *Node) Link(rawURL string, namespaces ...string) (*Link, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if len(namespaces) == 0 {
		namespaces = []string{DefaultNamespace}
	}
	if len(namespaces) > maxNamespaces {
		return nil, connect.Errorf(connect.CodeInvalidArgument, "rpcmesh: a link carries %d namespaces at most", maxNamespaces)
	}
	for _, name := range namespaces {
		if err := n.Namespace(name).err; err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(n.life.ctx)
	l := &Link{
		linker: n.linker, url: u, namespaces: slices.Clone(namespaces), cancel: cancel,
		done: make(chan struct{}), redialNow: make(chan struct{}, 1), lastingID: 1 + rand.Uint64N(math.MaxUint64),
		recycling: recycling{retired: make(chan struct{}, maxRetired)},
	}
	started := n.table.ifRunning(func() {
		n.links.add(l)
		n.life.tasks.Go(func() { l.run(ctx) })
	})
	if !started {
		cancel()
		return nil, errClosed()
	}
	return l, nil
}

// run keeps the link up, and logs while it is not, until ctx ends.
func (l *Link) run(ctx context.Context) {
	defer close(l.done)
	var logging sync.WaitGroup
	logging.Go(func() { l.logWhileDown(ctx) })
	l.maintain(ctx)
	logging.Wait()
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || !isNodeURL(u) {
		shown := fmt.Sprintf("%.100q", raw)
		if strings.Contains(raw, "@") {
			shown = "it" // it may contain a password
		}
		return nil, connect.Errorf(connect.CodeInvalidArgument,
			"rpcmesh: %s is not the URL of a node; one looks like http://host:8220, https://host/path or unix:///run/node.sock", shown)
	}
	if u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, connect.NewError(connect.CodeInvalidArgument,
			"rpcmesh: the URL of a node has no query, fragment or user")
	}
	return u, nil
}

// isNodeURL reports whether a URL says where a node is.
func isNodeURL(u *url.URL) bool {
	switch u.Scheme {
	case "http", "https":
		return u.Host != "" && u.Opaque == ""
	case carrier.SchemeUnix:
		return u.Host == "" && u.Opaque == "" && len(u.Path) > 1
	default:
		return false
	}
}

// Ready waits until the link is up and both ends know each other's tables: what either had registered can be
// called from the other. (A far end of an older release does not say when it knows this node's.) What does not heal
// by itself it returns at once, though the link goes on trying: the other end's refusal (unauthenticated for a wrong
// secret, not_found for a namespace that it does not have, ...), or what was found in its place: a server that is no
// node (not_found, failed_precondition), a certificate that does not do (unauthenticated), and the like. It returns
// deadline_exceeded or canceled with the last failure when ctx ends first, and failed_precondition once the link is
// closed. While it waits for longer than 3 s, the link logs why.
func (l *Link) Ready(ctx context.Context) error {
	for {
		l.mu.Lock()
		changed, err := l.changed.wait(), l.err
		up, refused := l.phase == linkReady, l.refused
		l.mu.Unlock()
		switch {
		case up:
			return nil
		case refused:
			return l.refusal(err)
		}
		select {
		case <-changed:
		case <-l.done:
			return connect.NewError(connect.CodeFailedPrecondition, "rpcmesh: the link is closed")
		case <-ctx.Done():
			return l.notReady(ctx)
		}
	}
}

// Close gives the link up, says goodbye and waits for its goroutine.
func (l *Link) Close() error {
	var closing sync.WaitGroup
	for _, s := range l.linker.table.upSessions() {
		if s.owner == l {
			closing.Go(func() { s.link.Close(&linkv1.Goodbye{Reason: "link closed"}) })
		}
	}
	closing.Wait()
	l.cancel()
	<-l.done
	return nil
}

// maintain dials, and dials again, until ctx ends.
func (l *Link) maintain(ctx context.Context) {
	defer func() {
		l.recycling.streams.Wait()
		l.cancel()
		l.linker.links.remove(l)
	}()
	r := redial{link: l, limiter: l.limiter}
	r.reset()
	var logged string
	for ctx.Err() == nil {
		synced, err := l.dialOnce(ctx)
		if ctx.Err() != nil {
			return
		}
		if synced {
			r.reset()
		}
		if errors.Is(err, errRecycled) {
			continue
		}
		logged = l.logDown(ctx, err, logged, r.pause)
		r.wait(ctx)
		if l.linker.table.isClosed() {
			return // its context ends later, after the goodbyes
		}
	}
}

// dialOnce makes one attempt: it dials and runs the session until that ends or its stream is to be replaced. It
// reports whether tables had been exchanged.
func (l *Link) dialOnce(ctx context.Context) (synced bool, err error) {
	err = l.dialAndRun(ctx)
	if errors.Is(err, errRecycled) {
		return true, err
	}
	return l.onAttemptFailed(err), err
}

func (l *Link) dialAndRun(ctx context.Context) error {
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	l.setConn(&conn)
	defer l.setConn(nil)
	stop := context.AfterFunc(ctx, func() { conn.Close(nil) })
	started, err := l.openSession(ctx, conn)
	if err != nil {
		stop()
		return err
	}
	return l.runSession(ctx, started, conn, stop)
}

// openSession starts a session on a connection.
func (l *Link) openSession(ctx context.Context, conn carrier.Conn) (*session, error) {
	lk := l.linker
	remote := conn.RemoteAddr().String()
	if err := lk.checkAddress(remote); err != nil {
		conn.Close(nil)
		return nil, err
	}
	asked, err := lk.table.ask(l.namespaces)
	if err != nil {
		conn.Close(nil)
		return nil, err
	}
	join := lk.identity.newJoin(asked)
	join.Lasting = l.lastingID
	ls, err := link.Dial(ctx, conn, lk.linkConfig(), join)
	if err != nil {
		return nil, conn.Explain(err)
	}
	if err := lk.authenticatePeer(ctx, ls.Peer(), conn); err != nil {
		ls.Close(&linkv1.Goodbye{Reason: "refused"})
		return nil, err
	}
	lk.warnOfLink(conn, remote, ls.Peer())
	return lk.startSession(ls, conn.Addr(), asked, l)
}

func (l *Link) connect(ctx context.Context) (carrier.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	cfg := l.linker.cfg
	dialer := carrier.Dialer{Dial: cfg.Dial, TLS: cfg.DialTLS, TLSSetting: "Config.DialTLS", MaxPacket: link.MaxPacket}
	if l.linker.identity.proxy {
		dialer.TLSSetting = "ProxyConfig.TLS"
	}
	return dialer.Open(ctx, l.url)
}

// dialledURL is the URL that the link dials.
func (l *Link) dialledURL() string { return l.url.String() }

// onUp records a new session.
func (l *Link) onUp(s *session) {
	l.mu.Lock()
	l.session = s
	l.phase = linkSyncing
	l.err, l.refused = nil, false
	l.mu.Unlock()
	l.notify()
}

func (l *Link) onSynced(s *session) {
	l.mu.Lock()
	if l.session != s {
		l.mu.Unlock()
		return
	}
	back := l.lastFailed
	l.phase = max(l.phase, linkSynced)
	l.lastFailed = false
	l.linker.links.hasLinked.Store(true)
	l.mu.Unlock()
	l.notify()
	if back {
		l.linker.links.redialOthers(l)
	}
}

// onPeerSynced records that both ends know each other's tables.
func (l *Link) onPeerSynced(s *session) {
	l.mu.Lock()
	if l.session == s {
		l.phase = linkReady
	}
	l.mu.Unlock()
	l.notify()
}

// onEnded records how a session has ended. One that broke is redialled at once; calls wait for that.
func (l *Link) onEnded(s *session, cause *link.Ended) {
	l.mu.Lock()
	if l.session != s { // another session has taken over
		l.mu.Unlock()
		return
	}
	synced := l.phase >= linkSynced
	l.outcome = endedUnsynced
	if synced {
		l.outcome = endedSynced
	}
	l.lastFailed = !synced || cause.Kind == link.EndGoodbye || cause.Kind == link.EndClosed
	l.session = nil
	l.phase = linkDown
	l.err = connect.NewError(connect.CodeUnavailable, cause.Error())
	l.mu.Unlock()
	l.notify()
}

// onAttemptFailed records why an attempt has failed, or adds to why the session has ended. It reports whether tables
// had been exchanged.
func (l *Link) onAttemptFailed(err error) (synced bool) {
	l.mu.Lock()
	synced = l.outcome == endedSynced
	l.lastFailed = l.lastFailed || l.outcome == noSession
	l.outcome = noSession
	if err != nil {
		l.err, l.refused = err, isRefusal(err)
	}
	l.mu.Unlock()
	l.notify()
	return synced
}

// notify wakes those who wait for the link.
func (l *Link) notify() {
	l.mu.Lock()
	l.changed.fire()
	l.mu.Unlock()
	l.linker.links.notify()
}

// LinkInfo is what a node knows of one of its links.
type LinkInfo struct {
	// URL is what this node dials; empty where the other end dialled.
	URL string
	// Up tells whether the link is up. A link that is down is listed where this node dials it.
	Up bool
	// Peer and PeerName are the other end's, while the link is up.
	Peer     NodeID
	PeerName string
	// Proxy tells that the other end is a [Proxy].
	Proxy bool
	// Addr is the other end's network address.
	Addr string
	// Namespaces are those that the link carries, as this end names them.
	Namespaces []string
	// Since is when the link came up.
	Since time.Time
	// Refused is how many calls came over the link for namespaces that it does not carry. No node of this
	// software makes such a call.
	Refused uint64
	// Err is why the link is down, or what it waits for.
	Err error
}

// Links yields the node's links as they are when it is called: those that are up, and those that it
// is dialling.
func (n *Node) Links() iter.Seq[LinkInfo] {
	var infos []LinkInfo
	up := map[sessionOwner]bool{}
	for _, s := range n.table.upSessions() {
		infos = append(infos, s.info())
		up[s.owner] = true
	}
	for _, l := range n.links.all() {
		if !up[l] {
			l.mu.Lock()
			infos = append(infos, LinkInfo{URL: l.url.String(), Namespaces: l.namespaces, Err: l.downCauseLocked()})
			l.mu.Unlock()
		}
	}
	return slices.Values(infos)
}

// Peer is the other end of a link, as [Config.Authenticate] sees it.
type Peer struct {
	ID   NodeID
	Name string
	// Addr is its network address: the one dialled, or the one it dialled from.
	Addr string
	// Namespaces are those that it asks for.
	Namespaces []string
	// Proxy tells that it is a [Proxy], no member.
	Proxy bool
	// TLS is the channel's state, nil in cleartext.
	TLS *tls.ConnectionState
}
