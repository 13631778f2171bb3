package h2link

import (
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"

	"github.com/rpcmesh/rpcmesh/runtime/internal/netio"
)

// TLSClient is tls.Client over a connection that is read and written as a Conn without TLS does it.
func TLSClient(nc net.Conn, cfg *tls.Config) *tls.Conn { return tls.Client(directly(nc), cfg) }

// TLSListener is tls.NewListener over connections that are read and written as a Conn without TLS does
// it.
func TLSListener(l net.Listener, cfg *tls.Config) net.Listener {
	return tls.NewListener(directListener{l}, cfg)
}

type directListener struct{ net.Listener }

func (l directListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return directly(nc), nil
}

// direct is a connection that is read and written by its socket. A tls.Conn sees to it that one reads at
// a time, and one writes.
//
// TLS cannot take back what it has encrypted, so a write that may not wait leaves in left what the socket does
// not take.
type direct struct {
	net.Conn
	socket *netio.Socket
	trying atomic.Bool // Write does not wait
	owing  atomic.Bool // left is not empty

	mu   sync.Mutex
	left []byte
}

// directly returns nc itself where it is no socket of the system.
func directly(nc net.Conn) net.Conn {
	if s := netio.NewSocket(nc); s != nil {
		return &direct{Conn: nc, socket: s}
	}
	return nc
}

func (d *direct) Read(p []byte) (int, error) { return d.socket.Read(p) }

func (d *direct) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.trying.Load() {
		if err := d.settleLocked(); err != nil {
			return 0, err
		}
		return d.socket.Write(p)
	}
	n := 0
	if len(d.left) == 0 {
		var err error
		if n, err = d.socket.Try(p); err != nil {
			return n, err
		}
	}
	d.left = append(d.left, p[n:]...)
	d.owing.Store(len(d.left) > 0)
	return len(p), nil
}

// settle writes what has been left, and waits for room as Write does.
func (d *direct) settle() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.settleLocked()
}

func (d *direct) settleLocked() error {
	if len(d.left) == 0 {
		return nil
	}
	_, err := d.socket.Write(d.left)
	d.left = nil
	d.owing.Store(false)
	return err
}
