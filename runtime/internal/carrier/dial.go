package carrier

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"strings"

	"github.com/rpcmesh/rpcmesh/runtime/internal/h2/h2link"
)

// Dialer makes connections.
type Dialer struct {
	// Dial makes the connection; nil: by package net.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is what https is spoken with; nil: the defaults of crypto/tls.
	TLS *tls.Config
	// TLSSetting is how users name the field that TLS is from.
	TLSSetting string
	// MaxPacket is the longest packet that is received, in bytes.
	MaxPacket int
}

// Conn is a link on a connection of our own HTTP/2 endpoint.
type Conn struct {
	*h2link.Conn
	addr    string
	attempt *attempt // nil where the other end dialled
}

// Addr returns the other end's address: the one dialled, or the one it dialled from.
func (c Conn) Addr() string { return c.addr }

// AcceptedConn returns the Conn of a connection that an h2link.Listener hands out.
func AcceptedConn(c *h2link.Conn) Conn { return Conn{Conn: c, addr: c.RemoteAddr().String()} }

// SchemeUnix is that of the URL of a Unix domain socket, whose path is the socket's. HTTP is spoken in
// cleartext there.
const SchemeUnix = "unix"

// Open opens a stream to the node at base, an http or https URL whose path is where that node is
// mounted, or one of [SchemeUnix]. ctx bounds the connecting. The code of an error shows whether trying again may
// help, as with [Conn.Explain]. The caller closes the result.
func (d Dialer) Open(ctx context.Context, base *url.URL) (Conn, error) {
	dial := d.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	a := &attempt{target: targetOf(base), scheme: base.Scheme, tlsField: d.TLSSetting}
	nc, err := dial(ctx, a.network, a.addr)
	if err != nil {
		return Conn{}, a.explainDial(err)
	}
	if base.Scheme == "https" {
		cfg := h2link.ClientTLS(d.TLS)
		if cfg.ServerName == "" {
			cfg.ServerName = base.Hostname()
		}
		a.cert = new(clientCert)
		a.cert.watch(cfg)
		nc = h2link.TLSClient(nc, cfg)
	}
	c, err := h2link.Open(ctx, nc, a.authority, h2link.Options{Path: a.path + Procedure, MaxMessage: d.MaxPacket})
	if err != nil {
		return Conn{}, a.explain(err, h2link.RequestSent)
	}
	return Conn{Conn: c, addr: a.display, attempt: a}, nil
}

// target is where a URL leads.
type target struct {
	network, addr string
	authority     string // of HTTP
	path          string // where the node is mounted
	display       string // to people
}

func targetOf(u *url.URL) target {
	if u.Scheme == SchemeUnix {
		return target{network: "unix", addr: u.Path, authority: "localhost", display: u.Path}
	}
	return target{
		network: "tcp", addr: dialAddr(u), authority: u.Host,
		path: strings.TrimSuffix(u.EscapedPath(), "/"), display: u.Host,
	}
}

// dialAddr is what to dial for u.
func dialAddr(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}
