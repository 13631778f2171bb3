package rpcmesh

import (
	"context"
	"crypto/tls"
	"iter"
	"log/slog"
	"net"
	"time"

	"connectrpc.com/connect/v2"
)

// ProxyConfig says how a [Proxy] reaches its node. The zero value of a field means its default.
type ProxyConfig struct {
	// Name is for people: the node's log and [Node.Links] show it. Unlike a node's it need not be the
	// proxy's alone. At most 128 bytes of printable text. Default: as a node's.
	Name string
	// Namespace is the one whose functions the proxy calls; it may be a group of the node's. Default:
	// [DefaultNamespace].
	Namespace string
	// Secret, Secrets and AcceptOldProofs are as in [Config]. One of the first two is required unless
	// AcceptAnyone is set.
	Secret          string
	Secrets         []string
	AcceptOldProofs bool
	// AcceptAnyone says that the node need not prove a secret either.
	AcceptAnyone bool
	// TLS is what an https URL is dialled with. Default: the host's root certificates.
	TLS *tls.Config
	// Dial makes the connection. Default: by package net.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Logger gets lifecycle events. Default: as in [Config].
	Logger *slog.Logger
	// Limits, CallTimeout and Keepalive are as in [Config].
	Limits      Limits
	CallTimeout time.Duration
	Keepalive   time.Duration
}

// Proxy calls what one node can reach, without being a member: it has no origins, and no member sees
// it. It redials its node when the link is lost. All methods may be called concurrently; the caller of
// [Dial] closes it.
type Proxy struct {
	node *Node
	ns   *Namespace
	link *Link
}

var _ connect.Transport = (*Proxy)(nil)

// Dial links to the node at url and returns when its functions are known. It fails as [Link.Ready]
// does, at once with what does not heal by itself (a wrong secret, a certificate that does not do, no node at url),
// and with invalid_argument for a bad url or config. Where the node may yet come it goes on, and logs why after 3 s,
// until ctx ends; ctx bounds the dialling only.
func Dial(ctx context.Context, url string, cfg ProxyConfig) (*Proxy, error) {
	n, err := newNode(Config{
		Name: cfg.Name, Secret: cfg.Secret, Secrets: cfg.Secrets, AcceptOldProofs: cfg.AcceptOldProofs,
		AcceptAnyone: cfg.AcceptAnyone, DialTLS: cfg.TLS, Dial: cfg.Dial, Logger: cfg.Logger,
		Limits: cfg.Limits, CallTimeout: cfg.CallTimeout, Keepalive: cfg.Keepalive,
	}, true)
	if err != nil {
		return nil, err
	}
	p := &Proxy{node: n, ns: n.Namespace(cfg.Namespace)}
	p.link, err = n.Link(url, p.ns.name) //nolint:contextcheck // ctx bounds the dialling, not the link
	if err == nil {
		err = p.link.Ready(ctx)
	}
	if err != nil {
		_ = n.Close() // always nil
		return nil, err
	}
	return p, nil
}

// NewClientStream makes the proxy a [connect.Transport] for generated clients. See
// [Namespace.NewClientStream].
func (p *Proxy) NewClientStream(ctx context.Context, spec connect.Spec) (connect.ClientStream, error) {
	return p.ns.NewClientStream(ctx, spec)
}

// Functions yields the functions that can be called. See [Namespace.Functions].
func (p *Proxy) Functions() iter.Seq[Function] { return p.ns.Functions() }

// WaitFor waits until each of procedures can be called. See [Namespace.WaitFor].
func (p *Proxy) WaitFor(ctx context.Context, procedures ...string) error {
	return p.ns.WaitFor(ctx, procedures...)
}

// Watch yields what is and then each change. See [Namespace.Watch].
func (p *Proxy) Watch(ctx context.Context) iter.Seq[Event] { return p.ns.Watch(ctx) }

// Route returns the nodes that a call of procedure passes, the proxy first. See [Namespace.Route].
func (p *Proxy) Route(procedure string) []Hop { return p.ns.Route(procedure) }

// Close ends the link and every call on it.
func (p *Proxy) Close() error { return p.node.Close() }
