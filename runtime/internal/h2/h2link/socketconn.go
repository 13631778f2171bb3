package h2link

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// TLSClient is tls.Client over a connection that is read and written as a Conn without TLS does it.
func TLSClient(nc net.Conn, cfg *tls.Config) *tls.Conn { return tls.Client(newSocketConn(nc), cfg) }

// TLSListener is tls.NewListener over connections that are read and written as a Conn without TLS does
// it.
func TLSListener(l net.Listener, cfg *tls.Config) net.Listener {
	return tls.NewListener(socketListener{l}, cfg)
}

type socketListener struct{ net.Listener }

func (l socketListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newSocketConn(nc), nil
}

// socketConn is a connection that is read and written by its socket. A tls.Conn sees to it that one reads at
// a time, and one writes.
//
// TLS cannot take back what it has encrypted, so a write that may not wait leaves in left what the socket does
// not take.
type socketConn struct {
	net.Conn
	socket      *netio.Socket
	nonblocking atomic.Bool // Write does not wait
	hasPending  atomic.Bool // left is not empty

	mu      sync.Mutex
	pending []byte
}

// newSocketConn returns nc itself where it is no socket of the system.
func newSocketConn(nc net.Conn) net.Conn {
	if s := netio.NewSocket(nc); s != nil {
		return &socketConn{Conn: nc, socket: s}
	}
	return nc
}

func (d *socketConn) Read(p []byte) (int, error) { return d.socket.Read(p) }

func (d *socketConn) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.nonblocking.Load() {
		if err := d.flushLocked(); err != nil {
			return 0, err
		}
		return d.socket.Write(p)
	}
	n := 0
	if len(d.pending) == 0 {
		var err error
		if n, err = d.socket.TryWrite(p); err != nil {
			return n, err
		}
	}
	d.pending = append(d.pending, p[n:]...)
	d.hasPending.Store(len(d.pending) > 0)
	return len(p), nil
}

// flush writes what has been left, and waits for room as Write does.
func (d *socketConn) flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.flushLocked()
}

func (d *socketConn) flushLocked() error {
	if len(d.pending) == 0 {
		return nil
	}
	_, err := d.socket.Write(d.pending)
	d.pending = nil
	d.hasPending.Store(false)
	return err
}
