package rpcmesh

import (
	"context"
	"crypto/tls"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect/v2"

	linkv1 "github.com/rpcmesh/rpcmesh/gen/rpcmesh/link/v1"
	"github.com/rpcmesh/rpcmesh/runtime/internal/carrier"
	"github.com/rpcmesh/rpcmesh/runtime/internal/duration"
	"github.com/rpcmesh/rpcmesh/runtime/internal/link"
)

const (
	// maxNamespaces bounds how many namespaces one link carries.
	maxNamespaces = 256
	// dialTimeout bounds how long it may take to connect.
	dialTimeout = 10 * time.Second
)

// Link is a node's lasting wish to be linked to another: it dials, and dials again whenever the link
// is lost. Its node owns it. All methods may be called concurrently.
type Link struct {
	node       *Node
	url        *url.URL
	namespaces []string
	cancel     context.CancelFunc
	done       chan struct{}

	mu      sync.Mutex
	session *session // nil while there is none
	synced  bool     // the session's first table exchange is done
	err     error    // why the last attempt or session ended
	refused bool     // err is the other end's refusal
	changed signal
}

// Link dials the node at rawURL, an http or https URL with the path under which that node is mounted or
// unix:///PATH for a node that serves a Unix domain socket, and keeps the link up until it or the node is closed. The link carries namespaces, of which this
// node becomes a member; none stands for [DefaultNamespace]. It returns before the link is up: see
// [Link.Ready]. A malformed URL or namespace is invalid_argument.
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
	ctx, cancel := context.WithCancel(n.ctx)
	l := &Link{
		node: n, url: u, namespaces: slices.Clone(namespaces), cancel: cancel,
		done: make(chan struct{}),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.phase != running {
		cancel()
		return nil, errClosed()
	}
	n.links[l] = struct{}{}
	n.tasks.Go(func() {
		defer close(l.done)
		l.keep(ctx)
	})
	return l, nil
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || !isNodeURL(u) {
		shown := fmt.Sprintf("%.100q", raw)
		if strings.Contains(raw, "@") {
			shown = "it" // it may hold a password
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

// Ready waits until the link is up and both ends know each other's tables. It returns the other end's
// error at once when that refuses the link (unauthenticated, not_found for a namespace that it does
// not have, ...), though the link goes on trying; deadline_exceeded or canceled with the last failure
// when ctx ends first; and failed_precondition once the link is closed.
func (l *Link) Ready(ctx context.Context) error {
	for {
		l.mu.Lock()
		changed, err := l.changed.wait(), l.err
		up, refused := l.synced, l.refused
		l.mu.Unlock()
		switch {
		case up:
			return nil
		case refused:
			return err
		}
		select {
		case <-changed:
		case <-l.done:
			return connect.NewError(connect.CodeFailedPrecondition, "rpcmesh: the link is closed")
		case <-ctx.Done():
			return l.notReady(ctx, err)
		}
	}
}

func (l *Link) notReady(ctx context.Context, last error) error {
	text := fmt.Sprintf("rpcmesh: the link to %s is not up", l.url)
	if last != nil {
		text += ": " + last.Error()
	}
	return connect.NewError(codeOfContext(ctx), text).WithCause(context.Cause(ctx))
}

// Close gives the link up, says goodbye and waits for its goroutine.
func (l *Link) Close() error {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s != nil {
		s.link.Close(&linkv1.Goodbye{Reason: "link closed"})
	}
	l.cancel()
	<-l.done
	return nil
}

// keep dials until ctx ends, with a pause after each failure.
func (l *Link) keep(ctx context.Context) {
	defer func() {
		l.cancel()
		l.node.mu.Lock()
		delete(l.node.links, l)
		l.node.mu.Unlock()
	}()
	pause := l.node.cfg.RedialMin
	for ctx.Err() == nil {
		began := time.Now()
		err := l.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > l.node.cfg.RedialMax {
			pause = l.node.cfg.RedialMin
		}
		l.node.log.LogAttrs(ctx, levelOf(err), "link down", attrURL(l.url), attrError(err), attrRedial(pause))
		select {
		case <-ctx.Done():
		case <-time.After(pause - rand.N(pause/2+1)):
		}
		if l.node.isClosed() {
			return // its context ends later, once the goodbyes have been said
		}
		pause = min(duration.Times(pause, 2), l.node.cfg.RedialMax)
	}
}

// once dials and, once linked, runs the session to its end.
func (l *Link) once(ctx context.Context) error {
	err := l.dialAndRun(ctx)
	l.note(nil, err, isRefusal(err))
	return err
}

func (l *Link) dialAndRun(ctx context.Context) error {
	n := l.node
	conn, err := l.connect(ctx)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close(nil) })
	defer stop()
	remote := conn.RemoteAddr().String()
	if err := n.checkReach(remote); err != nil {
		conn.Close(nil)
		return err
	}
	n.mu.Lock()
	asked, err := n.core.Ask(l.namespaces)
	n.mu.Unlock()
	if err != nil {
		conn.Close(nil)
		return asConnect(err)
	}
	ls, err := link.Dial(ctx, conn, n.linkConfig(), n.join(asked))
	if err != nil {
		return err
	}
	if err := n.admit(ctx, ls.Peer(), conn); err != nil {
		ls.Close(&linkv1.Goodbye{Reason: "refused"})
		return err
	}
	n.warnOfLink(conn, remote, ls.Peer())
	return n.runSession(ls, conn.Addr(), asked, l)
}

func (l *Link) connect(ctx context.Context) (carrier.Own, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	cfg := &l.node.cfg
	dialer := carrier.Dialer{Dial: cfg.Dial, TLS: cfg.DialTLS, MaxPacket: link.MaxPacket}
	return dialer.Open(ctx, l.url)
}

// note records a change and wakes those who wait for it.
func (l *Link) note(s *session, err error, refused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session, l.synced, l.err, l.refused = s, false, err, refused
	l.changed.fire()
}

func (l *Link) noteSynced() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.synced = l.session != nil
	if l.synced {
		l.node.hasLinked.Store(true)
	}
	l.changed.fire()
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
	// Err is why the link is down.
	Err error
}

// Links yields the node's links as they are when it is called: those that are up, and those that it
// is dialling.
func (n *Node) Links() iter.Seq[LinkInfo] {
	var infos []LinkInfo
	up := map[*Link]bool{}
	for _, s := range n.linked() {
		infos = append(infos, s.info())
		up[s.owner] = true
	}
	n.mu.Lock()
	for l := range n.links {
		if !up[l] {
			l.mu.Lock()
			infos = append(infos, LinkInfo{URL: l.url.String(), Namespaces: l.namespaces, Err: l.err})
			l.mu.Unlock()
		}
	}
	n.mu.Unlock()
	return slices.Values(infos)
}

// linksDown says of the links that this node dials in vain what keeps them down; nothing where there are
// none.
func (n *Node) linksDown() string {
	var text strings.Builder
	for l := range n.Links() {
		if l.Up {
			continue
		}
		fmt.Fprintf(&text, "; the link to %s is down", l.URL)
		if l.Err != nil {
			fmt.Fprintf(&text, ": %v", l.Err)
		}
	}
	return text.String()
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
