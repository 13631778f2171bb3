package rpcmesh

import (
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"connectrpc.com/connect/v2"
)

// connections counts accepted connections, in total and by host.
type connections struct {
	limits *Limits

	mu    sync.Mutex
	total int
	hosts map[string]int
}

// add counts a connection from host, or returns which limit it exceeds.
func (c *connections) add(host string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.total >= c.limits.MaxConns:
		return connect.Errorf(connect.CodeResourceExhausted, "there are %d connections: set Limits.MaxConns for more", c.total)
	case c.hosts[host] >= c.limits.MaxConnsPerHost:
		return connect.Errorf(connect.CodeResourceExhausted,
			"there are %d connections from this host: set Limits.MaxConnsPerHost for more", c.hosts[host])
	}
	if c.hosts == nil {
		c.hosts = make(map[string]int)
	}
	c.total++
	c.hosts[host]++
	return nil
}

// remove undoes add.
func (c *connections) remove(host string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	c.hosts[host]--
	if c.hosts[host] == 0 {
		delete(c.hosts, host)
	}
}

// admitConn counts an accepted connection until release is called, or refuses it.
func (srv *server) admitConn(nc net.Conn) (release func(), ok bool) {
	addr := nc.RemoteAddr().String()
	host := hostOf(addr)
	if err := srv.conns.add(host); err != nil {
		srv.log.limited.Log(slog.LevelWarn, "connection refused", host, attrAddr(addr), attrError(err))
		return nil, false
	}
	return sync.OnceFunc(func() { srv.conns.remove(host) }), true
}

// hostOf returns the part of a network address that identifies a host: an IPv4 address, or the first 64 bits of an
// IPv6 address, since one host may use any number of the latter.
func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64) // no error: it is an IPv6 address
	return prefix.String()
}
